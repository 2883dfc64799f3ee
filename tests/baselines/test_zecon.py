"""ZeCon against its official editor, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_zecon.py`` ran the official ``ImageEditor`` (YSerin/ZeCon
51e679e) around tiny networks with the random numbers and crops of ``tests/golden/zecon_case.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import baselines.zecon
from baselines.zecon import ZeCon, ZeConConfig
from benchmark.guidance.crops import CropMaps, affine_map, perspective_map
from benchmark.guidance.style import StyleTarget
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from tests.golden.official_format import EDITOR_CROP_SIZE, EDITOR_CROPS
from tests.golden.zecon_case import (
    CASES,
    README_WEIGHTS,
    RESPACING,
    SIZE,
    T0,
    Case,
    prompt_embedding,
    source_pixels,
)
from tests.tiny_zoo import TinyZoo

GOLDEN = Path(__file__).parents[1] / "golden"
REQUEST = StyleRequest("i__p", "i", "dogs", "p", "target", "source")


class NamedNoise(NoiseSource):
    """The draws of a golden case, found by the purpose that the method names."""

    def __init__(self, case: Case) -> None:
        super().__init__(0, [REQUEST.sample_id])
        self.case = case

    def normal(self, purpose: str, shape: Any) -> Tensor:
        return self.case.gaussian(purpose)

    def permutation(self, purpose: str, n: int) -> Tensor:
        place, step = re.fullmatch(r"anchors/(\d+)/(\d+)", purpose).groups()  # type: ignore[union-attr]
        return self.case.order(int(place), int(step), n)[None]


def given_windows(noise: NamedNoise, purpose: str, count: int, **_: Any) -> CropMaps:
    corners = noise.case.windows(purpose).float()
    return CropMaps(
        (2 * corners[None] + EDITOR_CROP_SIZE) / SIZE - 1,
        torch.full((1, EDITOR_CROPS, 2), EDITOR_CROP_SIZE / SIZE),
        affine_map(torch.zeros(1, EDITOR_CROPS), torch.zeros(1, EDITOR_CROPS, 2)),
        perspective_map(torch.zeros(1, EDITOR_CROPS, 4, 2)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def zoo() -> TinyZoo:
    return TinyZoo()


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "zecon.safetensors")


def source() -> Tensor:
    return torch.from_numpy(source_pixels()).permute(2, 0, 1)[None].float().div(255).mul(2).sub(1)


def method_for(case: Case, zoo: TinyZoo) -> ZeCon:
    config = ZeConConfig(
        respacing=RESPACING, t0=T0, forward_process=case.forward, reverse_process=case.reverse,
        eta=case.eta, n_patches=EDITOR_CROPS, **case.weights,
    )  # fmt: skip
    method = ZeCon(config)
    method.prepare(zoo)
    return method


STYLE = StyleTarget(prompt_embedding("target"), prompt_embedding("source"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_guided_steps_equal_the_official_ones(
    case: Case, zoo: TinyZoo, golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step from the official x_t: gradient through the denoiser, all losses, fixed crops."""
    monkeypatch.setattr(baselines.zecon, "draw_crops", given_windows)
    method = method_for(case, zoo)
    unguided = method_for(Case(case.name, case.forward, case.reverse, case.eta,
                               dict.fromkeys(case.weights, 0.0)), zoo)  # fmt: skip
    batch, noise = StyleBatch(source(), (REQUEST,)), NamedNoise(case)
    steps = [T0 - 1] if case.weights == README_WEIGHTS else list(reversed(range(1, T0)))
    for step in steps:
        x = (
            method._start(batch, None, noise).detach()
            if step == T0 - 1
            else golden[f"{case.name}/sample/{step + 1}"]
        )
        sample, shown = method.guided_step(x, step, batch, STYLE, None, noise)
        expected = golden[f"{case.name}/sample/{step}"]
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(sample / scale, expected / scale, atol=1e-4, rtol=0)
        torch.testing.assert_close(shown, golden[f"{case.name}/shown/{step}"], atol=1e-4, rtol=1e-4)
        plain, _ = unguided.guided_step(x, step, batch, STYLE, None, noise)
        if step == T0 - 1:  # the comparison would mean nothing if guidance did nothing
            assert (plain - expected).abs().max() > 0.05


@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.name)
def test_whole_editing_job_equals_the_official_one(
    case: Case, zoo: TinyZoo, golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inversion or noising, start and all steps; a random network amplifies rounding on the way."""
    monkeypatch.setattr(baselines.zecon, "draw_crops", given_windows)
    batch = StyleBatch(source(), (REQUEST,))
    out = method_for(case, zoo).stylize(batch, NamedNoise(case))
    expected = golden[f"{case.name}/shown/0"]
    torch.testing.assert_close(out, expected, atol=5e-4, rtol=5e-4)


def test_defaults_are_those_of_the_readme() -> None:
    config = ZeConConfig()
    assert {name: getattr(config, name) for name in README_WEIGHTS} == README_WEIGHTS
    assert (config.respacing, config.t0, config.n_patches) == (50, 25, 32)
    assert (config.patch_min, config.patch_max) == (0.01, 0.3)


def test_guidance_knows_its_step_with_fifty_but_not_with_every_respacing() -> None:
    fifty = ZeCon(ZeConConfig())
    assert [fifty.process.schedule.truncated_step(step) for step in range(50)] == list(range(50))
    odd = ZeCon(ZeConConfig(respacing=333))
    assert odd.process.schedule.truncated_step(1) == 0  # timestep 3 of 1000 times 0.333, cut


def batch_of(prompts: dict[str, str]) -> StyleBatch:
    requests = tuple(
        StyleRequest(f"{image}__{i}", image, "dogs", str(i), "target" if i else "source")
        for i, image in enumerate(prompts)
    )
    images = torch.cat([source().roll(i, 3) for i in range(len(prompts))])
    return StyleBatch(images, requests)


def small(zoo: TinyZoo, **changes: Any) -> ZeCon:
    values = {"respacing": 10, "t0": 3, "n_patches": 3} | dict(CASES[1].weights) | changes
    method = ZeCon(ZeConConfig(**values))
    method.prepare(zoo)
    return method


def test_a_sample_does_not_depend_on_its_neighbours(zoo: TinyZoo) -> None:
    batch = batch_of({"a": "x", "b": "y", "c": "z"})
    method = small(zoo)
    together = method.stylize(batch, NoiseSource(5, batch.sample_ids))
    alone = StyleBatch(batch.images[1:2], batch.requests[1:2])
    single = method.stylize(alone, NoiseSource(5, alone.sample_ids))
    assert together.shape == batch.images.shape
    torch.testing.assert_close(together[1:2], single, atol=1e-3, rtol=1e-3)
    again = method.stylize(batch, NoiseSource(5, batch.sample_ids))
    assert torch.equal(together, again)
    other = method.stylize(batch, NoiseSource(6, batch.sample_ids))
    assert (together - other).abs().max() > 0.01


def test_a_broken_sample_breaks_alone(zoo: TinyZoo) -> None:
    batch = batch_of({"a": "x", "b": "y"})
    images = batch.images.clone()
    images[0, 0, 3, 3] = float("nan")
    out = small(zoo).stylize(StyleBatch(images, batch.requests), NoiseSource(5, batch.sample_ids))
    assert not out[0].isfinite().all()
    assert out[1].isfinite().all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t0": 51}, "t0 \\(51\\) cannot exceed 50"),
        (
            {"t0": 50, "forward_process": "ddpm", "reverse_process": "ddim"},
            "t0 \\(50\\) cannot exceed 49",
        ),
        ({"patch_min": 0.5}, "patch_min \\(0.5\\) cannot exceed patch_max \\(0.3\\)"),
        ({"l_mse": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_bad_config_is_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ZeConConfig(**values)
