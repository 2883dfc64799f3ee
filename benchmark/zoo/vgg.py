"""VGG19 features in torchvision's layout, at full width or narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.loading import load_strictly

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CONVS_PER_STAGE = (2, 2, 4, 4, 4)
MINI_WIDTHS = (8, 16, 32, 64, 64)  # an eighth of VGG19's


def conv_indices() -> dict[str, int]:
    """Index in torchvision's ``features`` of each convolution, from ``conv1_1`` to ``conv5_4``."""
    indices: dict[str, int] = {}
    index = 0
    for stage, convs in enumerate(CONVS_PER_STAGE, start=1):
        for conv in range(1, convs + 1):
            indices[f"conv{stage}_{conv}"] = index
            index += 2  # the convolution and its ReLU
        index += 1  # the stage's pooling
    return indices


CONV_INDICES = conv_indices()


class VggFeatures(nn.Module):
    """The convolutional part of VGG19 (Simonyan & Zisserman 2015, configuration E).

    Args:
        widths: channels of the five stages; torchvision's VGG19 has 64, 128, 256, 512, 512.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, widths: Sequence[int] = MINI_WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, convs in zip(widths, CONVS_PER_STAGE, strict=True):
            for _ in range(convs):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> VggFeatures:
        """Frozen features with given weights; the widths are read from the weights.

        Args:
            state: ``features.N.weight`` and ``features.N.bias``, as torchvision's ``vgg19`` or the
                mini model. A ``classifier`` is ignored; half precision is widened.

        Raises:
            WeightsError: if it is no VGG19.
        """
        features = {key: value for key, value in state.items() if key.startswith("features.")}
        firsts = [f"features.{CONV_INDICES[f'conv{stage}_1']}.weight" for stage in range(1, 6)]
        absent = [key for key in firsts if key not in features]
        if absent:
            raise WeightsError(
                f"the checkpoint has no {absent[0]}, so it is not a VGG19 in torchvision's layout"
            )
        model = cls([features[key].shape[0] for key in firsts])
        load_strictly(model, features, "torchvision's VGG19 layout")
        return model.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of chosen convolutions, **after** their ReLU.

        ZeCon's and CLIPstyler's ``get_features`` store the output of the convolution, but
        torchvision's ReLU then works in place on the stored tensor, so what their losses compare
        are rectified maps. The same values are returned here.

        Args:
            images: [N, 3, H, W]. ImageNet's mean and standard deviation are applied to the values
                as they are, whatever their range; ZeCon feeds [-1, 1].
            layers: names as ``conv1_1`` or ``conv4_2``.

        Returns:
            A map [N, C, H / 2^k, W / 2^k] for each name; the pass stops at the deepest one.

        Raises:
            UsageError: if a layer does not exist or none is named.
        """
        unknown = [name for name in layers if name not in CONV_INDICES]
        if unknown or not layers:
            raise UsageError(
                f"unknown VGG layer {unknown[0] if unknown else '(none)'!r}: choose among "
                f"{', '.join(CONV_INDICES)}"
            )
        wanted = {CONV_INDICES[name] + 1: name for name in layers}
        features: dict[str, Tensor] = {}
        x = (images - self.mean) / self.std
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in wanted:
                features[wanted[index]] = x
            if index == max(wanted):
                break
        return {name: features[name] for name in layers}

    def pooled(self, images: Tensor) -> Tensor:
        """Mean over positions of the deepest map, [N, C]."""
        deepest = self(images, ("conv5_4",))["conv5_4"]
        return F.adaptive_avg_pool2d(deepest, 1).flatten(1)
