"""The ends of a protocol's scale, and the margins that follow from it."""

from __future__ import annotations

import pytest

from benchmark.config import load_protocol
from reports.reference.margins import margin
from reports.scale_ends import drawn, drawn_on_other, means, other, own

PROTOCOL = load_protocol("mini-64-v1")


def test_the_source_keeps_all_content_and_another_picture_next_to_none() -> None:
    (kept,) = means(PROTOCOL, ["edge_agreement"], own, 1).values()
    (lost,) = means(PROTOCOL, ["edge_agreement"], other, 1).values()
    assert kept == pytest.approx(1.0)
    assert lost < 0.15
    assert means(PROTOCOL, [], own) == {}


def test_a_style_image_is_nearer_to_its_style_on_another_picture_than_to_the_source() -> None:
    assert PROTOCOL.balance is not None and PROTOCOL.balance.style_image is not None
    metric = PROTOCOL.balance.style_image.metric
    ends = [
        means(PROTOCOL, [metric], end, 3, style_image=drawn_on_other)[metric]
        for end in (own, drawn, drawn_on_other)
    ]
    assert ends[0] + 0.2 < ends[1] < ends[2] == pytest.approx(1.0)


def test_prompts_are_what_tells_a_style_where_no_image_shows_it() -> None:
    assert PROTOCOL.balance is not None and PROTOCOL.balance.style_image is not None
    assert means(PROTOCOL, [PROTOCOL.balance.style_image.metric], drawn, 1) == {}


@pytest.mark.parametrize(
    ("ends", "expected"), [((0.0, 1.0), 0.0025), ((-0.18, 0.722), 0.0023), ((0.03, 0.0), 7.5e-5)]
)
def test_a_margin_is_a_hundredth_of_a_quarter_of_the_scale_to_two_digits(
    ends: tuple[float, float], expected: float
) -> None:
    assert margin(*ends) == pytest.approx(expected)
