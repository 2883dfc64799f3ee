"""Cards and prompt sets: complete, closed, and honest about stand-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from benchmark.errors import UsageError
from benchmark.zoo.mini.styles import STYLES
from benchmark.zoo.mini.unet import CLASSES
from data import datasets
from data.cards import (
    DatasetCard,
    Domain,
    HubFacts,
    PromptSet,
    custom_prompt,
    load_card,
    load_prompts,
)

DOMAINS = {
    "celebahq": "faces", "ffhq": "faces", "lsun-bedroom": "bedrooms", "afhq": "dogs",
    "imagenet": "objects", "wikiart": "paintings",
}  # fmt: skip


@pytest.mark.parametrize("name", DOMAINS)
def test_hub_facts(name: str) -> None:
    facts = load_card(name).hub
    assert {"paper", "full"} <= set(facts.samples)
    assert facts.samples["paper"].first == 40  # type: ignore[union-attr]
    assert facts.samples["full"].first == 1000  # type: ignore[union-attr]
    places = [facts.location(), *facts.mirrors]
    assert len({place.id for place in places}) == len(places)
    assert all(place.id.count("/") == 1 for place in places)
    if name == "afhq":
        assert all(place.label and place.label.value == "dog" for place in places)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ({"first": 5, "of": 4, "key": "a"}, "5 rows cannot be drawn from 4"),
        ({"rows": [3, 1]}, "must rise"),
        ({"rows": [1, 1]}, "must rise"),
        ({"rows": [-1]}, "greater than or equal to 0"),
        ({"rows": []}, "at least 1"),
        ({"first": 5}, "Field required"),
    ],
)
def test_bad_sample_lists(samples: dict[str, Any], words: str) -> None:
    facts = load_card("afhq").hub.model_dump() | {"samples": {"paper": samples}}
    with pytest.raises(ValidationError, match=words):
        HubFacts.model_validate(facts)


def test_choice_of_source(tmp_path: Path) -> None:
    assert datasets.afhq.source(None).stand_in
    hub = datasets.afhq.source(None, "hub")
    assert not hub.stand_in
    assert hub.identity()["id"] == "huggan/AFHQv2"
    assert hub.identity()["samples"]["first"] == 40
    mirror = datasets.afhq.source(None, "hub:huggan/AFHQ", "full")
    assert mirror.identity()["id"] == "huggan/AFHQ"
    assert mirror.identity()["samples"]["first"] == 1000
    for arguments, words in [
        ((None, "hup"), "unknown source 'hup'. Did you mean: hub"),
        ((None, "hub:huggan/AFHQ3"), r"unknown hub copy of afhq 'huggan/AFHQ3'.*huggan/AFHQv2"),
        ((None, "hub", "ful"), "unknown sample list 'ful'. Did you mean: full"),
        ((None, "embedded", "full"), "add --source hub"),
        ((tmp_path, "hub"), "either --images or --source hub, not both"),
    ]:
        with pytest.raises(UsageError, match=words):
            datasets.afhq.source(*arguments)


@pytest.mark.parametrize("name", DOMAINS)
def test_card(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert card.domain == DOMAINS[name]
    assert card.source_prompt == ("Painting" if name == "wikiart" else "Photo")
    assert card.stand_in
    assert "stand-in" in card.stand_in_note.lower()
    assert getattr(datasets, name.replace("-", "_")).card == card


def test_domains_are_classes_of_the_denoiser() -> None:
    assert set(get_args(Domain)) == set(CLASSES) - {"unconditional"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"domain": "cars"}, "domain"),
        ({"colour": "red"}, "colour"),
        ({"embedded": []}, "embedded"),
        ({"image_size": "large"}, "image_size"),
    ],
)
def test_bad_cards_name_the_field(change: dict[str, Any], field: str) -> None:
    facts = load_card("afhq").model_dump() | change
    with pytest.raises(ValidationError) as caught:
        DatasetCard.model_validate(facts)
    assert caught.value.errors()[0]["loc"][0] == field


def test_mini_set_has_every_procedural_style_with_its_prompt() -> None:
    prompts = {prompt.id: prompt.text for prompt in load_prompts("mini-v1").prompts}
    assert prompts == {style.id: style.prompt for style in STYLES.values()}


def test_paper_set_has_the_papers_prompts() -> None:
    texts = [prompt.text for prompt in load_prompts("paper-v1").prompts]
    for text in (
        "A sketch with crayon", "Golden", "Water Painting", "Wooden", "Red bricks", "Clay",
        "Pop art", "Stone wall", "Pixar", "Zombie", "Ukiyo-E", "Neon Light", "Portrait by Cezanne",
        "Painting by Cezanne", "Gogh", "Stained Glass", "Oil painting of flowers", "No make up",
        "Angry", "Makeup and Curly Hair",
    ):  # fmt: skip
        assert text in texts


@pytest.mark.parametrize("name", ["mini-v1", "paper-v1"])
def test_ids_are_unique_and_file_name_safe(name: str) -> None:
    ids = [prompt.id for prompt in load_prompts(name).prompts]
    assert len(set(ids)) == len(ids)
    assert all(prompt_id.replace("-", "").isalnum() and "__" not in prompt_id for prompt_id in ids)
    assert set(load_prompts(name).quick) <= set(ids)


def chosen(selection: str, domain: str = "dogs", name: str = "mini-v1") -> list[str]:
    return [prompt.id for prompt in load_prompts(name).select(selection, domain)]


def test_selection() -> None:
    assert set(chosen("quick")) == {"golden", "red-bricks"}
    assert len(chosen("all")) == len(STYLES)
    assert chosen(" wooden , golden") == chosen("golden,wooden"), "one order, that of the set"
    assert "angry" in chosen("all", "faces", "paper-v1")
    assert "angry" not in chosen("all", "dogs", "paper-v1")


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("goldn", "unknown prompt 'goldn'. Did you mean: golden"),
        ("", "unknown prompt ''"),
        ("golden,,wooden", "unknown prompt ''"),
    ],
)
def test_unknown_prompts(selection: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(selection)


def test_prompt_of_another_domain_and_unknown_set() -> None:
    with pytest.raises(UsageError, match="'angry' is not for dogs"):
        chosen("angry", "dogs", "paper-v1")
    with pytest.raises(UsageError, match=r"unknown prompt set 'mini'.*mini-v1"):
        load_prompts("mini")


def test_custom_prompt() -> None:
    prompt = custom_prompt("  A  Red, Car! ")
    assert prompt.text == "A Red, Car!"
    assert prompt.id.startswith("a-red-car-")
    assert custom_prompt("A red car").id != prompt.id, "the hash tells texts apart"
    assert custom_prompt("A Red, Car!").id == prompt.id
    assert custom_prompt("金色").id.isalnum()
    for empty in ("", "  ", "\n"):
        with pytest.raises(UsageError, match="empty"):
            custom_prompt(empty)


def test_prompt_sets_are_closed() -> None:
    with pytest.raises(ValidationError):
        PromptSet.model_validate({"name": "x", "quick": [], "prompts": [], "more": 1})
