"""DiffuseIT against its official editor, and its behaviour behind the common interface.

Golden numbers: ``tests/golden/make_diffuseit.py`` ran the official ``ImageEditor``
(cyclomon/DiffuseIT 8386b9a) around tiny networks, with the random numbers of its cases.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms as transforms
from safetensors.torch import load_file
from torch import Tensor, nn

import baselines.diffuseit
from baselines.diffuseit import DiffuseIT
from baselines.diffuseit_config import DiffuseITConfig
from baselines.diffuseit_losses import (
    Views,
    clip_loss,
    clip_target,
    cut_views,
    draw_views,
    face_region,
    key_contrast_loss,
    match_colours,
    read_vit,
    self_similarity,
    structure_loss,
)
from benchmark.errors import UsageError
from benchmark.guidance.losses import mean_squared, range_penalty
from benchmark.interface import Guidance, StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.zoo.dino import DinoViT
from tests.golden.make_diffuseit import (
    CASES,
    CLIP_MEAN,
    CLIP_STD,
    EDITOR_CROP_SIZE,
    N_VIEWS,
    RESPACING,
    ROLES,
    SIZE,
    T0,
    VIT_SIZE,
    VIT_WIDTH,
    Case,
    TinyFace,
    TinyGuide,
    as_image,
    picture,
    pixels,
    vit_weights,
)
from tests.tiny_zoo import TinyZoo

GOLDEN = Path(__file__).parents[1] / "golden"
CASE = {case.name: case for case in CASES}
SMALL_T0 = 3


class Guide(nn.Module):
    """A CLIP of the golden cases behind the interface of a CLIP."""

    input_size = EDITOR_CROP_SIZE

    def __init__(self, role: str) -> None:
        super().__init__()
        self.model = TinyGuide(role)

    def encode_image(self, images: Tensor) -> Tensor:
        assert images.shape[2:] == (self.input_size, self.input_size)
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        return self.model.encode_image(((images + 1) / 2 - mean) / std)

    def encode_text(self, prompts: Any) -> Tensor:
        return self.model.encode_text(prompts)


class Zoo(TinyZoo):
    def __init__(self) -> None:
        super().__init__(calm=0.1)
        with torch.random.fork_rng(devices=[]):
            vit = DinoViT(8, VIT_WIDTH, 12, (VIT_SIZE // 8) ** 2)
        self._vit = DinoViT.from_state_dict(vit_weights(vit))
        self._clips = {role: Guide(role) for role in ROLES}
        self._face = TinyFace()

    def clip(self, role: str) -> Any:
        return self._clips[role]

    def dino(self) -> DinoViT:
        return self._vit

    def face(self) -> Any:
        return self._face


class NamedNoise(NoiseSource):
    """The draws of a golden case, found by the purpose that the method names."""

    def __init__(self, case: Case) -> None:
        super().__init__(0, ["i__p"])
        self.case = case

    def normal(self, purpose: str, shape: Any) -> Tensor:
        return self.case.gaussian(purpose)


def given_views(noise: NamedNoise, purpose: str, count: int, side: int) -> Views:
    drawn = [noise.case.view(purpose, number) for number in range(count)]
    assert side == SIZE
    return Views(*(torch.tensor([part]) for part in zip(*drawn, strict=True)))


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return Zoo()


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "diffuseit.safetensors")


def request_of(prompt: str | None, domain: str = "dogs", sample_id: str = "i__p") -> StyleRequest:
    return StyleRequest(sample_id, "i", domain, "p", prompt, "source")


def golden_batch(case: Case) -> StyleBatch:
    style = as_image(pixels("style")) if case.prompt is None else None
    return StyleBatch(as_image(pixels("source")), (request_of(case.prompt),), style)


def method_for(zoo: Zoo, case: Case, **changes: Any) -> DiffuseIT:
    values = {
        "respacing": RESPACING, "t0": T0, "sampler": case.sampler, "n_views": N_VIEWS,
        "vit_size": VIT_SIZE, "clip_roles": ROLES, **case.values, **case.weights, **changes,
    }  # fmt: skip
    method = DiffuseIT(DiffuseITConfig(**values))
    method.prepare(zoo)  # type: ignore[arg-type]
    return method


def watch(method: DiffuseIT, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What every call of the method's step returns."""
    calls: list[tuple[Tensor, Tensor]] = []
    step = method.guided_step

    def watched(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
        out = step(*args)
        calls.append(out[:2])
        return out

    monkeypatch.setattr(method, "guided_step", watched)
    return calls


def test_first_step_at_full_weights_equals_the_official_one(
    zoo: Zoo, golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines.diffuseit, "draw_views", given_views)
    case = CASE["full-weights"]
    results = []
    for weights in (case.weights, {**case.weights, "clip": 0.0, "range": 0.0}):
        method = method_for(zoo, case, **weights)
        edit = method._begin(golden_batch(case), NamedNoise(case))
        x = method.process.q_sample(edit.images, T0 - 1, case.gaussian("start/0"))
        results.append(method.guided_step(x, T0 - 1, edit, f"0/{T0 - 1}/0"))
    expected = golden["full-weights/sample/0"]
    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(results[0][0] / scale, expected / scale, atol=1e-4, rtol=0)
    torch.testing.assert_close(results[0][1], golden["full-weights/shown"], atol=1e-4, rtol=0)
    # the comparison would mean nothing if guidance did nothing
    assert (results[1][0] - expected).abs().max() > 0.05


@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.name)
def test_whole_editing_job_equals_the_official_one(
    case: Case, zoo: Zoo, golden: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resampling, all losses, both samplers, the restart and image guidance, step by step."""
    monkeypatch.setattr(baselines.diffuseit, "draw_views", given_views)
    method = method_for(zoo, case)
    calls = watch(method, monkeypatch)
    out = method.stylize(golden_batch(case), NamedNoise(case))
    assert len(calls) == case.calls
    for call in case.kept:
        expected = golden[f"{case.name}/sample/{call}"]
        torch.testing.assert_close(calls[call][0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(calls[-1][1], golden[f"{case.name}/shown"], atol=1e-4, rtol=1e-4)
    if case.prompt is None:
        matched = golden[f"{case.name}/matched"].permute(2, 0, 1).div(127.5).sub(1)
        # upstream matches 8-bit pictures, cut towards black, and rounds the result
        assert (out[0] - matched).abs().max() < 4 / 127.5
        assert (out[0] - matched).abs().mean() < 1 / 127.5
    else:
        assert torch.equal(out, calls[-1][1])


def test_restart_case_restarts_once(golden: dict[str, Tensor]) -> None:
    assert golden["restart/attempts"] == 2
    assert golden["text/attempts"] == 1


def test_single_losses_equal_the_official_ones(zoo: Zoo, golden: dict[str, Tensor]) -> None:
    first, second = (picture(f"diffuseit/pair/{i}", SIZE) for i in range(2))
    keys, token = read_vit(zoo.dino(), first, VIT_SIZE)
    other_keys, other_token = read_vit(zoo.dino(), second, VIT_SIZE)
    faces = [
        face_region(picture(f"diffuseit/face/{i}", 256), zoo.face().input_size) for i in (0, 1)
    ]
    # the official structure and contrast take (output, source), the source being the second here
    found = {
        "structure": structure_loss(keys, other_keys),
        "contrastive": key_contrast_loss(keys, other_keys, 0.07),
        "divergence": -mean_squared(token, other_token),
        "style_class": mean_squared(token, other_token),
        "range": range_penalty(1.5 * first),
        "identity": 1 - (zoo.face().embed(faces[0]) * zoo.face().embed(faces[1])).sum(-1),
    }
    for name, value in found.items():
        expected = golden[f"losses/{name}"].reshape(1)
        assert expected.abs().item() > 1e-3, name
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5, msg=name)


def test_colours_equal_those_of_the_official_matcher(golden: dict[str, Tensor]) -> None:
    source, style = as_image(pixels("source")), as_image(pixels("style"))
    expected = golden["losses/colours"].permute(2, 0, 1)[None].mul(2).sub(1).float()
    torch.testing.assert_close(match_colours(source, style), expected, atol=1e-5, rtol=0)


def test_matched_colours_have_the_references_covariance_up_to_the_stretch() -> None:
    source, style = as_image(pixels("source")), as_image(pixels("style"))
    out = match_colours(source, style)
    assert out.min() == -1
    assert out.max() == 1
    ours, theirs = torch.cov(out[0].flatten(1)), torch.cov(style[0].flatten(1))
    torch.testing.assert_close(ours / ours.trace(), theirs / theirs.trace(), atol=1e-5, rtol=0)
    grey = torch.zeros(1, 3, 8, 8)
    assert match_colours(grey, style).isfinite().all()


@pytest.mark.parametrize("side", [64, 48])
def test_views_are_cut_as_by_torchvision(side: int) -> None:
    """Rotation by nearest pixels and the resized crop against torchvision itself."""
    images = torch.cat([picture(f"views/{i}", side) for i in range(2)])
    noise = NoiseSource(3, ["a", "b"])
    views = draw_views(noise, "views", 6, side)
    crops = cut_views(images, views, 40)
    functional = transforms.functional
    for number, crop in enumerate(crops):
        sample, view = divmod(number, 6)
        angle, top, left, height, width, flip = (
            part[sample, view].item() for part in vars(views).values()
        )
        # black outside is 0 in the official range [0, 1]
        turned = functional.rotate(images[sample] / 2 + 0.5, angle)
        box = (int(top), int(left), int(height), int(width))
        expected = functional.resized_crop(turned, *box, [40, 40], antialias=False) * 2 - 1
        expected = functional.hflip(expected) if flip else expected
        # a coordinate on the border of two pixels may round to either
        assert ((crop - expected).abs() > 1e-4).float().mean() < 0.005


def test_views_are_drawn_as_torchvision_draws_them() -> None:
    side, count = 64, 4000
    views = draw_views(NoiseSource(0, ["a"]), "v", count, side)
    area = (views.height * views.width)[0].double() / side**2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        boxes = torch.tensor([
            transforms.RandomResizedCrop.get_params(
                torch.zeros(3, side, side), [0.8, 1.0], [0.9, 1.1]
            ) for _ in range(count)
        ]).double()  # fmt: skip
    theirs = boxes[:, 2] * boxes[:, 3] / side**2
    assert abs(area.mean() - theirs.mean()) < 0.005
    assert abs(area.std() - theirs.std()) < 0.005
    for ours, column in ((views.top, 0), (views.left, 1), (views.height, 2), (views.width, 3)):
        assert abs(ours.double().mean() - boxes[:, column].mean()) < 0.25
    assert ((views.top >= 0) & (views.top + views.height <= side)).all()
    assert ((views.left >= 0) & (views.left + views.width <= side)).all()
    assert views.angle.abs().max() <= 10
    assert abs(views.angle.std() - 20 / 12**0.5) < 0.2
    assert abs(views.flip.float().mean() - 0.5) < 0.03


def test_losses_vanish_for_the_source_itself_and_point_the_right_way(zoo: Zoo) -> None:
    source, other = picture("loss/source", SIZE), picture("loss/other", SIZE)
    keys, _ = read_vit(zoo.dino(), source, VIT_SIZE)
    other_keys, _ = read_vit(zoo.dino(), other, VIT_SIZE)
    assert structure_loss(keys, keys) == 0
    assert structure_loss(other_keys, keys) > 0
    assert key_contrast_loss(keys, keys, 0.07) < key_contrast_loss(other_keys, keys, 0.07)
    assert torch.allclose(self_similarity(keys).diagonal(dim1=1, dim2=2), torch.ones(1), atol=1e-5)
    # scaled keys have the same self-similarity
    assert structure_loss(3 * keys, keys) < 1e-10
    # patches in another order: structure notices, though the set of keys is the same
    assert structure_loss(keys.roll(1, 1), keys) > 1e-4


def test_clip_target_mixes_prompt_source_and_image() -> None:
    unit = torch.eye(4)
    target = clip_target(unit[:1], unit[1:2], unit[2:3], 0.4, 0.2)
    expected = torch.tensor([[1.0, -0.4, 0.2, 0.0]]) / (1 + 0.16 + 0.04) ** 0.5
    torch.testing.assert_close(target, expected)
    assert clip_loss(5 * target[:, None], target).item() == pytest.approx(-1)
    # views are averaged as unit vectors and not made unit again
    views = torch.stack([target, -3 * target], 1)
    assert clip_loss(views, target).item() == pytest.approx(0, abs=1e-6)


def test_defaults_are_those_of_the_readme_command() -> None:
    config = DiffuseITConfig()
    assert (config.respacing, config.respacing - config.t0, config.n_views) == (100, 40, 8)
    assert (config.clip, config.range, config.identity) == (2000, 200, 100)
    assert (config.structure, config.contrastive, config.divergence) == (1000, 200, 100)
    assert (config.style_class, config.style_l2, config.divergence_above) == (2000, 3000, 50)
    assert config.range_restart
    assert config.noise_mix
    assert config.regularize_content
    assert not config.progressive_contrast


def test_contrast_is_emphasised_by_the_clip_loss_of_the_step_before(zoo: Zoo) -> None:
    losses = torch.tensor([-0.8, -0.45, 0.1])
    for values, expected in (
        ({"regularize_content": True, "progressive_contrast": False}, [2.0, 1.0, 1.0]),
        ({"regularize_content": False, "progressive_contrast": True}, [1.0, 0.5, 0.5]),
        ({"regularize_content": False, "progressive_contrast": False}, [1.0, 1.0, 1.0]),
    ):
        method = method_for(zoo, CASE["text"], **values)
        edit = method._begin(golden_batch(CASE["text"]), NamedNoise(CASE["text"]))
        edit.clip_loss = losses
        assert method._emphasis(edit).tolist() == expected
        image = method._begin(golden_batch(CASE["image"]), NamedNoise(CASE["image"]))
        assert method._emphasis(image).tolist() == [1.0]


def batch_of(count: int, domains: tuple[str, ...] = ("dogs",) * 3) -> StyleBatch:
    requests = tuple(
        request_of(("near", "far", "other")[i], domains[i], f"{i}__p") for i in range(count)
    )
    images = torch.cat([as_image(pixels("source")).roll(4 * i, 3) for i in range(count)])
    return StyleBatch(images, requests)


def small(zoo: Zoo, **changes: Any) -> DiffuseIT:
    values = {"t0": SMALL_T0, "resamples": 2, "clip_roles": ("guide",)}
    return method_for(zoo, CASE["text"], **{**values, **changes})


@pytest.mark.parametrize("guidance", ["text", "image"])
def test_a_sample_does_not_depend_on_its_neighbours(zoo: Zoo, guidance: str) -> None:
    batch = batch_of(2, ("dogs", "faces"))
    if guidance == "image":
        styles = torch.cat([as_image(pixels("style")).roll(3 * i, 2) for i in range(2)])
        batch = StyleBatch(batch.images, batch.requests, styles)
    kept = batch.images.clone()
    method = small(zoo, identity=2.0)
    state = torch.random.get_rng_state()
    together = method.stylize(batch, NoiseSource(5, batch.sample_ids))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(batch.images, kept)
    assert together.shape == batch.images.shape
    assert not together.requires_grad
    for i in range(2):
        style = None if batch.style_images is None else batch.style_images[i : i + 1]
        alone = StyleBatch(batch.images[i : i + 1], batch.requests[i : i + 1], style)
        single = method.stylize(alone, NoiseSource(5, alone.sample_ids))
        torch.testing.assert_close(together[i : i + 1], single, atol=1e-4, rtol=1e-4)
    assert torch.equal(together, method.stylize(batch, NoiseSource(5, batch.sample_ids)))
    other = method.stylize(batch, NoiseSource(6, batch.sample_ids))
    assert (together - other).abs().max() > 0.01


def test_samples_restart_on_their_own(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch in which some samples restart and others do not gives what single ones give."""
    batch = batch_of(3)
    method = small(zoo, range=1.0, range_restart=True, max_restarts=2)
    starts: list[list[str]] = []
    attempt = method._attempt

    def counted(edit: Any, rows: Tensor, number: int, out: Tensor) -> Tensor:
        starts.append(rows.tolist())
        return attempt(edit, rows, number, out)

    # a threshold between the samples' first range losses, so that the batch is torn apart
    outside: dict[str, float] = {}
    step = method.guided_step

    def measured(x: Tensor, index: int, edit: Any, key: str) -> Any:
        out = step(x, index, edit, key)
        if key == f"0/{SMALL_T0 - 2}/0":
            outside.update(zip(edit.noise.sample_ids, out[2].tolist(), strict=True))
        return out

    monkeypatch.setattr(method, "guided_step", measured)
    method.stylize(batch, NoiseSource(5, batch.sample_ids))
    levels = sorted(outside.values())
    limit = (levels[0] + levels[1]) / 2
    method = small(zoo, range=1.0, range_restart=True, max_restarts=2, restart_above=limit)
    attempt = method._attempt
    monkeypatch.setattr(method, "_attempt", counted)
    together = method.stylize(batch, NoiseSource(5, batch.sample_ids))
    assert starts[0] == [0, 1, 2]
    assert 2 <= len(starts[1]) <= 3
    assert len(starts) <= 3
    for i in range(3):
        alone = StyleBatch(batch.images[i : i + 1], batch.requests[i : i + 1])
        single = method.stylize(alone, NoiseSource(5, alone.sample_ids))
        torch.testing.assert_close(together[i : i + 1], single, atol=1e-4, rtol=1e-4)


def test_restarts_end_and_can_be_turned_off(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(1)
    per_attempt = SMALL_T0 - 1 + 2
    for values, calls in (
        ({"range_restart": True, "max_restarts": 2}, 2 * (per_attempt - 1) + per_attempt),
        ({"range_restart": True, "max_restarts": 0}, per_attempt),
        ({"range_restart": False}, per_attempt),
    ):
        method = small(zoo, range=1.0, restart_above=1e-12, **values)
        seen = watch(method, monkeypatch)
        assert method.stylize(batch, NoiseSource(5, batch.sample_ids)).isfinite().all()
        assert len(seen) == calls


def test_identity_acts_on_faces_only(zoo: Zoo) -> None:
    for domain, acts in (("faces", True), ("dogs", False)):
        batch = batch_of(1, (domain,))
        with_it, without = (
            small(zoo, identity=weight).stylize(batch, NoiseSource(5, batch.sample_ids))
            for weight in (5.0, 0.0)
        )
        assert torch.equal(with_it, without) != acts


def test_style_image_pulls_the_picture_towards_it(zoo: Zoo) -> None:
    batch = golden_batch(CASE["image"])
    assert batch.style_images is not None
    off = dict.fromkeys(("structure", "contrastive", "divergence"), 0.0)
    distances = []
    for weights in ({"style_l2": 0.0, "style_class": 0.0}, {"style_l2": 300.0}):
        method = small(zoo, colour_match=False, **{**off, **weights})
        out = method.stylize(batch, NoiseSource(5, batch.sample_ids))
        distances.append(F.mse_loss(out, batch.style_images).item())
    assert distances[1] < 0.9 * distances[0]
    assert DiffuseIT.guidance == {Guidance.TEXT, Guidance.IMAGE}


def test_a_broken_sample_breaks_alone(zoo: Zoo) -> None:
    batch = batch_of(2)
    images = batch.images.clone()
    images[0, 0, 3, 3] = float("nan")
    styles = torch.cat([as_image(pixels("style"))] * 2)
    for style in (None, styles):
        broken = StyleBatch(images, batch.requests, style)
        out = small(zoo).stylize(broken, NoiseSource(5, batch.sample_ids))
        assert not out[0].isfinite().all()
        assert out[1].isfinite().all()


def test_upstream_phrasings_are_used_unless_turned_off(zoo: Zoo) -> None:
    method = small(zoo)
    phrasings = [form("Golden") for form in method._forms()]
    assert len(phrasings) == 79
    assert "a photo of many Golden." not in phrasings
    assert "itap of my Golden." in phrasings
    assert [form("Golden") for form in small(zoo, templates=False)._forms()] == ["Golden"]


def test_mistakes_are_explained(zoo: Zoo) -> None:
    method = small(zoo)
    for prompt in (None, "", "  "):
        batch = StyleBatch(as_image(pixels("source")), (request_of(prompt),))
        with pytest.raises(UsageError, match="neither a prompt nor a style image"):
            method.stylize(batch, NoiseSource(0, batch.sample_ids))
    with pytest.raises(UsageError, match=re.escape("vit_size (25) must be a multiple")):
        small(zoo, vit_size=25)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t0": 101}, "t0 \\(101\\) cannot exceed respacing \\(100\\)"),
        ({"t0": 1}, "greater than or equal to 2"),
        ({"range": 0}, "range_restart needs the range loss"),
        ({"clip_roles": ("guide", "judge")}, "names the judge, which must not guide"),
        ({"lambda_ssim": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_bad_config_is_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffuseITConfig(**values)
