"""The denoiser that methods use: a U-Net and the meaning of its class labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.diffusion.unet import UNet
from benchmark.errors import UsageError

UNCONDITIONAL = "unconditional"


class Denoiser(nn.Module):
    """A guided-diffusion U-Net with named classes.

    Args:
        unet: the network.
        classes: names of its labels in index order; None for an unconditional model.

    Raises:
        ValueError: the number of names is not that of the U-Net's classes.
    """

    def __init__(self, unet: UNet, classes: Sequence[str] | None = None) -> None:
        super().__init__()
        count = unet.config.num_classes
        if count != (None if classes is None else len(classes)):
            raise ValueError(f"a U-Net with num_classes={count} was given the classes {classes}")
        self.unet = unet
        self.classes = None if classes is None else tuple(classes)
        # of the class, not of this object, so that a copy encodes with its own weights
        self._encode = UNet.encode

    def compile_passes(self, backend: str) -> None:
        """Have :meth:`forward` and :meth:`encode` compiled at their first call."""
        self.unet.compile(backend=backend)
        self._encode = torch.compile(UNet.encode, backend=backend)

    def labels(self, domains: Sequence[str], device: torch.device | str) -> Tensor | None:
        """Class labels of images that show ``domains``.

        A domain that is not among the classes takes the class ``unconditional`` if there is one.

        Returns:
            [B] int64 on ``device``, or None for an unconditional model.

        Raises:
            UsageError: unknown domain, and the model has no class ``unconditional``.
        """
        if self.classes is None:
            return None
        indices = []
        for domain in domains:
            name = domain if domain in self.classes else UNCONDITIONAL
            if name not in self.classes:
                raise UsageError(
                    f"the denoiser knows no class {domain!r} and has no class {UNCONDITIONAL!r}; "
                    f"its classes are {', '.join(self.classes)}. Use a dataset of one of these "
                    f"domains, or an unconditional denoiser."
                )
            indices.append(self.classes.index(name))
        return torch.tensor(indices, dtype=torch.int64, device=device)

    def forward(self, x: Tensor, timesteps: Tensor, labels: Tensor | None = None) -> Tensor:
        """See :meth:`UNet.forward`."""
        out: Tensor = self.unet(x, timesteps, labels)
        return out

    def encode(
        self, x: Tensor, timesteps: Tensor, blocks: Sequence[int], labels: Tensor | None = None
    ) -> list[Tensor]:
        """See :meth:`UNet.encode`."""
        return self._encode(self.unet, x, timesteps, blocks, labels)
