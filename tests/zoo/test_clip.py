"""CLIP encoders: the calling convention, and what the shipped ones can do."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import SigLipLoss
from torch import Tensor, nn

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo
from benchmark.zoo.clip import ClipEncoder, build_clip, is_sigmoid, normalise, tokenizer_of
from benchmark.zoo.mini.bank import CONTENT_PROMPTS, STYLE_IDS, STYLE_PROMPTS
from benchmark.zoo.mini.clip import sigmoid_pairs
from benchmark.zoo.mini.styles import stylize
from benchmark.zoo.mini.unet import to_model_range

ROLES = {"guide": "mini-clip-guide", "judge": "mini-clip-score"}
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def zoo() -> ModelZoo:
    return ModelZoo(ROLES)


def shrink(pixels: Pixels) -> Tensor:
    """[128, 128, 3] uint8 to [3, 64, 64] in [-1, 1]."""
    return F.avg_pool2d(to_model_range(torch.from_numpy(pixels.copy())[None]), 2)[0]


@pytest.fixture(scope="module")
def styled(photos: dict[str, Pixels]) -> Tensor:
    """Three photos in every style, [3 * styles, 3, 64, 64], styles fastest."""
    rows = []
    for name in ("astronaut", "chelsea", "coffee"):
        image = photos[name].astype(np.float32) / 255
        for index, style in enumerate(STYLE_IDS):
            drawn = stylize(image, style, np.random.default_rng(index))
            rows.append(shrink(np.round(drawn * 255).astype(np.uint8)))
    return torch.stack(rows)


@pytest.mark.parametrize("role", ROLES)
def test_retrieval_of_styles_on_photos_outside_the_corpus(
    role: str, zoo: ModelZoo, styled: Tensor, photos: dict[str, Pixels]
) -> None:
    clip = zoo.clip(role)
    prompts = F.normalize(clip.encode_text(STYLE_PROMPTS), dim=1)
    truth = torch.arange(len(STYLE_IDS)).repeat(3)
    found = (clip.encode_image(styled) @ prompts.T).argmax(1)
    assert (found == truth).float().mean() >= 0.85
    plain = torch.stack([shrink(pixels) for pixels in photos.values()])
    assert ((clip.encode_image(plain) @ prompts.T).argmax(1) == len(STYLE_IDS)).sum() >= 4


@pytest.mark.parametrize("role", ROLES)
def test_a_face_fits_its_prompt_better_than_things_outside_the_corpus_do(
    role: str, zoo: ModelZoo, photos: dict[str, Pixels]
) -> None:
    clip = zoo.clip(role)
    prompt = F.normalize(clip.encode_text([CONTENT_PROMPTS[0]]), dim=1)

    def similarity(name: str) -> float:
        image = F.normalize(clip.encode_image(shrink(photos[name])[None]), dim=1)
        return (image @ prompt.T).item()

    things = max(similarity("coffee"), similarity("rocket"))
    assert min(similarity("astronaut"), similarity("hopper")) > things


def test_guide_and_judge_are_different_networks(zoo: ModelZoo) -> None:
    guide, judge = zoo.clip("guide"), zoo.clip("judge")
    one, other = guide.state_dict(), judge.state_dict()
    assert one.keys() != other.keys()
    alike = [
        key for key in one.keys() & other.keys()
        if one[key].ndim > 1 and one[key].shape == other[key].shape
    ]  # fmt: skip
    assert "model.token_embedding.weight" in alike  # the text towers have one shape
    assert not any(torch.equal(one[key], other[key]) for key in alike)


@pytest.mark.parametrize("role", ROLES)
def test_features_and_gradients(role: str, zoo: ModelZoo) -> None:
    clip = zoo.clip(role)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images.requires_grad_(True)
    features = clip.encode_image(images)
    assert features.dtype == torch.float32
    assert features.shape == clip.encode_text(["Golden", "a dog"]).shape == (2, 128)
    assert (features.norm(dim=1) - 1).abs().min() > 0.01
    features.sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in clip.parameters()) and not clip.training
    alone = clip.encode_image(images[1:].detach())
    assert torch.allclose(alone, features[1:].detach(), atol=1e-4)


def test_wrong_input_is_explained(zoo: ModelZoo) -> None:
    guide = zoo.clip("guide")
    with pytest.raises(ValueError, match=r"reads images of shape \[N, 3, 64, 64\], got \[1, 3, 32"):
        guide.encode_image(torch.zeros(1, 3, 32, 64))
    with pytest.raises(UsageError, match="no prompt was given"):
        guide.encode_text([])
    with pytest.raises(UsageError, match="the prompt '  ' is empty"):
        guide.encode_text(["Golden", "  "])
    with pytest.raises(UsageError, match=r"has 60 tokens, .* reads at most 30: shorten it"):
        guide.encode_text(["gold " * 60])
    assert guide.encode_text(["gold " * 30]).shape == (1, 128)


def test_resize(zoo: ModelZoo) -> None:
    guide = zoo.clip("guide")
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert guide.resize(images) is images
    assert guide.resize(torch.full((1, 3, 200, 100), 0.25)).sub(0.25).abs().max() < 1e-5
    assert guide.resize(torch.zeros(1, 3, 20, 20)).shape == (1, 3, 64, 64)


def test_images_are_normalised_with_the_models_own_statistics() -> None:
    """The encoder equals open_clip's own preprocessing followed by open_clip's own model."""
    model = build_clip("clip-score", seed=1).eval()
    tokenizer = open_clip.get_tokenizer("clip-score")
    clip = ClipEncoder(model, tokenizer, "test")
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    expected = model.encode_image((pixels - mean) / std)  # type: ignore[operator]
    assert torch.allclose(clip.encode_image(pixels * 2 - 1), expected, atol=1e-5)
    text = model.encode_text(tokenizer(["Red bricks"]))  # type: ignore[operator]
    assert torch.equal(clip.encode_text(["Red bricks"]), text)


def test_initial_weights_come_from_the_seed_and_leave_the_global_stream_alone() -> None:
    before = torch.random.get_rng_state()
    first, second = build_clip("clip-guide", 1), build_clip("clip-guide", 1)
    other = build_clip("clip-guide", 2)
    assert torch.equal(before, torch.random.get_rng_state())
    key = "visual.conv1.weight"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])


def test_weights_of_another_architecture_are_refused() -> None:
    state = build_clip("clip-guide").state_dict()
    with pytest.raises(WeightsError, match="the CLIP architecture clip-score"):
        ClipEncoder.from_state_dict(state, "clip-score")


def test_batch_norms_are_folded_into_the_convolutions_before_them() -> None:
    model = build_clip("clip-guide").eval()
    generator = torch.Generator().manual_seed(3)
    for name, value in model.state_dict().items():
        if "running" in name or ".bn" in name or ".downsample.1" in name:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    images = torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1
    encoder = ClipEncoder.from_state_dict(model.state_dict(), "clip-guide")
    expected = cast(Any, model).encode_image(normalise(model, images)).detach()
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in encoder.modules())
    scale = float(expected.abs().max())
    torch.testing.assert_close(encoder.encode_image(images), expected, atol=1e-5 * scale, rtol=1e-4)


def test_a_sigmoid_model_has_its_own_normalisation_and_words() -> None:
    model = build_clip("sigmoid-guide", seed=3)
    assert is_sigmoid(model) and not is_sigmoid(build_clip("clip-guide"))
    white = torch.ones(1, 3, 64, 64)
    torch.testing.assert_close(normalise(model, white), white)  # mean and deviation are one half
    tokenizer = tokenizer_of("sigmoid-guide")
    assert torch.equal(tokenizer(["A photo, of Gold!"]), tokenizer(["a photo of gold"]))


def test_a_sigmoid_model_reads_and_sees_like_any_clip() -> None:
    model = build_clip("sigmoid-guide", seed=3)
    encoder = ClipEncoder.from_state_dict(model.state_dict(), "sigmoid-guide", "mini-siglip")
    texts = encoder.encode_text(["Golden", "Red bricks"])
    assert texts.shape == (2, 128)
    torch.testing.assert_close(encoder.encode_text(["Red bricks"])[0], texts[1])
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images.requires_grad_()
    encoder.encode_image(images).sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    with pytest.raises(UsageError, match="reads at most 30"):
        encoder.encode_text(["gold " * 40])


def test_a_clip_checkpoint_is_refused_by_the_sigmoid_architecture() -> None:
    with pytest.raises(WeightsError, match="sigmoid-guide"):
        ClipEncoder.from_state_dict(build_clip("clip-guide").state_dict(), "sigmoid-guide")


def test_a_tokenizer_that_is_not_to_be_had_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"timm/ViT-B-16-SigLIP.*stylebench\[siglip\]"):
        tokenizer_of("ViT-B-16-SigLIP")


def test_the_sigmoid_loss_is_open_clips_where_every_image_has_one_caption() -> None:
    generator = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(6, 8, generator=generator), dim=1) for _ in range(2))
    scale, bias = torch.tensor(7.0), torch.tensor(-3.0)
    wanted = SigLipLoss()(image, text, scale, bias)
    found = sigmoid_pairs(scale * image @ text.T + bias, torch.eye(6).bool())
    torch.testing.assert_close(found, wanted)
