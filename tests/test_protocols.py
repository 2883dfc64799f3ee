"""The shipped protocols: complete, consistent, and true to their own rules."""

from __future__ import annotations

from typing import get_args

import pytest

from benchmark import registry
from benchmark.config import Protocol, load_protocol, protocol_names
from benchmark.scoring import metric_classes
from benchmark.smoke import FEW, few_steps
from benchmark.zoo.models import can_load
from benchmark.zoo.registry import model_card
from data.cards import Domain, load_card, load_prompts

KINDS = {
    "denoiser": {"unet"}, "guide": {"clip"}, "judge": {"clip"}, "vgg": {"vgg"}, "dino": {"dino"},
    "face": {"face", "arcface", "facenet"}, "face-facenet": {"facenet"}, "vqgan": {"vqgan"},
    "generator": {"stylegan2"}, "adain": {"adain"}, "adain-encoder": {"vgg", "vgg-normalised"},
}  # fmt: skip


@pytest.fixture(params=protocol_names())
def protocol(request: pytest.FixtureRequest) -> Protocol:
    return load_protocol(str(request.param))


def test_every_role_has_a_model_of_its_kind_that_can_be_loaded(protocol: Protocol) -> None:
    places = (protocol.models, *protocol.dataset_models.values())
    for role, model in ((role, model) for models in places for role, model in models.items()):
        assert model_card(model).kind in KINDS[role], role
        assert can_load(model_card(model))


def test_every_method_and_metric_finds_its_models(protocol: Protocol) -> None:
    for name in registry.names(registry.METHODS):
        roles = registry.load(registry.METHODS, name).card.roles
        assert set(roles) <= set(protocol.models), name
    for metric in metric_classes(protocol.metrics):
        assert set(metric.encoders) <= set(protocol.models), metric.name


def test_the_judge_is_not_the_coach(protocol: Protocol) -> None:
    assert protocol.models["judge"] != protocol.models["guide"]
    independent = protocol.models.get("face-facenet")
    assert independent is None or independent != protocol.models["face"]


def test_datasets_and_prompts_exist_for_every_domain(protocol: Protocol) -> None:
    assert set(protocol.dataset_models) <= set(registry.names(registry.DATASETS))
    prompts = load_prompts(protocol.prompt_set)
    for domain in get_args(Domain):
        assert prompts.select(protocol.default_prompts, domain)


def test_values_of_methods_are_valid(protocol: Protocol) -> None:
    for name, values in protocol.method_config.items():
        registry.load(registry.METHODS, name).Config.model_validate(values)


def test_smoke_runs_are_short_and_keep_what_is_no_length(protocol: Protocol) -> None:
    for name in registry.names(registry.METHODS):
        method = registry.load(registry.METHODS, name)
        cut = few_steps(protocol, name, method)
        usual, short = (
            method.Config.model_validate(which.method_config.get(name, {})).model_dump()
            for which in (protocol, cut)
        )
        changed = {key for key in usual if usual[key] != short[key]}
        assert changed <= {*FEW, "t0"}, name
        assert all(short[key] < usual[key] for key in changed)
        assert all(short[key] <= FEW[key] for key in FEW if key in short)
        if "respacing" in short:
            assert short["t0"] == 2 and short["respacing"] == usual["respacing"], name
        elif "t0" in short:
            assert short["t0"] == usual["t0"], "a timestep is no length"
        others = {key: cut.method_config.get(key) for key in cut.method_config if key != name}
        assert others == {key: protocol.method_config[key] for key in others}


def test_the_papers_protocol_takes_the_denoiser_of_the_domain() -> None:
    paper = load_protocol("paper-256-v1")
    found = {name: paper.models_for(name)["denoiser"] for name in registry.names(registry.DATASETS)}
    assert found == {
        "afhq": "ilvr-afhq-dog-256", "celebahq": "p2-ffhq-baseline-256",
        "ffhq": "p2-ffhq-baseline-256", "imagenet": "adm-imagenet-256-uncond",
        "lsun-bedroom": "adm-lsun-bedroom-256", "wikiart": "adm-imagenet-256-uncond",
    }  # fmt: skip
    assert set(paper.models_of("denoiser")) == set(found.values())
    assert paper.models_of("no-such-role") == []
    assert paper.source == "hub" and load_protocol("mini-64-v1").source == "embedded"
    for name in found:
        assert load_card(name).hub.samples["paper"] is not None
