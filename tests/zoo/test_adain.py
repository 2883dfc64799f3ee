"""AdaIN's networks against the official ones, and the shipped decoder.

Golden numbers: ``tests/golden/make_adain.py`` ran ``net.py`` and ``function.py`` of
naoto0804/pytorch-AdaIN at 47950d0 with narrower convolutions and weights drawn from names;
``adain_shapes.json`` has the names and shapes of its networks at full width.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo, registry
from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg, adaptive_instance_norm, mean_std
from benchmark.zoo.mini.adain import STYLE_WEIGHT, AdaInRecipe, unit_range
from benchmark.zoo.mini.bank import Bank
from benchmark.zoo.mini.export import export
from benchmark.zoo.mini.trainer import train
from benchmark.zoo.registry import model_card
from benchmark.zoo.vgg import MINI_WIDTHS, VggFeatures
from tests.golden.adain_case import VGG_WIDTHS, decoder_state, image, vgg_state
from tests.golden.official_format import filled_state, shapes_of

GOLDEN = Path(__file__).parents[1] / "golden"
LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bank")


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDEN / "adain.safetensors")


@pytest.fixture(scope="module")
def official_shapes() -> dict[str, dict[str, list[int]]]:
    shapes: dict[str, dict[str, list[int]]] = json.loads((GOLDEN / "adain_shapes.json").read_text())
    return shapes


def test_features_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    vgg = NormalisedVgg.from_state_dict(vgg_state())
    maps = vgg(image("content"), LAYERS)
    for number, name in enumerate(LAYERS, start=1):
        torch.testing.assert_close(maps[name], golden[f"layer/{number}"], atol=1e-5, rtol=0)
    assert tuple(maps) == LAYERS


def test_statistics_and_normalisation_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    vgg = NormalisedVgg.from_state_dict(vgg_state())
    content, style = (vgg(image(n), ("conv4_1",))["conv4_1"] for n in ("content", "style"))
    mean, std = mean_std(content)
    torch.testing.assert_close(mean, golden["mean"], atol=1e-5, rtol=0)
    torch.testing.assert_close(std, golden["std"], atol=1e-5, rtol=0)
    mixed = adaptive_instance_norm(content, style)
    torch.testing.assert_close(mixed, golden["adain"], atol=1e-5, rtol=0)


def test_training_loss_and_its_gradient_equal_the_official_ones(golden: dict[str, Tensor]) -> None:
    """The recipe's loss around the official networks, with scales of 1 and without pixels."""
    recipe = object.__new__(AdaInRecipe)
    recipe.layer, recipe.scales = "conv4_1", dict.fromkeys(LAYERS, 1.0)
    recipe.encoder = NormalisedVgg.from_state_dict(vgg_state())
    decoder = AdaInDecoder.from_state_dict(decoder_state()).requires_grad_(True)
    content, style, _ = recipe.losses(decoder, image("content"), image("style"))
    torch.testing.assert_close(content, golden["loss/content"], atol=0, rtol=5e-5)
    torch.testing.assert_close(style, golden["loss/style"], atol=0, rtol=5e-5)
    (content + STYLE_WEIGHT * style).backward()
    for name, parameter in decoder.named_parameters():
        expected = golden[f"gradient/{name}"]
        assert parameter.grad is not None
        scale = expected.abs().max()
        torch.testing.assert_close(parameter.grad / scale, expected / scale, atol=1e-4, rtol=0)


def test_official_layouts_are_ours(official_shapes: dict[str, dict[str, list[int]]]) -> None:
    """Full width, on the meta device; what lies behind relu4_1 is checked and not kept."""
    for loaded, name in ((AdaInDecoder, "decoder"), (NormalisedVgg, "vgg")):
        state = {
            key: torch.zeros(shape, dtype=torch.float16)
            for key, shape in official_shapes[name].items()
        }
        model = loaded.from_state_dict(state)
        assert not any(p.requires_grad for p in model.parameters())
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        if isinstance(model, AdaInDecoder):
            assert shapes_of(model) == official_shapes[name]
            assert (model.layer, model.width, model.reduction) == ("conv4_1", 512, 8)
        else:
            kept = shapes_of(model.layers)
            assert kept.items() <= official_shapes[name].items()
            # the convolutions up to number 29, which makes relu4_1
            assert len(kept) == 2 * 10 and "29.weight" in kept


@pytest.mark.parametrize(
    ("channels", "layer", "reduction"),
    [((6, 4, 3), None, 0), ((6, 4, 4, 3), "conv2_1", 2), ((8, 6, 6, 4, 4, 3), "conv3_1", 4)],
)
def test_depth_of_a_decoder_is_read_from_its_file(
    channels: tuple[int, ...], layer: str | None, reduction: int
) -> None:
    if layer is None:
        with pytest.raises(ValueError, match=r"3, 5, 9 convolutions and ends in 3 channels, got"):
            AdaInDecoder(channels)
        return
    with torch.random.fork_rng(devices=[]):
        made = AdaInDecoder(channels)
    before = torch.get_rng_state()
    decoder = AdaInDecoder.from_state_dict(made.state_dict())
    assert torch.equal(before, torch.get_rng_state())
    assert (decoder.layer, decoder.width, decoder.reduction) == (layer, channels[0], reduction)
    maps = torch.rand(2, channels[0], 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decoder(maps), made(maps))
    assert decoder(maps).shape == (2, 3, 5 * reduction, 4 * reduction)


def test_a_side_that_is_odd_is_rounded_up_as_upstream() -> None:
    maps = NormalisedVgg.from_state_dict(vgg_state())(torch.zeros(1, 3, 33, 31), LAYERS)
    assert [tuple(m.shape[2:]) for m in maps.values()] == [(33, 31), (17, 16), (9, 8), (5, 4)]


def test_other_checkpoints_are_refused() -> None:
    mini = VggFeatures(MINI_WIDTHS).state_dict()
    for loaded, message in (
        (AdaInDecoder, r"no AdaIN decoder: a decoder has 3, 5, 9 convolutions"),
        (NormalisedVgg, r"no normalised VGG-19: 0 convolutions .* instead of 17"),
    ):
        with pytest.raises(WeightsError, match=message):
            loaded.from_state_dict(mini)
    with pytest.raises(WeightsError, match=r"9 convolutions .* instead of 17"):
        NormalisedVgg.from_state_dict(decoder_state())
    with pytest.raises(WeightsError, match=r"got \[3, 3, 4, 4, 6"):
        AdaInDecoder.from_state_dict(vgg_state())
    shifted = {f"{int(k.split('.')[0]) + 1}.{k.split('.')[1]}": v for k, v in vgg_state().items()}
    with pytest.raises(WeightsError, match="does not fit the layout of the normalised VGG-19"):
        NormalisedVgg.from_state_dict(shifted)


def test_unknown_layers_are_explained() -> None:
    vgg = NormalisedVgg.from_state_dict(vgg_state())
    for layers in (("conv4_2",), ()):
        with pytest.raises(UsageError, match=r"unknown layer .*choose among conv1_1, .*, conv4_1$"):
            vgg(torch.zeros(1, 3, 16, 16), layers)


def test_the_zoo_gives_encoders_of_either_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(vgg_state(), tmp_path / "vgg.pth")
    torch.save(decoder_state(), tmp_path / "decoder.pth")
    plain = filled_state(shapes_of(VggFeatures(VGG_WIDTHS)), "vgg")
    torch.save(plain, tmp_path / "plain.pth")
    facts = {"title": "Tiny", "licence": "none", "source": "test"}
    kinds = {"vgg": "vgg-normalised", "decoder": "adain", "plain": "vgg"}
    entries = {
        name: {"id": name, "kind": kind, "file": f"{name}.pth", **facts}
        for name, kind in kinds.items()
    }
    monkeypatch.setattr(registry, "_entries", lambda: entries)
    zoo = ModelZoo({"adain-encoder": "vgg", "adain": "decoder"}, tmp_path)
    assert isinstance(zoo.adain_encoder(), NormalisedVgg)
    assert zoo.adain_decoder().width == 10
    shared = ModelZoo({"adain-encoder": "plain", "vgg": "plain"}, tmp_path)
    assert shared.adain_encoder() is shared.vgg()
    wrong = ModelZoo({"adain-encoder": "decoder"}, tmp_path)
    with pytest.raises(UsageError, match="needs a model of kind 'vgg-normalised', but 'decoder'"):
        wrong.adain_encoder()


def test_a_resumed_training_gives_the_weights_of_an_unbroken_one_and_is_exported(
    tiny_corpus: Path, bank: Path, tmp_path: Path
) -> None:
    recipe = AdaInRecipe(tiny_corpus, bank, steps=3, batch_size=4, copies=1)
    cpu = torch.device("cpu")
    whole = train(recipe, tmp_path / "whole", seed=5, device=cpu)
    assert train(recipe, tmp_path / "cut", seed=5, device=cpu, max_seconds=0.0).step == 1
    second = train(recipe, tmp_path / "cut", seed=5, device=cpu)
    start = recipe.build().state_dict()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
        assert not torch.equal(value, start[key]), key
    card = export(
        recipe, whole, tiny_corpus, command="train it", hardware="a test", folder=tmp_path
    )
    stored = load_file(tmp_path / "adain-decoder.safetensors")
    decoder = AdaInDecoder.from_state_dict(stored)
    assert [decoder.width, *(p.shape[0] for n, p in stored.items() if n.endswith("weight"))] == (
        card["architecture"]["channels"]
    )
    assert decoder.layer == card["architecture"]["layer"]
    assert all(torch.isfinite(torch.tensor(value)) for value in card["figures"].values())


def test_pairs_are_photos_and_styles_and_depend_on_the_generator_alone(
    tiny_corpus: Path, bank: Path
) -> None:
    pictures = Bank(tiny_corpus, "train", bank, 1)
    photos = unit_range(pictures.pixels[pictures.photos])
    paintings = unit_range(pictures.pixels[pictures.paintings])
    styled = unit_range(pictures.styled)

    def among(image: Tensor, others: Tensor) -> bool:
        return any((others == view).flatten(1).all(1).any() for view in (image, image.flip(2)))

    content, style = AdaInRecipe.pairs(pictures, 6, torch.Generator().manual_seed(0))
    assert all(among(image, photos) for image in content)
    assert [among(image, paintings) for image in style] == 3 * [True] + 3 * [False]
    assert all(among(image, styled) for image in style[3:])
    again = AdaInRecipe.pairs(pictures, 6, torch.Generator().manual_seed(0))
    assert torch.equal(again[0], content) and torch.equal(again[1], style)


def test_shipped_decoder_was_trained_on_the_shipped_encoder() -> None:
    card = json.loads((registry.MINI_WEIGHTS / "adain-decoder.json").read_text())
    encoder = card["architecture"]["encoder"]
    assert encoder["sha256"] == model_card(encoder["id"]).sha256
    figures = card["figures"]
    assert figures["style"] < 0.3 * figures["style_content"] < figures["style_untrained"]
    assert figures["content"] < figures["content_untrained"]


def test_shipped_decoder_gives_a_photograph_back(photos: dict[str, Tensor]) -> None:
    zoo = ModelZoo({"adain-encoder": "mini-vgg", "adain": "mini-adain"})
    decoder, encoder = zoo.adain_decoder(), zoo.adain_encoder()
    pixels = torch.stack([torch.as_tensor(photo.copy()) for photo in photos.values()])
    images = torch.nn.functional.avg_pool2d(unit_range(pixels), 2)
    back = decoder(encoder(images, (decoder.layer,))[decoder.layer]).clamp(0, 1)
    psnr = -10 * (back - images).square().mean((1, 2, 3)).log10()
    grey = -10 * (images.mean((2, 3), keepdim=True) - images).square().mean((1, 2, 3)).log10()
    # the blandest photograph is nearly its own mean colour
    assert (psnr > grey + 1).all() and (psnr - grey).mean() > 4, (psnr, grey)
