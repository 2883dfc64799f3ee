"""What CLIPstyler trains for each image, a small U-Net, and the crops by which CLIP judges it.

After ``StyleNet.py`` and ``train_CLIPstyler.py`` of ``cyclomon/CLIPstyler`` at commit 4843cec. The
network's parameters have the official names, so a state dict fits both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.guidance.crops import perspective_map, sample_bilinear
from benchmark.noise import NoiseSource

REDUCTION = 8
"""The sides of an image are halved three times."""


class _Residual(nn.Module):
    """Two normalised convolutions beside a linear 1x1 shortcut (nothing rectifies the sum)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, out, 3, padding=1), nn.InstanceNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1), nn.InstanceNorm2d(out), nn.ReLU(),
        )  # fmt: skip
        self.skip = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x) + self.skip(x)
        return out


class _Down(_Residual):
    """The block, then a strided convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out)
        self.downsample = nn.Conv2d(out, out, 4, stride=2, padding=1)

    def halve(self, x: Tensor) -> Tensor:
        out: Tensor = self.downsample(x)
        return out


class StyleNetwork(nn.Module):
    """From an image to its stylised version.

    Args:
        channels: of the first level (``ngf``, 16 upstream); doubled at each of three levels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        n = channels
        self.conv_init = nn.Conv2d(3, n, 1)
        self.init = _Residual(n, n)
        self.down1 = _Down(n, n)
        self.down2 = _Down(n, 2 * n)
        self.down3 = _Down(2 * n, 4 * n)
        self.encoding = _Residual(4 * n, 8 * n)
        self.up3 = _Residual(8 * n + 4 * n, 4 * n)
        self.up2 = _Residual(4 * n + 2 * n, 2 * n)
        self.up1 = _Residual(2 * n + n, n)
        self.out = _Residual(2 * n, n)
        self.conv_fin = nn.Conv2d(n, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] -> the same; H and W are multiples of 8, at least 16."""
        first: Tensor = self.init(self.conv_init(images))
        x, kept = first, []
        for down in (self.down1, self.down2, self.down3):
            kept.append(down(x))
            x = down.halve(kept[-1])
        x = self.encoding(x)
        for up in (self.up3, self.up2, self.up1):
            wide = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = up(torch.cat([wide, kept.pop()], 1))
        return torch.sigmoid(self.conv_fin(self.out(torch.cat([x, first], 1))))


def fresh_network(channels: int, noise: NoiseSource) -> StyleNetwork:
    """A network with PyTorch's default initial weights, drawn from a sample's own noise.

    Args:
        noise: of one sample; the network is made on its device.
    """
    with torch.device("meta"):  # draws nothing from the global generator
        network = StyleNetwork(channels)
    shapes = {name: value.shape for name, value in network.named_parameters()}
    state = {}
    for name, shape in shapes.items():
        # uniform within 1 / sqrt(fan-in), for weights and biases
        fan_in = shapes[f"{name.rpartition('.')[0]}.weight"][1:].numel()
        draw = noise.uniform(f"network/{name}", shape)[0]
        state[name] = (2 * draw - 1) / fan_in**0.5
    network.load_state_dict(state, assign=True)
    return network


@dataclass(frozen=True)
class Windows:
    """Where the crops of one image come from.

    Attributes:
        corners: [N, 2] int64, top-left pixel (x, y).
        inward: [N, 4, 2] whole pixels by which a crop's corners (top left, top right, bottom right,
            bottom left) are moved inward, (x, y).
    """

    corners: Tensor
    inward: Tensor


def draw_windows(
    noise: NoiseSource, purpose: str, count: int, *, image: tuple[int, int], side: int,
    distortion: float,
) -> Windows:  # fmt: skip
    """Draw crops for one sample: uniform places, uniform moves of the corners.

    Args:
        image: height and width of the image. side: of the crops. All in pixels.
        distortion: largest move of a corner as a share of half the side.

    Returns:
        Windows on the CPU.
    """
    u = NoiseSource(noise.run_seed, noise.sample_ids).uniform(purpose, (count, 10))[0].double()
    height, width = image
    room = torch.tensor([width - side + 1, height - side + 1])
    furthest = int(distortion * (side // 2))
    inward = (u[:, 2:] * (furthest + 1)).floor().view(count, 4, 2)
    return Windows((u[:, :2] * room).floor().long(), inward)


def cut_windows(image: Tensor, windows: Windows, side: int) -> Tensor:
    """Cut the crops and warp each; black (0) surrounds a crop.

    Args:
        image: [1, C, H, W] in [0, 1]; pictures that are cut alike may lie in it as channels.

    Returns:
        [N, C, side, side].
    """
    width = image.shape[3]
    axis = torch.arange(side)
    x, y = windows.corners[:, :1] + axis, windows.corners[:, 1:] + axis
    places = (y[:, :, None] * width + x[:, None, :]).flatten().to(image.device)
    crops = (
        image[0]
        .flatten(1)
        .index_select(1, places)
        .view(image.shape[1], -1, side, side)
        .transpose(0, 1)
    )
    # corners are the pixels 0 and side - 1, but what is mapped are the centres k + 0.5
    last = max(side - 1, 1)
    homography = perspective_map(2 * windows.inward.double() / last)
    centres = (2 * axis.double() + 1) / last - 1
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    mapped = homography @ torch.stack([u, v, torch.ones_like(u)]).flatten(1)  # [N, 3, side^2]
    # the horizon of a strong warp may pass through a pixel: it shows what is far outside, so black
    depth = torch.where(mapped[:, 2:].abs() < 1e-6, 1e-6, mapped[:, 2:])
    grid = ((mapped[:, :2] / depth + 1) * last / side - 1).transpose(1, 2)
    # a frame of zeros makes border padding the zero padding of upstream
    framed = F.pad(crops, (1, 1, 1, 1))
    grid = (grid * side / (side + 2)).view(-1, side, side, 2).float().to(image.device)
    return sample_bilinear(framed, grid)


def _interpolation(size: int, target: int, mode: str) -> Tensor:
    """[target, size] matrix of an interpolation along one axis.

    Two products with it are the interpolation, and unlike it can be differentiated on CUDA with
    the same result each time.
    """
    impulses = torch.eye(size, dtype=torch.float64)[None, None]
    return F.interpolate(impulses, (target, size), mode=mode, align_corners=False)[0, 0].float()


def resize(images: Tensor, target: int, mode: str) -> Tensor:
    """[N, 3, H, W] -> [N, 3, target, target], not antialiased."""
    height, width = images.shape[2:]
    if (height, width) == (target, target):
        return images
    rows, columns = (_interpolation(n, target, mode).to(images.device) for n in (height, width))
    return rows @ images @ columns.T
