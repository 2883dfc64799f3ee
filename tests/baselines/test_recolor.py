"""Recolouring against scipy's matrix functions, and where covariances are singular."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import inv, sqrtm
from torch import Tensor

from baselines.recolor import Recolor
from benchmark.errors import UsageError
from benchmark.interface import MethodConfig, StyleBatch, StyleRequest
from benchmark.noise import NoiseSource

Colours = npt.NDArray[np.float64]


def noise_image(seed: int, side: int = 12) -> Tensor:
    """[1, 3, side, side]: correlated channels, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-1, 1, (side * side, 3)) @ rng.uniform(-1, 1, (3, 3))
    pixels += rng.uniform(-0.5, 0.5, 3)
    return torch.from_numpy(np.tanh(pixels)).float().T.reshape(1, 3, side, side).contiguous()


def recolour(images: Tensor, styles: Tensor) -> Tensor:
    requests = tuple(StyleRequest(f"{i}__s", f"{i}", "dogs", "s", None) for i in range(len(images)))
    batch = StyleBatch(images, requests, styles)
    return Recolor(MethodConfig()).stylize(batch, NoiseSource(0, batch.sample_ids))


def colours(image: Tensor) -> Colours:
    """[H W, 3] float64."""
    values: Colours = image.double().flatten(1).T.numpy()
    return values


def moments(image: Tensor) -> tuple[Colours, Colours]:
    values = colours(image)
    return values.mean(0), np.cov(values.T, bias=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_mean_and_covariance_become_those_of_the_style(source: int, style: int) -> None:
    image, guide = noise_image(source), noise_image(style, side=9) / 5  # nothing is clamped
    output = recolour(image, guide)
    assert output.shape == image.shape and output.dtype == torch.float32
    # the smallest eigenvalue of a source may be the rounding's, then its direction is left out
    assume(np.linalg.eigvalsh(moments(image[0])[1])[0] > 1e-4)
    for found, expected in zip(moments(output[0]), moments(guide[0]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_map_is_pitie_and_kokarams() -> None:
    image, guide = noise_image(1), noise_image(2) / 5
    (mean, s), (style_mean, g) = moments(image[0]), moments(guide[0])
    root = sqrtm(s).real
    matrix = inv(root) @ sqrtm(root @ g @ root).real @ inv(root)
    expected = (colours(image[0]) - mean) @ matrix.T + style_mean
    np.testing.assert_allclose(colours(recolour(image, guide)[0]), expected, atol=1e-5)


def test_it_moves_colours_less_than_another_map_to_the_same_moments() -> None:
    image, guide = noise_image(3), noise_image(4)
    (mean, s), (style_mean, g) = moments(image[0]), moments(guide[0])
    whitened = (colours(image[0]) - mean) @ inv(np.linalg.cholesky(s)).T
    other = whitened @ np.linalg.cholesky(g).T + style_mean
    np.testing.assert_allclose(np.cov(other.T, bias=True), g, atol=1e-9)
    ours = colours(recolour(image, guide)[0])
    assert np.square(ours - colours(image[0])).mean() < np.square(other - colours(image[0])).mean()


def test_own_colours_leave_the_source_as_it_is() -> None:
    image = noise_image(5)
    torch.testing.assert_close(recolour(image, image.flip(3)), image, atol=1e-5, rtol=0)


def test_a_grey_source_gets_as_much_of_the_style_as_one_direction_holds() -> None:
    grey, guide = noise_image(6)[:, :1].expand(1, 3, 12, 12), noise_image(7)
    mean, covariance = moments(recolour(grey, guide)[0])
    style_mean, style_covariance = moments(guide[0])
    np.testing.assert_allclose(mean, style_mean, atol=1e-6)
    eigenvalues = np.linalg.eigvalsh(covariance)
    assert np.abs(eigenvalues[:2]).max() < 1e-6 < eigenvalues[2]
    # never more variance than the style has, in any direction
    assert np.linalg.eigvalsh(style_covariance - covariance).min() > -1e-6


def test_rounding_noise_of_a_grey_photograph_is_not_blown_up_to_colours() -> None:
    grey = noise_image(8)[:, :1].expand(1, 3, 12, 12)
    rounded = grey + noise_image(9) / 1000
    difference = recolour(rounded, noise_image(7)) - recolour(grey, noise_image(7))
    assert difference.abs().max() < 0.05


@pytest.mark.parametrize("constant", ["source", "style", "both"])
def test_a_picture_of_one_colour(constant: str) -> None:
    flat = torch.tensor([0.5, -0.25, 0.1]).view(1, 3, 1, 1).expand(1, 3, 12, 12)
    image = flat if constant != "style" else noise_image(10)
    guide = flat * -1 if constant != "source" else noise_image(11)
    output = recolour(image, guide)
    # without any variance on one side, only the mean can be moved
    expected = guide.mean((2, 3), keepdim=True).expand_as(image)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


def test_a_sample_stands_alone_and_inputs_stay() -> None:
    images = torch.cat([noise_image(seed) for seed in (12, 13, 14)])
    guides = torch.cat([noise_image(seed) for seed in (15, 16, 17)])
    copies, state = (images.clone(), guides.clone()), torch.get_rng_state()
    together = recolour(images, guides)
    assert torch.equal(images, copies[0]) and torch.equal(guides, copies[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(recolour(images[1:2], guides[1:2]), together[1:2])
    images[0, 0, 0, 0] = float("nan")
    broken = recolour(images, guides)
    assert not broken[0].isfinite().all()
    assert torch.equal(broken[1:], together[1:])


def test_colours_beyond_the_range_are_clamped() -> None:
    strong = noise_image(2).sign()
    output = recolour(noise_image(1), strong)
    assert output.abs().max() == 1.0


def test_no_style_image_is_refused() -> None:
    batch = StyleBatch(noise_image(0), (StyleRequest("a__s", "a", "dogs", "s", None),))
    with pytest.raises(UsageError, match="guided by a style image and there is none"):
        Recolor(MethodConfig()).stylize(batch, NoiseSource(0, batch.sample_ids))
