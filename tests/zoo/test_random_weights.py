"""Random weights: the names and shapes of the real checkpoints, the same values every time."""

from __future__ import annotations

import pytest
import torch

from benchmark.config import load_protocol, protocol_names
from benchmark.zoo.loading import load_state
from benchmark.zoo.models import ModelZoo, assemble
from benchmark.zoo.random_weights import RandomZoo, random_state
from benchmark.zoo.registry import MINI_WEIGHTS, ModelCard, model_card, model_ids
from benchmark.zoo.word_table import with_unused_words

SHIPPED = [card for card in map(model_card, model_ids()) if card.ships]


@pytest.mark.parametrize("card", SHIPPED, ids=lambda card: card.id)
def test_shipped_checkpoints_have_the_same_names_and_shapes(card: ModelCard) -> None:
    made = random_state(card)
    stored = with_unused_words(load_state(MINI_WEIGHTS / card.file), made)
    assert {name: value.shape for name, value in made.items()} == {
        name: value.shape for name, value in stored.items()
    }


def test_values_repeat_differ_between_models_and_leave_the_global_stream_alone() -> None:
    before = torch.random.get_rng_state()
    card = model_card("mini-vgg")
    first, again = random_state(card), random_state(card)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = random_state(card.model_copy(update={"id": "another"}))
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


def test_no_branch_of_a_network_is_idle() -> None:
    """Guided diffusion's constructor sets the last convolution of every block to zero."""
    state = random_state(model_card("mini-unet"))
    assert all(value.any() for name, value in state.items() if value.ndim > 1), "zero weights"


def test_hashes_are_those_of_no_file(tmp_path: object) -> None:
    roles = {"denoiser": "mini-unet", "vgg": "mini-vgg"}
    random, real = RandomZoo(roles), ModelZoo(roles)
    for role in roles:
        mine, theirs = (zoo.verified_hashes([role])[role] for zoo in (random, real))
        assert mine["sha256"] != theirs["sha256"] and mine["random_weights"] is True
        assert mine["id"] == theirs["id"] and mine["file"] is None
    assert random.verified_hashes(["vgg"]) == RandomZoo(roles).verified_hashes(["vgg"])
    image = torch.rand(1, 3, 32, 32)
    mine, theirs = (zoo.vgg()(image, ["conv1_1"])["conv1_1"] for zoo in (random, real))
    assert not torch.allclose(mine, theirs)


def _of_protocols() -> list[str]:
    ids = set()
    for name in protocol_names():
        protocol = load_protocol(name)
        for models in (protocol.models, *protocol.dataset_models.values()):
            ids |= set(models.values())
    # 2 GB each; the smoke run covers them
    return sorted(ids - {"adm-imagenet-256-uncond", "adm-lsun-bedroom-256"})


@pytest.mark.slow
@pytest.mark.parametrize("model_id", _of_protocols())
def test_every_model_of_a_protocol_is_built_from_its_card(model_id: str) -> None:
    """What the constructor makes, the loader of real checkpoints takes."""
    card = model_card(model_id)
    model = assemble(card, random_state(card))
    values = [value for value in model.state_dict().values() if value.is_floating_point()]
    assert values and all(torch.isfinite(value).all() for value in values)
