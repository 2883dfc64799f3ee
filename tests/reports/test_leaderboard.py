"""From runs to leaderboards, against figures computed another way."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.config import load_protocol
from benchmark.errors import RunDirectoryError, UsageError
from benchmark.stats import holm
from reports.board import Board, Report
from reports.collect import collect
from reports.leaderboard import build_report
from tests.runs import picture, smooth_scores, write_run


def report_of(*paths: Path, protocol: str | None = None) -> Report:
    return build_report(collect(paths), protocol=protocol)


def board_of(out: Path) -> Board:
    (board,) = report_of(out).boards
    return board


@pytest.fixture
def three(tmp_path: Path) -> Board:
    """Three methods that stand far apart."""
    for method, quality in (("ours", 0.2), ("zecon", 0.1), ("gatys", 0.0)):
        write_run(tmp_path, method=method, n_images=12, scores=smooth_scores(quality))
    return board_of(tmp_path)


def test_a_cell_is_the_mean_with_the_t_interval_of_the_image_means(tmp_path: Path) -> None:
    score = smooth_scores(0.1)
    write_run(tmp_path, n_images=6, scores=score)
    (only,) = board_of(tmp_path).rows
    cell = only.cells["clip_score_patch"]
    images = [
        np.mean([score("clip_score_patch", f"image{i:04d}", p) for p in ("golden", "red-bricks")])
        for i in range(6)
    ]
    assert cell.mean == pytest.approx(np.mean(images), abs=1e-12)
    half = stats.t.ppf(0.975, 5) * np.std(images, ddof=1) / np.sqrt(6)
    assert cell.interval == pytest.approx((cell.mean - half, cell.mean + half), abs=1e-12)
    assert (cell.n, cell.n_images, cell.note) == (12, 6, None)
    assert not cell.best and cell.p_first is None  # a run alone is first of nothing


def test_rows_are_in_order_and_the_two_best_are_marked_by_each_metrics_direction(
    three: Board,
) -> None:
    assert [row.label for row in three.rows] == ["ours", "zecon", "gatys"]
    for metric in three.metrics:
        cells = [row.cells[metric.name] for row in three.rows]
        assert [cell.best for cell in cells] == [True, False, False]
        assert [cell.second for cell in cells] == [False, True, False]
        means = [cell.mean or 0 for cell in cells]
        falling = all(a > b for a, b in pairwise(means))
        assert falling == (metric.direction == "higher")
        assert sum(cell.p_first or 0 for cell in cells) == pytest.approx(1)


def test_equal_means_share_the_first_place(tmp_path: Path) -> None:
    for method in ("ours", "zecon"):
        write_run(tmp_path, method=method, scores=lambda *_: 0.5)
    write_run(tmp_path, method="gatys", scores=lambda metric, *_: 0.6 if "lpips" in metric else 0.4)
    board = board_of(tmp_path)
    marks = {
        row.label: (row.cells["lpips_vgg"].best, row.cells["lpips_vgg"].second)
        for row in board.rows
    }
    # the second best value is marked, as in a printed table
    assert marks == {"ours": (True, False), "zecon": (True, False), "gatys": (False, True)}
    assert board.rows[0].cells["lpips_vgg"].interval == (0.5, 0.5)


def test_duels_are_adjusted_over_the_boards_pairs_and_name_the_winner(three: Board) -> None:
    for metric in three.metrics:
        duels = three.duels[metric.name]
        assert len(duels) == 3
        raw = [duel.comparison.permutation_p for duel in duels]
        assert [duel.holm_p for duel in duels] == pytest.approx(list(holm(raw)))
        for duel in duels:
            names = [row.label for row in three.rows if row.id in (duel.first, duel.second)]
            better = next(row.id for row in three.rows if row.label == names[0])
            assert duel.winner == better
            assert duel.detectable is not None and duel.detectable > 0


def test_runs_that_do_not_differ_have_no_winner(tmp_path: Path) -> None:
    for method in ("ours", "zecon"):
        write_run(tmp_path, method=method, n_images=8, scores=smooth_scores(0.1))
    board = board_of(tmp_path)
    (duel,) = board.duels["lpips_vgg"]
    assert duel.winner is None and duel.holm_p == 1


def test_an_incomplete_run_is_listed_last_without_means_and_fights_no_duel(tmp_path: Path) -> None:
    write_run(tmp_path, method="ours", n_images=6, scores=smooth_scores(0.0))
    write_run(tmp_path, method="zecon", n_images=6, scores=smooth_scores(0.4), missing=1)
    board = board_of(tmp_path)
    assert [row.label for row in board.rows] == ["ours", "zecon"]
    for cell in board.rows[1].cells.values():
        assert cell.mean is None and cell.interval is None and not cell.best
        assert cell.note == "incomplete: 11 of 12 samples made"
    assert board.rows[1].balance is None
    assert all(duels == () for duels in board.duels.values())


def test_failed_samples_leave_the_mean_and_the_duel_but_are_told(tmp_path: Path) -> None:
    score = smooth_scores(0.1)
    write_run(tmp_path, method="ours", n_images=5, scores=score, failed=["image0004__golden"])
    write_run(tmp_path, method="zecon", n_images=5, scores=smooth_scores(0.0))
    board = board_of(tmp_path)
    cell = next(row for row in board.rows if row.label == "ours").cells["lpips_vgg"]
    assert cell.n == 9 and cell.note == "1 failed"
    samples = [(f"image{i:04d}", p) for i in range(5) for p in ("golden", "red-bricks")]
    kept = [score("lpips_vgg", *sample) for sample in samples if sample != ("image0004", "golden")]
    assert cell.mean == pytest.approx(np.mean(kept))
    assert board.duels["lpips_vgg"][0].comparison.n == 9


def test_one_image_has_a_mean_but_no_interval_and_says_so(tmp_path: Path) -> None:
    write_run(tmp_path, n_images=1)
    (only,) = board_of(tmp_path).rows
    cell = only.cells["lpips_vgg"]
    assert cell.mean is not None and cell.interval is None
    assert cell.note == "no interval from fewer than 2 images"


def test_two_runs_of_one_image_cannot_be_told_apart_by_a_test(tmp_path: Path) -> None:
    write_run(tmp_path, method="ours", n_images=1, scores=smooth_scores(0.2))
    write_run(tmp_path, method="zecon", n_images=1, scores=smooth_scores(0.0))
    (duel,) = board_of(tmp_path).duels["lpips_vgg"]
    assert duel.holm_p is None and duel.winner is None and duel.detectable is None


def test_a_metric_that_has_no_value_anywhere_stays_empty(tmp_path: Path) -> None:
    write_run(tmp_path, scores=lambda metric, *_: None if metric == "lpips_vgg" else 0.5)
    (only,) = board_of(tmp_path).rows
    cell = only.cells["lpips_vgg"]
    assert cell.mean is None and cell.n == 0 and cell.note == "8 no_face"


def test_balance_is_the_harmonic_mean_between_the_protocols_anchors(three: Board) -> None:
    scale = load_protocol("mini-64-v1").balance
    assert scale is not None
    for entry in three.rows:
        content, style = (
            np.clip(
                ((entry.cells[anchor.metric].mean or 0) - anchor.worst)
                / (anchor.best - anchor.worst),
                0,
                1,
            )
            for anchor in (scale.content, scale.style)
        )
        assert entry.balance is not None
        assert entry.balance.content == pytest.approx(content)
        assert entry.balance.style == pytest.approx(style)
        expected = stats.hmean([content, style]) if content * style else 0
        assert entry.balance.harmonic_mean == pytest.approx(expected)
    assert [row.balance.on_pareto_front for row in three.rows if row.balance] == [
        True,
        False,
        False,
    ]


def test_style_is_weighed_by_the_style_image_where_one_guides(tmp_path: Path) -> None:
    scale = load_protocol("mini-64-v1").balance
    assert scale is not None and scale.style_image is not None
    styles = {"golden": picture("gold"), "red-bricks": picture("bricks")}
    metrics = ("clip_style_image", "edge_agreement")
    write_run(tmp_path, metrics=metrics, styles=styles, scores=lambda *_: 0.6)
    board = board_of(tmp_path)
    assert (board.style_metric, board.content_metric) == metrics
    (row,) = board.rows
    assert row.balance is not None
    assert row.balance.style == pytest.approx(scale.style_image.normalised(0.6))


def test_runs_over_other_images_or_prompts_do_not_share_a_board(tmp_path: Path) -> None:
    write_run(tmp_path, method="ours", n_images=6)
    write_run(tmp_path, method="zecon", n_images=6)
    write_run(tmp_path, method="ours", n_images=2)
    write_run(tmp_path, method="ours", n_images=6, prompts={"clay": "Clay"})
    boards = report_of(tmp_path).boards
    # more samples first
    assert [(len(b.image_ids), len(b.prompts), len(b.rows)) for b in boards] == [
        (6, 2, 2), (6, 1, 1), (2, 2, 1),
    ]  # fmt: skip
    assert len({board.id for board in boards}) == 3


def test_runs_of_one_method_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    for t0 in (10, 25, 40):
        write_run(
            tmp_path, method_config={"t0": t0, "eta": 0.0}, seconds=t0 / 10,
            scores=smooth_scores(t0 / 400),
        )  # fmt: skip
    write_run(tmp_path, method="zecon")
    board = board_of(tmp_path)
    assert {row.label for row in board.rows} == {
        "ours (t0=10)", "ours (t0=25)", "ours (t0=40)", "zecon",
    }  # fmt: skip
    (sweep,) = board.sweeps
    assert (sweep.method, sweep.key) == ("ours", "t0")
    assert [value for value, _ in sweep.points] == [10, 25, 40]
    by_id = {row.id: row for row in board.rows}
    assert [by_id[row_id].cost.seconds_median for _, row_id in sweep.points] == [1, 2.5, 4]


def test_a_mean_over_datasets_needs_every_dataset(tmp_path: Path) -> None:
    for dataset in ("afhq", "ffhq"):
        write_run(tmp_path, method="ours", dataset=dataset, scores=smooth_scores(0.1))
    write_run(tmp_path, method="zecon", dataset="afhq")
    overview = next(o for o in report_of(tmp_path).overviews if o.metric == "lpips_vgg")
    assert overview.means["zecon"]["ffhq"] is None
    assert overview.over_datasets["zecon"] is None
    ours = overview.means["ours"]
    assert overview.over_datasets["ours"] == pytest.approx(
        ((ours["afhq"] or 0) + (ours["ffhq"] or 0)) / 2
    )


def test_protocols_never_meet_in_one_report(tmp_path: Path) -> None:
    write_run(tmp_path)
    other = write_run(tmp_path, method="zecon")
    text = (other / "manifest.json").read_text()
    runs = collect([tmp_path])
    foreign = runs[1].manifest.model_copy(
        update={"config": runs[1].manifest.config.model_copy(update={"protocol": "paper-256-v1"})}
    )
    assert "mini-64-v1" in text
    mixed = [runs[0], type(runs[1])(**{**vars(runs[1]), "manifest": foreign})]
    with pytest.raises(UsageError, match=r"several protocols \(mini-64-v1, paper-256-v1\)"):
        build_report(mixed)
    (board,) = build_report(mixed, protocol="mini-64-v1").boards
    assert len(board.rows) == 1
    with pytest.raises(UsageError, match="no run follows the protocol other"):
        build_report(mixed, protocol="other")


def test_the_same_run_twice_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    with pytest.raises(RunDirectoryError, match="are the same run"):
        report_of(tmp_path)


def test_scores_of_different_judges_are_not_compared(tmp_path: Path) -> None:
    for method in ("ours", "zecon"):
        write_run(tmp_path, method=method)
    runs = collect([tmp_path])
    models = {"judge": {"sha256": "a" * 64}}
    changed = [
        type(run)(**{**vars(run), "manifest": run.manifest.model_copy(update={"models": found})})
        for run, found in zip(runs, (models, {"judge": {"sha256": "b" * 64}}), strict=True)
    ]
    with pytest.raises(RunDirectoryError, match=r"different weights of the judge \(aaaa.*bbbb"):
        build_report(changed)


def test_unlike_machines_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path, method="ours")
    write_run(tmp_path, method="zecon")
    runs = collect([tmp_path])
    other = runs[0].manifest.model_copy(update={"hardware": {"processor": "another"}})
    moved = [type(runs[0])(**{**vars(runs[0]), "manifest": other}), runs[1]]
    (note,) = build_report(moved).boards[0].notes
    assert "unlike machines" in note and "a test; another" in note
    assert build_report(runs).boards[0].notes == ()


def test_equal_runs_give_an_equal_report_in_whatever_order(tmp_path: Path) -> None:
    for method in ("ours", "zecon", "gatys"):
        write_run(tmp_path, method=method, scores=smooth_scores(0.01))
    from reports.formats.report_json import to_json

    paths = [path for path in sorted(tmp_path.glob("*/*/*/*"))]
    assert to_json(report_of(*paths)) == to_json(report_of(*reversed(paths)))


def test_a_large_board_tests_each_run_against_the_best_only_and_says_so(tmp_path: Path) -> None:
    for seed in range(42):
        write_run(
            tmp_path, n_images=3, prompts={"clay": "Clay"}, metrics=["psnr"], side=16,
            method_config={"knob": seed}, scores=smooth_scores(seed / 100),
        )  # fmt: skip
    board = board_of(tmp_path)
    duels = board.duels["psnr"]
    assert len(duels) == 41 and {duel.first for duel in duels} == {board.rows[0].id}
    assert any("tested against the first row only" in note for note in board.notes)
    assert len({row.label for row in board.rows}) == 42
