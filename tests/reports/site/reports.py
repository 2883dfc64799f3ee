"""Reports of made-up runs, small enough to be written in a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reports.board import Board, Report, ReportedNumber, Row, StudyScore
from reports.collect import collect
from reports.leaderboard import build_report
from tests.runs import smooth_scores, write_run

METRICS = ("clip_score_patch", "lpips_vgg", "edge_agreement")
COMMAND = ("bench", "report", "runs & more")
REPORTED = ReportedNumber(
    "StyleCLIP", "CLIP score", 0.092, "cosine", "40 images", "A paper, arXiv 2103.17249"
)

# what a hostile run may call itself; none of it may act, and all of it must be shown
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
QUOTES = '"\'` onmouseover=alert(3) x="'
PATHS = "../../../etc/passwd"
LONG = "long " * 60
TURNED = "turn‮ed‏ ⁧round"
BREAKS = "line\u2028break\u2029</script><!--"
JINJA = "{{ 7 * 7 }}{% raw %}"
HOSTILE = f"{SCRIPT} {QUOTES} {PATHS} {LONG} {TURNED} {BREAKS} {JINJA}"


def small_report(out: Path) -> Report:
    """Two boards: six runs on afhq with every oddity, two on ffhq."""
    for method, quality, extra in (
        ("ours", 0.06, {"method_config": {"t0": 25}, "seconds": 2.4}),
        ("ours", 0.03, {"method_config": {"t0": 10}, "seconds": 1.1}),
        ("zecon", 0.02, {"failed": ("image0002__golden", "image0005__golden"), "seconds": 12.0}),
        ("partly", 0.01, {"metrics": ("lpips_vgg",), "seconds": 9.0}),
        ("faceless", 0.0, {"scores": _sometimes_missing, "seconds": 0.5}),
        ("broken-off", 0.09, {"missing": 5, "seconds": 0.3}),
    ):
        options: dict[str, Any] = {"scores": smooth_scores(quality), "metrics": METRICS, **extra}
        write_run(out, method=method, n_images=14, **options)
    for method, quality in (("ours", 0.05), ("zecon", 0.02)):
        write_run(
            out, method=method, dataset="ffhq", n_images=3, scores=smooth_scores(quality),
            metrics=METRICS, method_config={"t0": 25} if method == "ours" else None,
        )  # fmt: skip
    return build_report(
        collect([out]), reported=(REPORTED,),
        study=lambda run: (StudyScore(88.4, (80.0, 95.0), 40), StudyScore(56.2, None, 40))
        if run.method == "zecon" else None,
    )  # fmt: skip


def _sometimes_missing(metric: str, image_id: str, prompt_id: str) -> float | None:
    if metric == "edge_agreement" and image_id in {"image0001", "image0003"}:
        return None
    return smooth_scores(0.0)(metric, image_id, prompt_id)


def hostile_report(out: Path) -> Report:
    """A report in which every string that a run or a paper brings is hostile."""
    for quality in (0.02, 0.05):
        write_run(
            out, n_images=3, prompts={"one": HOSTILE, "__proto__": "__proto__"},
            scores=smooth_scores(quality), method_config={"t0": quality, "note": HOSTILE},
            failed=("image0001__one",),
        )  # fmt: skip
    report = build_report(collect([out]))
    (board,) = report.boards
    rows = tuple(_hostile_row(row) for row in board.rows)
    return replace(
        report,
        boards=(replace(board, title=HOSTILE, dataset=HOSTILE, stand_in_note=HOSTILE, rows=rows,
                        image_ids=tuple(HOSTILE + name for name in board.image_ids)),),
        reported=(ReportedNumber(HOSTILE, HOSTILE, 1.0, HOSTILE, HOSTILE, HOSTILE),),
    )  # fmt: skip


def _hostile_row(row: Row) -> Row:
    run = row.run
    config = run.manifest.config.model_copy(
        update={"method": HOSTILE, "dataset": HOSTILE, "source_prompt": HOSTILE}
    )
    manifest = run.manifest.model_copy(
        update={
            "config": config, "stand_in_note": HOSTILE, "git_revision": HOSTILE,
            "command": ["bench", HOSTILE], "versions": {HOSTILE: HOSTILE},
            "hardware": {HOSTILE: {HOSTILE: HOSTILE}}, "dataset": {HOSTILE: [HOSTILE]},
            "models": {HOSTILE: {"id": HOSTILE, "licence": HOSTILE, "sha256": HOSTILE}},
        }
    )  # fmt: skip
    hostile_run = replace(
        run, manifest=manifest, notes=(HOSTILE,), distribution={HOSTILE: HOSTILE},
        image_ids=tuple(HOSTILE + name for name in run.image_ids),
        failures=tuple((sample, HOSTILE) for sample, _ in run.failures),
    )  # fmt: skip
    cells = {name: replace(cell, note=HOSTILE) for name, cell in row.cells.items()}
    cost = replace(row.cost, hardware=HOSTILE)
    return replace(row, label=HOSTILE + row.id, run=hostile_run, cells=cells, cost=cost)


def pages_of(site: Path) -> Sequence[Path]:
    return sorted(site.rglob("*.html"))


def board_named(report: Report, dataset: str) -> Board:
    return next(board for board in report.boards if board.dataset == dataset)
