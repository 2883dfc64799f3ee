"""From run directories to leaderboards: which runs may stand in one table."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

from benchmark import __version__
from benchmark.config import Protocol, canonical_json, load_protocol
from benchmark.errors import RunDirectoryError, UsageError
from benchmark.scoring import metric_classes
from reports.board import Board, Report, ReportedNumber, Row, StudyScore
from reports.collect import CollectedRun
from reports.configs import row_labels, sweeps_of
from reports.duels import MOST_AGAINST_BEST, MOST_ALL_PAIRS, all_duels
from reports.overview import overviews_of
from reports.rows import (
    balances_of,
    cell_of,
    cost_of,
    metrics_of,
    row_order,
    share_of_firsts,
    with_places,
)

Study = Callable[[CollectedRun], tuple[StudyScore, StudyScore] | None]


def build_report(
    runs: Sequence[CollectedRun], *, protocol: str | None = None,
    reported: Sequence[ReportedNumber] = (), study: Study = lambda run: None,
) -> Report:  # fmt: skip
    """Leaderboards of one protocol: one for each dataset and set of samples.

    Runs over other images, prompts or source prompts never share a board, so a trial run with
    ``--limit`` stands apart from the full one.

    Args:
        runs: at least one.
        protocol: which one, where the runs have several; the others are left out.
        reported: numbers of papers, to stand beside the measured ones.
        study: content and style of a run in a user study.

    Raises:
        UsageError: runs of several protocols and none chosen, or none of the chosen one.
        RunDirectoryError: runs that cannot be compared: other scoring weights or metric versions;
            the same run twice.
    """
    chosen = load_protocol(_one_protocol(runs, protocol))
    runs = [run for run in runs if run.manifest.config.protocol == chosen.id]
    _require_comparable(runs)
    groups: dict[tuple[str, ...], list[CollectedRun]] = defaultdict(list)
    for run in runs:
        groups[_sample_set(run)].append(run)
    # the largest set of samples of a dataset comes first
    ordered = sorted(
        groups.items(), key=lambda item: (item[0][0], -len(item[1][0].manifest.sample_ids), item[0])
    )
    boards = tuple(_board(group, chosen, study) for _, group in ordered)
    return Report(
        protocol=chosen.id,
        protocol_title=chosen.title,
        version=__version__,
        boards=boards,
        overviews=overviews_of(boards),
        reported=tuple(reported),
    )


def _one_protocol(runs: Sequence[CollectedRun], wanted: str | None) -> str:
    found = sorted({run.manifest.config.protocol for run in runs})
    if wanted is None and len(found) > 1:
        raise UsageError(
            f"the runs follow several protocols ({', '.join(found)}), whose scores cannot stand in "
            f"one table: choose one with --protocol"
        )
    if wanted is not None and wanted not in found:
        raise UsageError(f"no run follows the protocol {wanted}; found: {', '.join(found)}")
    return wanted or found[0]


def _require_comparable(runs: Sequence[CollectedRun]) -> None:
    seen: dict[str, CollectedRun] = {}
    judges: dict[str, tuple[str, CollectedRun]] = {}
    versions: dict[str, tuple[int, CollectedRun]] = {}
    for run in runs:
        key = canonical_json(run.manifest.config.model_dump(mode="json")).decode()
        twin = seen.setdefault(key, run)
        if twin is not run:
            raise RunDirectoryError(
                f"{twin.path} and {run.path} are the same run (config {run.manifest.config_hash}): "
                f"give one of them"
            )
        if not run.scores:
            continue
        for role in sorted(_scoring_roles(run)):
            digest = str(run.manifest.models.get(role, {}).get("sha256"))
            other, first = judges.setdefault(role, (digest, run))
            if other != digest:
                raise RunDirectoryError(
                    f"{first.path} and {run.path} were scored with different weights of the {role} "
                    f"({other[:12]} and {digest[:12]}), so their scores cannot be compared: score "
                    f"the older one again with `bench score`"
                )
        for name, scores in run.scores.items():
            version, first = versions.setdefault(name, (scores.version, run))
            if version != scores.version:
                raise RunDirectoryError(
                    f"{first.path} has version {version} of {name} and {run.path} version "
                    f"{scores.version}: score the older one again with `bench score`"
                )


def _scoring_roles(run: CollectedRun) -> set[str]:
    return {role for cls in metric_classes(list(run.scores)) for role in cls.encoders}


def _sample_set(run: CollectedRun) -> tuple[str, ...]:
    config = run.manifest.config
    prompts = canonical_json([prompt.model_dump() for prompt in config.prompts]).decode()
    return config.dataset, config.fingerprint, prompts, config.source_prompt


def _board(runs: Sequence[CollectedRun], protocol: Protocol, study: Study) -> Board:
    config = runs[0].manifest.config
    image_ids = tuple(dict.fromkeys(runs[0].image_ids))
    digest = hashlib.sha256(canonical_json(list(_sample_set(runs[0])))).hexdigest()[:6]
    identifier = f"{_slug(config.dataset)}-{digest}"
    metrics = metrics_of(runs, protocol)
    complete = [run for run in runs if run.state == "complete"]
    balances = balances_of(complete, protocol)
    firsts = {metric.name: share_of_firsts(complete, metric) for metric in metrics}
    labels = row_labels(runs)
    rows = []
    for run, label in zip(runs, labels, strict=True):
        cells = {metric.name: cell_of(run, metric, firsts[metric.name]) for metric in metrics}
        scores = study(run)
        rows.append(
            Row(
                id=f"{identifier}-{_slug(run.method)}-{_slug(run.path.name)}",
                label=label,
                run=run,
                cells=cells,
                cost=cost_of(run),
                balance=balances.get(str(run.path)),
                study_content=scores[0] if scores else None,
                study_style=scores[1] if scores else None,
            )
        )
    scale = protocol.balance
    style = scale.style_of(config.shown) if scale else None
    rows = with_places(sorted(rows, key=row_order(protocol)), metrics)
    return Board(
        id=identifier,
        title=f"{config.dataset}: {_some(len(image_ids), 'image')}, "
        f"{_some(len(config.prompts), 'style')}",
        dataset=config.dataset,
        fingerprint=config.fingerprint,
        image_ids=image_ids,
        prompts={prompt.id: prompt.caption for prompt in config.prompts},
        metrics=metrics,
        rows=tuple(rows),
        duels={metric.name: all_duels(rows, metric) for metric in metrics},
        sweeps=sweeps_of(rows),
        content_metric=scale.content.metric if scale else None,
        style_metric=style.metric if style else None,
        stand_in_note=runs[0].manifest.stand_in_note,
        notes=_notes(rows),
    )


def _notes(rows: Sequence[Row]) -> tuple[str, ...]:
    notes = []
    machines = sorted({row.cost.hardware for row in rows})
    if len(machines) > 1:
        notes.append(
            "Seconds per image were measured on unlike machines and cannot be compared: "
            + "; ".join(machines)
        )
    if len(rows) > MOST_AGAINST_BEST:
        notes.append(f"More than {MOST_AGAINST_BEST} runs: no pair was compared by a test")
    elif len(rows) > MOST_ALL_PAIRS:
        notes.append(f"More than {MOST_ALL_PAIRS} runs: each was tested against the first row only")
    return tuple(notes)


def _slug(text: str) -> str:
    """Letters, digits and dashes only, so that it is safe as a file name and an HTML id."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return slug or hashlib.sha256(text.encode()).hexdigest()[:8]


def _some(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
