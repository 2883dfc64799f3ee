"""AdaIN's networks: a decoder of VGG features, and the VGG-19 that the public one inverts.

Huang and Belongie, ICCV 2017 (arXiv 1703.06868), in the layout of ``naoto0804/pytorch-AdaIN`` at
commit 47950d0 (``net.py``), whose ``decoder.pth`` and ``vgg_normalised.pth`` load here. Its VGG is
not torchvision's: a 1x1 convolution takes RGB in [0, 1] to the normalised input, the borders are
reflected, poolings round up, and the weights are scaled so that activations average 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.loading import load_strictly
from benchmark.zoo.vgg import CONVS_PER_STAGE

DEEPEST = "conv4_1"
"""What AdaIN encodes to; the deepest layer that :class:`NormalisedVgg` keeps."""

# convolutions of a decoder -> the layer that it inverts (it mirrors the encoder down to there)
_INVERTED = {3: "conv2_1", 5: "conv3_1", 9: DEEPEST}
# before its last 2, 4 and 8 convolutions a decoder doubles the sides
_UPSAMPLED = (2, 4, 8)


def mean_std(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the positions, [N, C, 1, 1] each.

    The variance has n - 1 in its denominator and 1e-5 added, as in upstream's ``calc_mean_std``.
    """
    rows = features.flatten(2)
    mean, variance = rows.mean(2), rows.var(2) + 1e-5
    return mean[..., None, None], variance.sqrt()[..., None, None]


def adaptive_instance_norm(content: Tensor, style: Tensor) -> Tensor:
    """Content features with the channels' means and deviations of style features.

    Args:
        content: [N, C, H, W]. style: [N, C, h, w].
    """
    (mean, std), (style_mean, style_std) = mean_std(content), mean_std(style)
    return (content - mean) / std * style_std + style_mean


def _padded_conv(channels: int, out: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(channels, out, 3)]


class AdaInDecoder(nn.Sequential):
    """From features to an image: the encoder mirrored, with nearest neighbours for the poolings.

    A plain sequence, so that the names of its parameters are those of the public file.

    Args:
        channels: of the features, then after each of 9 convolutions (for features of ``conv4_1``;
            5 for ``conv3_1``, 3 for ``conv2_1``). Upstream's are 512, 256, 256, 256, 256, 128,
            128, 64, 64, 3.

    Attributes:
        layer: the encoder's layer that it inverts, rectified.
        width: channels of that layer.
        reduction: side of the image over side of the features.
    """

    layer: str
    width: int
    reduction: int

    def __init__(self, channels: Sequence[int]) -> None:
        count = len(channels) - 1
        if count not in _INVERTED or channels[-1] != 3:
            raise ValueError(
                f"a decoder has {', '.join(map(str, _INVERTED))} convolutions and ends in 3 "
                f"channels, got {list(channels)}"
            )
        layers: list[nn.Module] = []
        for done, (width, out) in enumerate(pairwise(channels)):
            if count - done in _UPSAMPLED:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            layers += [*_padded_conv(width, out), nn.ReLU()]
        super().__init__(*layers[:-1])  # the last one is not rectified
        self.layer, self.width = _INVERTED[count], channels[0]
        self.reduction = 2 ** (int(self.layer[4]) - 1)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> AdaInDecoder:
        """A frozen decoder with given weights; depth and widths are read from their shapes.

        Args:
            state: ``N.weight`` and ``N.bias``, as upstream's ``decoder.pth`` or the mini model.

        Raises:
            WeightsError: if it is no such decoder.
        """
        shapes = _convolutions(state)
        channels = [shapes[0][1], *(shape[0] for shape in shapes)] if shapes else []
        try:
            with torch.device("meta"):
                model = cls(channels)
        except ValueError as error:
            raise WeightsError(f"it is no AdaIN decoder: {error}") from error
        model = model.to_empty(device="cpu")
        load_strictly(model, state, "the layout of AdaIN's decoder")
        return model.eval().requires_grad_(False)


class NormalisedVgg(nn.Module):
    """The normalised VGG-19 up to ``relu4_1``: what comes after is not kept.

    Args:
        widths: channels of the five stages; those of the public file are 64, 128, 256, 512, 512.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 3, 1)]
        self._ends: dict[str, int] = {}
        channels = 3
        for stage, (width, convs) in enumerate(zip(widths, CONVS_PER_STAGE, strict=True), start=1):
            if stage > 1:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            for conv in range(1, convs + 1):
                layers += [*_padded_conv(channels, width), nn.ReLU()]
                channels = width
                self._ends[f"conv{stage}_{conv}"] = len(layers)
        self.layers = nn.Sequential(*layers)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> NormalisedVgg:
        """Frozen features with given weights; the widths are read from their shapes.

        Args:
            state: ``N.weight`` and ``N.bias`` of the whole network, as ``vgg_normalised.pth``.

        Raises:
            WeightsError: if it is no such VGG19.
        """
        shapes = _convolutions(state)
        if len(shapes) != 1 + sum(CONVS_PER_STAGE):
            raise WeightsError(
                f"it is no normalised VGG-19: {len(shapes)} convolutions by the names that "
                f"vgg_normalised.pth has ('0.weight', '2.weight', ...) instead of "
                f"{1 + sum(CONVS_PER_STAGE)}"
            )
        starts = [1 + sum(CONVS_PER_STAGE[:stage]) for stage in range(len(CONVS_PER_STAGE))]
        with torch.device("meta"):
            model = cls([shapes[start][0] for start in starts])
        model = model.to_empty(device="cpu")
        load_strictly(model.layers, state, "the layout of the normalised VGG-19")
        kept = model._ends[DEEPEST]
        model._ends = {name: end for name, end in model._ends.items() if end <= kept}
        model.layers = model.layers[:kept]
        return model.eval().requires_grad_(False)

    def forward(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Feature maps of chosen convolutions, after their ReLU.

        Args:
            images: [N, 3, H, W] in [0, 1].
            layers: names from ``conv1_1`` to ``conv4_1``.

        Returns:
            A map [N, C, H / 2^k, W / 2^k] (rounded up) for each name.

        Raises:
            UsageError: if a layer does not exist or none is named.
        """
        unknown = [name for name in layers if name not in self._ends]
        if unknown or not layers:
            raise UsageError(
                f"unknown layer {unknown[0] if unknown else '(none)'!r} of the normalised VGG: "
                f"choose among {', '.join(self._ends)}"
            )
        wanted = {self._ends[name]: name for name in layers}
        features: dict[str, Tensor] = {}
        x = images
        for done, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if done in wanted:
                features[wanted[done]] = x
            if done == max(wanted):
                break
        return {name: features[name] for name in layers}


def _convolutions(state: Mapping[str, Tensor]) -> list[tuple[int, ...]]:
    """Shapes of the weights of a bare sequence in its order; names of other kinds are left out."""
    numbered = {
        int(match[1]): tuple(value.shape)
        for key, value in state.items()
        if (match := re.fullmatch(r"(\d+)\.weight", key)) and value.ndim == 4
    }
    return [numbered[index] for index in sorted(numbered)]
