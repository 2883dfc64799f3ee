"""The weights registry, and the zoo that loads models by role."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from benchmark.config import load_protocol, protocol_names
from benchmark.diffusion.unet import UNet, UNetConfig
from benchmark.errors import UsageError, WeightsError
from benchmark.zoo import ModelZoo, registry
from benchmark.zoo.denoiser import Denoiser
from benchmark.zoo.mini.unet import LABELS
from benchmark.zoo.models import assemble, inventory
from benchmark.zoo.registry import Kind, model_card, model_ids
from tests.golden.official_format import SAVED_UNET, UNET_TIMESTEPS, picture

GOLDEN = Path(__file__).parent.parent / "golden"

TINY = {
    "image_size": 16, "model_channels": 32, "channel_mult": [1, 1], "num_res_blocks": 1,
    "attention_resolutions": [8], "num_head_channels": 32,
}  # fmt: skip
GUIDED = ("adm-imagenet-256-uncond", "adm-lsun-bedroom-256", "ilvr-ffhq-256", "ilvr-afhq-dog-256")


def tiny_unet(**changes: object) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(UNetConfig.model_validate(TINY | changes))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an official-format checkpoint, registered in place of the real ones."""
    path = tmp_path / "tiny.pt"
    torch.save(tiny_unet().state_dict(), path)
    facts = {
        "kind": "unet", "title": "Tiny", "licence": "none", "source": "test",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "architecture": TINY,
        "file": "tiny.pt",
    }  # fmt: skip
    entries = {
        "tiny": {"id": "tiny", **facts},
        "unpinned": {"id": "unpinned", **facts, "sha256": None},
        "wider": {"id": "wider", **facts, "architecture": TINY | {"model_channels": 64}},
        "misdescribed": {"id": "misdescribed", **facts, "architecture": {"width": 3}},
        "absent": {"id": "absent", **facts, "file": "absent.pt"},
    }
    monkeypatch.setattr(registry, "_entries", lambda: entries)
    yield tmp_path


def test_registered_cards_are_valid_and_protocols_name_existing_models() -> None:
    cards = [model_card(name) for name in model_ids()]
    assert {card.kind for card in cards} == {*get_args(Kind)}
    assert len({(card.ships, card.file) for card in cards}) == len(cards)
    for protocol in protocol_names():
        for model in load_protocol(protocol).models.values():
            assert model in model_ids()
    assert model_card("mini-unet").classes == LABELS


@pytest.mark.parametrize("name", GUIDED)
def test_official_architectures_have_the_official_size(name: str) -> None:
    """Parameters of the official models: 552.8 M (ADM 256 unconditional), 93.6 M (ILVR)."""
    with torch.device("meta"):
        unet = UNet(UNetConfig.model_validate(model_card(name).architecture))
    millions = sum(parameter.numel() for parameter in unet.parameters()) / 1e6
    assert millions == pytest.approx(552.8 if name.startswith("adm") else 93.6, abs=0.1)


@pytest.mark.parametrize("name", ["adm-imagenet-256-uncond", "ilvr-ffhq-256"])
def test_official_file_sizes_fit_the_architecture(name: str) -> None:
    """float32 parameters fill all but the archive's overhead of the published file."""
    card = model_card(name)
    with torch.device("meta"):
        unet = UNet(UNetConfig.model_validate(card.architecture))
    content = 4 * sum(parameter.numel() for parameter in unet.parameters())
    assert card.bytes is not None
    assert 0 < card.bytes - content < 300_000


def test_unknown_model_id() -> None:
    with pytest.raises(UsageError, match="mini-unet"):
        model_card("mini-unett")


def test_loaded_denoiser_equals_its_source_and_is_frozen(weights: Path) -> None:
    before = torch.random.get_rng_state()
    zoo = ModelZoo({"denoiser": "tiny"}, weights)
    denoiser = zoo.denoiser()
    assert torch.equal(torch.random.get_rng_state(), before), "the global random state moved"
    assert not denoiser.training
    assert not any(parameter.requires_grad for parameter in denoiser.parameters())
    assert zoo.denoiser() is denoiser
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([5, 500])
    expected = tiny_unet().eval()(x, t)
    torch.testing.assert_close(denoiser(x, t), expected, atol=1e-5, rtol=1e-5)
    features = denoiser.encode(x, t, [0, 1])
    assert torch.equal(features[0], denoiser.unet.encode(x, t, [0])[0])


def test_a_loaded_network_of_velocities_has_its_table() -> None:
    """No checkpoint holds the table, and models are built without storage."""
    unet = tiny_unet(predicts="velocity").eval()
    for weight in unet.out[2].parameters():  # zeros at first, and so of no use to tell by
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    card = model_card("mini-unet").model_copy(
        update={"architecture": TINY | {"predicts": "velocity"}, "classes": None}
    )
    loaded = assemble(card, unet.state_dict())
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([5, 500])
    torch.testing.assert_close(loaded(x, t), unet(x, t), atol=1e-5, rtol=1e-5)


def test_a_file_that_the_official_code_saved_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``tests/golden/make_unet.py`` saved it and stored its output, at openai/guided-diffusion
    22e0df8 as in YSerin/ZeCon 51e679e."""
    shutil.copy(GOLDEN / "official-unet.pt", tmp_path)
    facts = {
        "id": "saved", "kind": "unet", "title": "Saved", "licence": "none", "source": "test",
        "file": "official-unet.pt", "architecture": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in SAVED_UNET.items()
        },
    }  # fmt: skip
    monkeypatch.setattr(registry, "_entries", lambda: {"saved": facts})
    denoiser = ModelZoo({"denoiser": "saved"}, tmp_path).denoiser()
    out = denoiser(picture("saved", 16, 2), torch.tensor(UNET_TIMESTEPS))
    golden = load_file(GOLDEN / "unet.safetensors")["saved"]
    torch.testing.assert_close(out, golden, atol=1e-5, rtol=1e-5)


def test_verified_hashes(weights: Path) -> None:
    zoo = ModelZoo({"denoiser": "tiny", "judge": "absent"}, weights)
    assert zoo.verified_hashes() == {}
    found = zoo.verified_hashes(["denoiser"])["denoiser"]
    digest = hashlib.sha256((weights / "tiny.pt").read_bytes()).hexdigest()
    assert (found["id"], found["file"], found["sha256"]) == ("tiny", "tiny.pt", digest)
    assert found["pinned"] is True
    zoo.denoiser()
    assert list(zoo.verified_hashes()) == ["denoiser"]
    with pytest.raises(WeightsError, match="'absent'"):
        zoo.verified_hashes(["judge"])
    unpinned = ModelZoo({"denoiser": "unpinned"}, weights).verified_hashes(["denoiser"])
    assert unpinned["denoiser"]["pinned"] is False
    assert unpinned["denoiser"]["sha256"] == digest


def test_file_is_verified_before_it_is_loaded(weights: Path) -> None:
    other = tiny_unet().state_dict()
    torch.save({key: value + 1 for key, value in other.items()}, weights / "tiny.pt")
    with pytest.raises(WeightsError, match="wrong hash"):
        ModelZoo({"denoiser": "tiny"}, weights).denoiser()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("absent", "not present"),
        ("wider", r"tiny\.pt \(model 'wider'\): .*of another shape"),
        ("misdescribed", "the architecture in its card is wrong"),
        ("nothing", "unknown model"),
    ],
)
def test_models_that_cannot_be_loaded(weights: Path, model: str, words: str) -> None:
    with pytest.raises((WeightsError, UsageError), match=words):
        ModelZoo({"denoiser": model}, weights).denoiser()


def test_roles(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"no model for the role 'denoiser'; it fills: guide"):
        ModelZoo({"guide": "tiny"}, weights).denoiser()
    with pytest.raises(UsageError, match="needs a model of kind 'clip'"):
        ModelZoo({"guide": "tiny"}, weights).clip("guide")


def test_inventory_states(weights: Path) -> None:
    states = {row["name"]: row["status"] for row in inventory(weights)}
    assert states["tiny"] == "verified"
    assert states["unpinned"] == "unpinned"
    assert states["absent"] == "not present"
    (weights / "tiny.pt").write_bytes(b"<!doctype html>")
    row = next(row for row in inventory(weights) if row["name"] == "tiny")
    assert row["status"] == "damaged"
    assert "web page" in row["problem"]


def test_official_models_are_listed_as_not_present(tmp_path: Path) -> None:
    rows = {row["name"]: row for row in inventory(tmp_path)}
    for name in (*GUIDED, "vgg19-imagenet"):
        assert rows[name]["status"] == "not present"
        assert Path(rows[name]["path"]).parent == tmp_path


def test_labels() -> None:
    denoiser = Denoiser(tiny_unet(num_classes=3), ("faces", "dogs", "unconditional"))
    labels = denoiser.labels(["dogs", "faces", "cars"], "cpu")
    assert labels is not None
    assert labels.tolist() == [1, 0, 2]
    assert Denoiser(tiny_unet()).labels(["dogs"], "cpu") is None
    strict = Denoiser(tiny_unet(num_classes=2), ("faces", "dogs"))
    with pytest.raises(UsageError, match=r"'cars'.*faces, dogs"):
        strict.labels(["cars"], "cpu")
    with pytest.raises(ValueError, match="num_classes=3"):
        Denoiser(tiny_unet(num_classes=3), ("faces", "dogs"))


def test_loading_the_mini_models_leaves_the_global_random_stream_alone() -> None:
    zoo = ModelZoo(load_protocol("mini-64-v1").models)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for load in (zoo.denoiser, zoo.vgg, zoo.dino, zoo.face):
        load()
        assert torch.equal(torch.get_rng_state(), before), load
    for role in ("guide", "judge"):
        zoo.clip(role)
        assert torch.equal(torch.get_rng_state(), before), role
