from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import DataError, UsageError
from reports.study.key import KeyItem, StudyKey
from reports.study.result import StudyResult, load_study_result
from reports.study.score import score_study
from tests.reports.study.raters import Opinion, answer_file, make_study, steady, write_answers
from tests.runs import write_run

LEVELS = {"ours": 80.0, "zecon": 60.0}


def score(folder: Path, **options: Any) -> StudyResult:
    arguments: dict[str, Any] = {
        "out": None, "max_repeat_difference": 25.0, "on_bad": "fail", "as_json": True, **options,
    }  # fmt: skip
    score_study(folder / "study", [folder / "answers"], **arguments)
    return load_study_result(arguments["out"] or folder / "study" / "study.json")


def rate(folder: Path, key: StudyKey, opinions: dict[str, Opinion]) -> None:
    for number, (rater, opinion) in enumerate(opinions.items()):
        write_answers(
            folder / "answers" / f"{rater}.json", answer_file(key, rater, opinion, seed=number)
        )


def guess(seed: int) -> Opinion:
    rng = np.random.default_rng(seed)
    return lambda item, question: float(rng.integers(0, 101))


def test_means_intervals_and_differences_find_the_methods(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=8)
    rate(tmp_path, key, {f"r{n}": steady(key, LEVELS, seed=n, noise=10) for n in range(10)})
    result = score(tmp_path)
    assert (result.n_raters, result.n_raters_excluded) == (10, 0)
    assert (result.protocol, result.dataset, result.stand_in) == ("mini-64-v1", "afhq", True)
    for entry in result.entries:
        assert (entry.n_ratings, entry.n_images, entry.n_raters) == (160, 8, 10)
        for rating in (entry.content, entry.style):
            assert rating.mean is not None
            assert rating.interval is not None
            assert rating.n == 160
            assert rating.interval[0] < rating.mean < rating.interval[1]
            assert rating.mean == pytest.approx(LEVELS[entry.method], abs=4)
    for one in result.comparisons:
        assert (one.a.method, one.b.method, one.n) == ("ours", "zecon", 160)
        assert one.mean_difference == pytest.approx(20, abs=4)
        assert one.p is not None
        assert one.p < 0.001
        assert one.p_holm == one.p  # one pair of methods
    assert [one.question for one in result.agreement] == ["content", "style"]
    for agreement in result.agreement:
        assert (agreement.n_raters, agreement.n_items) == (10, 32)
        assert agreement.alpha.value is not None
        assert agreement.alpha.value == pytest.approx(agreement.icc_single.value, abs=0.05)


def test_repeated_pictures_do_not_count_twice(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=2, repeats=4)

    def opinion(item: KeyItem, question: str) -> float:
        return 50.0 if item.repeat_of is None else 60.0

    rate(tmp_path, key, {"a": opinion, "b": opinion})
    result = score(tmp_path)
    for entry in result.entries:
        assert entry.content.mean == 50
        assert entry.content.interval == (50, 50)
        assert entry.content.note == "all values are equal"
        assert entry.n_ratings == 8
    assert [rater.repeat_difference for rater in result.raters] == [10, 10]
    for one in result.comparisons:
        assert (one.mean_difference, one.p, one.p_holm) == (0, None, None)
    for agreement in result.agreement:
        for coefficient in (agreement.icc_single, agreement.icc_average, agreement.alpha):
            assert coefficient.value is None
            assert "all ratings are equal" in str(coefficient.note)


def test_holm_adjusts_over_the_pairs_of_methods(tmp_path: Path) -> None:
    key = make_study(tmp_path, methods=("a", "b", "c"), n_images=5)
    levels = {"a": 60.0, "b": 62.0, "c": 64.0}
    rate(tmp_path, key, {f"r{n}": steady(key, levels, seed=n, noise=15) for n in range(6)})
    for question in ("content", "style"):
        found = [one for one in score(tmp_path).comparisons if one.question == question]
        raw = sorted(one.p for one in found if one.p is not None)
        adjusted = sorted(one.p_holm for one in found if one.p_holm is not None)
        steps = np.maximum.accumulate(np.array([3, 2, 1]) * np.array(raw))
        assert adjusted == pytest.approx(np.minimum(steps, 1))


def test_an_inattentive_rater_is_left_out_and_named(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=6, repeats=6)
    opinions = {f"r{n}": steady(key, LEVELS, seed=n) for n in range(4)}
    rate(tmp_path, key, opinions)
    without = score(tmp_path, out=tmp_path / "without.json")
    rate(tmp_path, key, {**opinions, "zz": guess(4)})
    result = score(tmp_path)
    assert [one.rater_id for one in result.excluded] == ["zz"]
    assert "6 repeated pictures" in result.excluded[0].reason
    assert (result.n_raters, result.n_raters_excluded) == (4, 1)
    assert result.entries == without.entries
    kept = score(tmp_path, max_repeat_difference=100, out=tmp_path / "kept.json")
    assert kept.n_raters == 5
    assert kept.entries != without.entries


def test_the_rule_catches_who_guesses_and_keeps_who_looks(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=8, repeats=4)
    opinions: dict[str, Opinion] = {f"g{n}": guess(n) for n in range(100)}
    # repeated judgements scatter with a standard deviation of 10 about each other's mean
    opinions |= {f"s{n}": steady(key, LEVELS, seed=n, noise=14) for n in range(100)}
    rate(tmp_path, key, opinions)
    excluded = [one.rater_id for one in score(tmp_path).excluded]
    assert 74 <= sum(name.startswith("g") for name in excluded) <= 94
    assert sum(name.startswith("s") for name in excluded) <= 3


def test_nobody_left_after_screening(tmp_path: Path) -> None:
    key = make_study(tmp_path, repeats=6)
    rate(tmp_path, key, {"g": guess(0)})
    with pytest.raises(DataError, match=r"no rater is left after screening \(g: answers to 6"):
        score(tmp_path, max_repeat_difference=5)


def test_one_rater_has_means_and_no_intervals(tmp_path: Path) -> None:
    key = make_study(tmp_path)
    rate(tmp_path, key, {"a": steady(key, LEVELS, seed=0)})
    result = score(tmp_path)
    for entry in result.entries:
        assert entry.content.mean is not None
        assert entry.content.interval is None
        assert str(entry.content.note).startswith("insufficient_n: 1 rater(s)")
    for agreement in result.agreement:
        assert agreement.icc_single.value is None
        assert agreement.alpha.note == "no picture has two raters"


def test_partial_answers_count_as_what_they_are(tmp_path: Path) -> None:
    key = make_study(tmp_path, n_images=4, repeats=2)
    whole = steady(key, LEVELS, seed=0)

    def half(item: KeyItem, question: str) -> float | None:
        known = item.image_id in {"image0000", "image0001"}
        return whole(item, question) if known and question == "content" else None

    rate(tmp_path, key, {"a": whole, "b": steady(key, LEVELS, seed=1), "half": half})
    result = score(tmp_path)
    for entry in result.entries:
        assert (entry.content.n, entry.style.n) == (8 + 8 + 4, 8 + 8)
        assert (entry.n_ratings, entry.n_raters, entry.n_images) == (20, 3, 4)
    content, style = result.agreement
    assert (content.n_raters, content.alpha_raters) == (2, 3)
    assert (style.n_raters, style.alpha_raters) == (2, 2)
    summary = {rater.rater_id: rater for rater in result.raters}["half"]
    assert (summary.complete, summary.n_answered, summary.counted) == (False, 0, True)
    assert str(summary.note).startswith("not screened: 0 repeated")


def test_a_method_that_nobody_rated_has_no_mean(tmp_path: Path) -> None:
    key = make_study(tmp_path, repeats=0)
    rate(tmp_path, key, {"a": lambda item, question: 70.0 if item.entry == 0 else None})
    first, second = score(tmp_path).entries
    assert first.content.mean == 70
    assert (second.content.mean, second.content.note, second.n_ratings) == (None, "no ratings", 0)


def test_empty_answers_are_no_study(tmp_path: Path) -> None:
    key = make_study(tmp_path)
    rate(tmp_path, key, {"a": lambda item, question: None})
    with pytest.raises(DataError, match="nobody answered a question"):
        score(tmp_path)


def test_one_value_for_everything_is_noted(tmp_path: Path) -> None:
    key = make_study(tmp_path)
    rate(tmp_path, key, {"a": lambda item, question: 70.0, "b": steady(key, LEVELS, seed=0)})
    notes = {rater.rater_id: rater.note for rater in score(tmp_path).raters}
    assert notes["b"] is None
    assert "one value to every picture for content" in str(notes["a"])


def test_configs_of_one_method_are_rated_apart(tmp_path: Path) -> None:
    for t0 in (5, 6):
        write_run(tmp_path / "runs", method_config={"t0": t0}, n_images=4)
    key = make_study(tmp_path, methods=())
    rate(tmp_path, key, {n: lambda item, question: 30.0 + 40 * item.entry for n in ("a", "b")})
    first, second = score(tmp_path).entries
    assert first.method == second.method
    assert (first.config_hash, second.config_hash) == tuple(e.config_hash for e in key.entries)
    assert (first.content.mean, second.content.mean) == (30, 70)


def test_scoring_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    key = make_study(tmp_path)
    rate(tmp_path, key, {f"r{n}": steady(key, LEVELS, seed=n) for n in range(3)})
    score(tmp_path)
    first = (tmp_path / "study" / "study.json").read_bytes()
    score(tmp_path)
    assert (tmp_path / "study" / "study.json").read_bytes() == first


@pytest.mark.parametrize("limit", [-1, 101, float("nan")])
def test_the_limit_lies_on_the_scale(tmp_path: Path, limit: float) -> None:
    with pytest.raises(UsageError, match="--max-repeat-difference must be 0 to 100"):
        score(tmp_path, max_repeat_difference=limit)


def test_a_result_must_be_one(tmp_path: Path) -> None:
    key = make_study(tmp_path)
    rate(tmp_path, key, {f"r{n}": steady(key, LEVELS, seed=n) for n in range(3)})
    result = score(tmp_path)
    path = tmp_path / "study" / "study.json"
    assert load_study_result(path) == result
    content = json.loads(path.read_text())
    for change, message in (
        ({"schema_version": 2}, "schema_version: Input should be 1, got 2"),
        ({"n_raters": "many"}, "n_raters"),
        ({"more": 1}, "more: Extra inputs"),
    ):
        path.write_text(json.dumps({**content, **change}))
        with pytest.raises(DataError, match=message):
            load_study_result(path)
    path.write_text("{")
    with pytest.raises(DataError, match="not a study result"):
        load_study_result(path)
    with pytest.raises(DataError, match=r"No such file.*bench study score"):
        load_study_result(tmp_path / "none.json")
