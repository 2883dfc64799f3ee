"""Mixtures as the command line names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.errors import UsageError
from data.cards import load_prompts
from data.decode import BadImageError
from data.mixtures import Mixture, parse_mixture
from tests.runs import picture

PROMPTS = load_prompts("mini-v1").select("all", "dogs")


def parse(spec: str) -> Mixture:
    return parse_mixture(spec, PROMPTS, size=64, resize_filter="lanczos")


def test_prompts_are_named_by_id_and_read_by_their_text() -> None:
    mixture = parse("golden=0.7, red-bricks=0.3")
    assert [(p.id, p.text, p.weight) for p in mixture.parts] == [
        ("golden", "Golden", 0.7), ("red-bricks", "Red bricks", 0.3),
    ]  # fmt: skip
    assert mixture.id == "golden-0.7-red-bricks-0.3"
    assert mixture.text == "Golden and Red bricks"


def test_a_file_is_a_style_image_and_leaves_the_judge_without_words(tmp_path: Path) -> None:
    file = tmp_path / "Blue Waves.png"
    Image.fromarray(picture("waves", 90)).save(file)
    mixture = parse(f"golden=0.5,{file}=0.5")
    style = mixture.parts[1].image
    assert style is not None and style.pixels.shape == (64, 64, 3)
    assert mixture.parts[1].text is None and mixture.text is None
    assert mixture.id == "golden-0.5-blue-waves-0.5"


@given(st.integers(1, 99))
def test_any_two_weights_that_sum_to_one_are_accepted(percent: int) -> None:
    share = percent / 100
    parts = parse(f"golden={share},clay={1 - share}").parts
    assert sum(part.weight for part in parts) == pytest.approx(1)


def test_thirds_are_near_enough_and_tenths_are_not() -> None:
    assert len(parse("golden=0.3333333,clay=0.3333333,silver=0.3333334").parts) == 3
    with pytest.raises(UsageError, match=r"sum to 0\.9, not to 1"):
        parse("golden=0.3,clay=0.3,silver=0.3")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("golden=0.5,red-bricks=0.6", r"sum to 1\.1, not to 1"),
        ("golden=1", "names one style"),
        ("golden=0.5,golden=0.5", "names a style twice"),
        ("golden,red-bricks=0.5", "'golden' is not of the form style=weight"),
        ("golden=half,red-bricks=0.5", "the weight 'half' is not a number"),
        ("golden=-0.5,red-bricks=1.5", r"'golden' is -0\.5, not in \(0, 1\]"),
        ("golden=nan,red-bricks=0.5", "not in"),
        ("goldn=0.5,red-bricks=0.5", "unknown prompt 'goldn'. Did you mean: golden"),
        ("", "not of the form"),
    ],
)
def test_what_is_wrong_with_a_mixture_is_said(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(spec)


def test_a_broken_style_image_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.png"
    file.write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"broken\.png"):
        parse(f"golden=0.5,{file}=0.5")
