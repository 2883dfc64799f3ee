"""Verdicts on synthetic runs whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.config import load_protocol
from benchmark.regression.decide import OUTPUTS, VALUES, Decision, decide, overall, pairs
from benchmark.regression.record import Record
from tests.regression.records import record, with_values

MARGINS = load_protocol("mini-64-v1").margins


@pytest.fixture
def reference(tmp_path: Path) -> Record:
    return record(tmp_path)


def verdicts(old: Record, new: Record, same_seed: bool = True) -> dict[str, Decision]:
    found, _ = pairs(old, new, MARGINS)
    return {one.paired.name: one for one in decide(found, old.image_ids, same_seed)}


def test_a_run_against_itself_is_equivalent(reference: Record) -> None:
    found = verdicts(reference, reference)
    assert {one.verdict for one in found.values()} == {"equivalent"}
    assert overall(list(found.values())) == "equivalent"
    assert all(one.note == "identical" for one in found.values())


@pytest.mark.parametrize("margins", [-8.0, 8.0])
@pytest.mark.parametrize("metric", ["clip_score_patch", "lpips_vgg"])
def test_the_direction_decides_what_is_worse(
    reference: Record, metric: str, margins: float
) -> None:
    shift = margins * MARGINS[metric] + 1e-4 * np.random.default_rng(0).standard_normal(16)
    found = verdicts(
        reference, with_values(reference, **{metric: reference.values[metric] + shift})
    )
    better = (margins > 0) == (metric == "clip_score_patch")
    assert found[metric].verdict == ("improved" if better else "regressed")
    assert found["edge_agreement"].verdict == "equivalent"
    assert overall(list(found.values())) == found[metric].verdict


def test_a_sure_loss_inside_the_margin_is_equivalent(reference: Record) -> None:
    shift = -0.2 * MARGINS["clip_score_patch"] + 1e-6 * np.random.default_rng(0).random(16)
    values = reference.values["clip_score_patch"] + shift
    found = verdicts(reference, with_values(reference, clip_score_patch=values))
    assert found["clip_score_patch"].verdict == "equivalent"
    assert (found["clip_score_patch"].p_worse or 1) < 1e-3


def test_noise_far_beyond_the_margin_is_inconclusive(reference: Record) -> None:
    noise = np.random.default_rng(3).normal(0, 20 * MARGINS["edge_agreement"], 16)
    values = reference.values["edge_agreement"] + noise - noise.mean()
    found = verdicts(reference, with_values(reference, edge_agreement=values))
    assert found["edge_agreement"].verdict == "inconclusive"
    assert overall(list(found.values())) == "inconclusive"


def test_regressed_goes_before_improved_and_inconclusive(reference: Record) -> None:
    noise = 1e-4 * np.random.default_rng(0).standard_normal(16)
    changed = with_values(
        reference,
        clip_score_patch=reference.values["clip_score_patch"] - 0.1 + noise,
        edge_agreement=reference.values["edge_agreement"] + 0.1 + noise,
    )
    assert overall(list(verdicts(reference, changed).values())) == "regressed"


def test_a_sample_that_fails_now_is_a_regression_under_the_same_seed(tmp_path: Path) -> None:
    old = record(tmp_path / "old")
    new = record(tmp_path / "new", failed=("image0003__golden",))
    found = verdicts(old, new)
    assert found[OUTPUTS].verdict == "regressed" and "1 sample(s)" in found[OUTPUTS].note
    assert verdicts(old, new, same_seed=False)[OUTPUTS].verdict == "inconclusive"
    assert verdicts(new, old)[OUTPUTS].verdict in {"inconclusive", "improved"}
    # it failed before, too
    assert verdicts(new, new)[OUTPUTS].verdict == "equivalent"


def test_many_failures_are_a_regression_under_any_seed(tmp_path: Path) -> None:
    old = record(tmp_path / "old")
    failed = tuple(f"image{number:04}__golden" for number in range(8))
    found = verdicts(old, record(tmp_path / "new", failed=failed), same_seed=False)
    assert found[OUTPUTS].verdict == "regressed"


def test_lost_faces_count_beside_the_distance_of_those_that_are_left(reference: Record) -> None:
    def lose(n_images: int) -> Record:
        values = reference.values["face_id_distance"].copy()
        values[: 2 * n_images] = np.nan
        return with_values(reference, face_id_distance=values)

    name = "face_id_distance" + VALUES
    assert name not in verdicts(reference, reference)
    one = verdicts(reference, lose(1))
    assert one["face_id_distance"].verdict == "equivalent"  # of the faces that are left
    assert one[name].verdict == "inconclusive"
    every = verdicts(reference, lose(8))
    assert every[name].verdict == "regressed"
    # a face that is found now is no loss
    assert name not in verdicts(lose(8), reference)


def test_a_metric_without_margin_or_values_is_not_judged(reference: Record) -> None:
    none = with_values(reference, face_id_distance=np.full(16, np.nan))
    found, unjudged = pairs(none, none, MARGINS)
    assert set(unjudged) == {"psnr", "face_id_distance"}
    assert "no margin" in unjudged["psnr"] and "no sample" in unjudged["face_id_distance"]
    assert {one.name for one in found} == {
        OUTPUTS, "clip_score_patch", "edge_agreement", "lpips_vgg"
    }  # fmt: skip


def test_one_image_is_not_enough_unless_nothing_changed(tmp_path: Path) -> None:
    one = record(tmp_path, n_images=1)
    assert overall(list(verdicts(one, one).values())) == "equivalent"
    changed = with_values(one, edge_agreement=one.values["edge_agreement"] - 0.5)
    found = verdicts(one, changed)["edge_agreement"]
    assert found.verdict == "inconclusive" and "insufficient_n" in found.note
