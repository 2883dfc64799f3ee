"""Pictures to which a guide leads, and the network that says what they show."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.zoo.clip import build_clip, tokenizer_of
from benchmark.zoo.mini import led_pictures
from benchmark.zoo.mini.augment import Crops
from benchmark.zoo.mini.bank import PHOTO, STYLE_IDS, STYLE_PROMPTS, Bank
from benchmark.zoo.mini.led_pictures import AWAY, STEPS, STRIDE, LedPictures, led
from benchmark.zoo.mini.style_teacher import StyleTeacher, StyleTeacherRecipe
from benchmark.zoo.mini.unet import to_model_range

AS_THEY_ARE = Crops(min_area=0.999, whole=1.0, perspective=0.0, damaged=0.0, gain=0.0)


def colour(images: Tensor) -> Tensor:
    """The mean colour as an embedding, of length 1."""
    return F.normalize(images.mean((2, 3)), dim=1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_pictures_are_led_to_where_the_guide_finds_what_is_wanted(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(16, 3, 64, 64, generator=generator) - 0.2
    towards = torch.tensor([1.0, -0.5, -0.5]).expand(16, 3)
    found = led(colour, images, towards, generator)
    before, after = ((colour(x) * towards).sum(1) for x in (images, found))
    assert (after >= before - 1e-3).all() and float((after - before).mean()) > 0.5
    moves = (found - images.clamp(-1, 1)).square().mean((1, 2, 3)).sqrt()
    assert float(moves.max()) <= STEPS * STRIDE + 1e-4
    assert float(moves.std()) > 0.02  # each has a stride of its own
    assert float(found.abs().max()) <= 1 and not found.requires_grad


def test_a_move_is_as_strong_in_large_areas_as_in_lone_pixels() -> None:
    noise = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    even = led_pictures._even(noise)
    assert torch.allclose(even.square().mean((1, 2, 3)), torch.ones(4), atol=1e-4)
    areas = [F.avg_pool2d(x, 16).square().mean() / x.square().mean() for x in (noise, even)]
    assert areas[0] < 0.01 and areas[1] > 0.1


@pytest.fixture(scope="module")
def bank(tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return Bank(tiny_corpus, "train", tmp_path_factory.mktemp("bank"), 1)


@pytest.fixture(scope="module")
def teacher() -> StyleTeacher:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StyleTeacher().eval().requires_grad_(False)


def test_photographs_are_led_to_styles_and_stylised_copies_back(
    bank: Bank, teacher: StyleTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Tensor, Tensor]] = []

    def stay(embed: object, images: Tensor, towards: Tensor, generator: object) -> Tensor:
        told.append((images, towards))
        return images

    monkeypatch.setattr(led_pictures, "led", stay)
    pictures = LedPictures(bank, teacher, 200, AS_THEY_ARE)
    texts = torch.eye(PHOTO + 1)
    pictures._led(colour, texts, torch.Generator().manual_seed(0))
    ((start, towards),) = told
    assert start.shape == (200, 3, 64, 64) and towards.shape == (200, PHOTO + 1)
    photos, copies = (
        {x.numpy().tobytes() for x in to_model_range(pixels)}
        for pixels in (bank.pixels, bank.styled)
    )
    counts = {"photo": 0, "copy": 0, "between": 0}
    styles = set()
    for picture, aim in zip(start, towards, strict=True):
        data, wanted, left = picture.numpy().tobytes(), int(aim.argmax()), int(aim.argmin())
        assert aim[wanted] == 1 and aim[left] == -AWAY and PHOTO in (wanted, left)
        kind = "photo" if data in photos else "copy" if data in copies else "between"
        counts[kind] += 1
        assert (wanted == PHOTO) == (kind == "copy")
        if kind == "photo":
            styles.add(wanted)
        elif kind == "copy":
            of_copy = [to_model_range(x[None])[0].numpy().tobytes() for x in bank.styled]
            assert left in {
                int(s) for s, d in zip(bank.styled_facts.style, of_copy, strict=True) if d == data
            }
    assert counts["photo"] > 70 and counts["copy"] > 25 and counts["between"] > 25
    assert len(styles) > len(STYLE_IDS) // 2  # not only those that the bank has of a picture


def test_the_teacher_says_what_is_shown_and_the_guide_stays_as_it_was(
    bank: Bank, teacher: StyleTeacher
) -> None:
    guide = build_clip("clip-guide", 3).train()
    tokens = tokenizer_of("clip-guide")(list(STYLE_PROMPTS))
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    pictures = LedPictures(bank, teacher, 6, AS_THEY_ARE)
    images, opinion = pictures.draw(guide, tokens, torch.Generator().manual_seed(0))
    assert images.shape == (6, 3, 64, 64) and opinion.shape == (6, PHOTO + 1)
    torch.testing.assert_close(opinion.exp().sum(1), torch.ones(6))
    for name, value in guide.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert guide.training and all(p.grad is None for p in guide.parameters())
    again, same = pictures.draw(guide, tokens, torch.Generator().manual_seed(0))
    assert torch.equal(images, again) and torch.equal(opinion, same)


def test_the_teacher_learns_styles_and_keeps_only_what_it_learnt(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    recipe = StyleTeacherRecipe(tiny_corpus, tmp_path / "bank", steps=30, copies=1)
    recipe.batch_size = 24
    recipe.bank.styled = recipe.held_out.styled = recipe.bank.styled[:8]
    for bank in (recipe.bank, recipe.held_out):
        bank.styled_facts, bank.styled_source = (
            recipe.bank.styled_facts[torch.arange(8)], recipe.bank.styled_source[:8],
        )  # fmt: skip
    recipe.style_path = type(recipe.style_path)(recipe.bank, 4, 4, AS_THEY_ARE)
    model = recipe.build()
    assert all(name.startswith(("scale.", "read.")) for name in model.state_dict())
    before = recipe.evaluate(model, model)["style_top1"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(30):
        model.train()
        loss, parts = recipe.loss(model, step, torch.Generator().manual_seed(step))
        assert {"style", "half_styled", "recoloured"} <= set(parts)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = recipe.evaluate(model, model)
    assert after["style_top1"] >= 0.75 > before and after["photo_top1"] > 0.5
