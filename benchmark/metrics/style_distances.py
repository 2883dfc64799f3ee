"""Distances of an image to a style image.

Pure functions; the metrics over them are in the files named after each distance.
Features are maps by layer, as :class:`benchmark.zoo.vgg.VggFeatures` returns them. The image and
the style image may differ in size; the layers, channels and number of images must be the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.metrics.pixels import PASS, require_pixels

# rectified, so these are the relu1_1 ... relu5_1 of Gatys et al.
STYLE_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
NODES = 8  # of the colour histogram, for each channel

Features = Mapping[str, Tensor]


def gram_matrix(features: Tensor) -> Tensor:
    """Products of the channels, averaged over the positions.

    Args:
        features: [N, C, H, W].

    Returns:
        float64 [N, C, C], symmetric: Gatys et al. 2016, eq. 3 divided by M_l = H W.
    """
    rows = features.double().flatten(2)
    return rows @ rows.transpose(1, 2) / rows.shape[2]


def gram_distance(features_a: Features, features_b: Features) -> Tensor:
    """Style loss of Gatys et al. 2016: squared difference of Gram matrices, over the layers.

    Eq. 4 for each layer, sum((G - A)^2) / (4 N_l^2 M_l^2), and eq. 5 with their equal weights of
    one over the number of layers. Each Gram matrix is divided by its own number of positions, which
    is eq. 4 where the two are equal and lets the style image have another size. Lower is better; it
    grows with the fourth power of the features, so values of two networks cannot be compared.

    Args:
        features_a, features_b: maps [N, C, H, W] by layer, usually of ``STYLE_LAYERS``.

    Returns:
        float64 [N], at least 0; 0 for equal channel products, wherever they lie in the image.

    Raises:
        ValueError: no layer, or layers, channels or numbers of images that differ.
    """
    _require_alike(features_a, features_b)
    terms = []
    for name, a in features_a.items():
        difference = gram_matrix(a) - gram_matrix(features_b[name])
        terms.append(difference.square().sum((1, 2)) / (4 * a.shape[1] ** 2))
    return torch.stack(terms).mean(0)


def random_directions(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """Directions spread evenly over the unit sphere.

    Args:
        count: number of directions; Heitz et al. take as many as the layer has channels.
        channels: dimension of the space.
        generator: the only source of chance.

    Returns:
        float64 [count, channels], rows of length one, on the generator's device.

    Raises:
        ValueError: a number is below 1.
    """
    if count < 1 or channels < 1:
        raise ValueError(
            f"directions need a count and channels of at least 1, got {count} and {channels}"
        )
    draws = torch.randn(
        count, channels, generator=generator, dtype=torch.float64, device=generator.device
    )
    return F.normalize(draws, dim=1)


def squared_transport(a: Tensor, b: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of two samples of numbers, exact for any two sizes.

    The integral over t in [0, 1] of the squared difference of the two quantile functions, which are
    constant between the multiples of 1 / K and 1 / L.

    Args:
        a: [..., K] in any order.
        b: [..., L] in any order.

    Returns:
        float64 [...]; for K = L the mean squared difference of the sorted numbers.
    """
    a, b = a.double().sort(-1).values, b.double().sort(-1).values
    k, n = a.shape[-1], b.shape[-1]
    if k == n:
        return (a - b).square().mean(-1)
    # borders of the constant pieces, as whole numbers of 1 / (k n)
    cuts = [torch.arange(size + 1, device=a.device) * other for size, other in ((k, n), (n, k))]
    borders: Tensor = torch.unique(torch.cat(cuts))
    starts = borders[:-1]
    difference = a[..., starts // n] - b[..., starts // k]
    return difference.square() @ (borders.diff().double() / (k * n))


def sliced_wasserstein(features_a: Features, features_b: Features, directions: Features) -> Tensor:
    """Sliced Wasserstein distance of the features (Heitz et al. 2021, sec. 3).

    The features of all positions are projected on each direction, sorted, and compared by their
    mean squared difference; mean over the directions, sum over the layers. It compares whole
    distributions of features, where Gram matrices see their second moments only. Heitz et al.
    scale maps of different sizes to one number of positions; here the transport between unequal
    numbers is exact. Lower is better. Compare values made with the same directions only.

    Args:
        features_a, features_b: maps [N, C, H, W] by layer.
        directions: [D, C] by layer, see :func:`random_directions`.

    Returns:
        float64 [N], at least 0.

    Raises:
        ValueError: no layer; layers, channels or numbers of images that differ; a layer without
            directions or with directions of another number of channels.
    """
    _require_alike(features_a, features_b)
    total = torch.zeros(())
    for name, a in features_a.items():
        axes = directions.get(name)
        if axes is None or axes.ndim != 2 or len(axes) == 0 or axes.shape[1] != a.shape[1]:
            found = "none" if axes is None else str(list(axes.shape))
            raise ValueError(
                f"layer {name} needs directions of shape [D, {a.shape[1]}] with D at least 1, "
                f"got {found}"
            )
        axes = axes.to(a.device, torch.float64)
        projected = [axes @ maps.double().flatten(2) for maps in (a, features_b[name])]
        total = total.to(a.device) + squared_transport(*projected).mean(1)
    return total


def colour_histogram(images: Tensor) -> Tensor:
    """Share of each colour, over a grid of 8 x 8 x 8 nodes in RGB.

    A pixel is shared among the eight nodes around it by linear weights in each channel, so that a
    change of one grey level changes the histogram a little, wherever it happens.

    Args:
        images: uint8 [N, 3, H, W].

    Returns:
        float64 [N, 8, 8, 8] (red, green, blue); each sums to 1.

    Raises:
        DataError: not stored pixels.
    """
    require_pixels(images, "images")
    nodes = torch.arange(NODES, dtype=torch.float64, device=images.device).view(NODES, 1)
    histograms = []
    for group in torch.split(images, PASS):
        places = group.double().flatten(2)[:, :, None] * ((NODES - 1) / 255)
        red, green, blue = (1 - (places - nodes).abs()).clamp_min(0).unbind(1)  # [n, 8, H W]
        pairs = (red[:, :, None] * green[:, None]).flatten(1, 2)
        counts = pairs @ blue.transpose(1, 2) / places.shape[-1]
        histograms.append(counts.view(-1, NODES, NODES, NODES))
    return torch.cat(histograms)


def colour_histogram_distance(a: Tensor, b: Tensor) -> Tensor:
    """Hellinger distance of the joint RGB histograms: how far the palettes lie apart.

    Joint, since three histograms of single channels cannot tell red and green patches from yellow
    and black ones. RGB and not the RGB-uv of HistoGAN (Afifi et al. 2021), whose Hellinger distance
    this shares: log-chroma leaves out brightness, so charcoal and white chalk would be one palette.
    The places of the colours do not count, nor the image's size.

    Args:
        a, b: uint8 [N, 3, H, W]; the sizes may differ.

    Returns:
        float64 [N] in [0, 1]: 0 for equal palettes, 1 where no colour of one is near any of the
        other's. Lower is better.

    Raises:
        DataError: not stored pixels.
        ValueError: the numbers of images differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} images cannot be compared with {len(b)}")
    difference = colour_histogram(a).sqrt() - colour_histogram(b).sqrt()
    return (difference.square().sum((1, 2, 3)) / 2).sqrt().clamp(0, 1)


def _require_alike(a: Features, b: Features) -> None:
    if not a or set(a) != set(b):
        raise ValueError(
            f"features need the same layers, at least one; got {', '.join(a) or 'none'} and "
            f"{', '.join(b) or 'none'}"
        )
    for name in a:
        shapes = [list(maps[name].shape) for maps in (a, b)]
        if any(len(shape) != 4 or 0 in shape for shape in shapes) or shapes[0][:2] != shapes[1][:2]:
            raise ValueError(
                f"features of layer {name} must be [N, C, H, W] with equal N and C, "
                f"got {shapes[0]} and {shapes[1]}"
            )
