"""An experiment as Markdown, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from reports.experiments.claims import Decision, fewest
from reports.experiments.measure import Measured, Number, Row, direction_of
from reports.experiments.model import Column
from reports.formats.markdown import escape
from reports.formats.numbers import ARROWS, MISSING, interval, number, p_value

UNITS = {"seconds": "s per image", "preparation": "s for the run"}
BASES = {"numbers": "from the paper's numbers", "default": "implied by the paper's default"}

EXPLANATION = (
    "One-sided paired tests by sign flips of whole content images (of seconds: of chunks, the "
    "first, cold one included on both sides); p is adjusted over the claims by Holm's method, for "
    "each direction at a level of 5 %. *Undecided* means that so few images cannot tell, not that "
    "there is no difference."
)


def to_markdown(
    measured: Measured, decisions: Sequence[Decision], pictures: Mapping[str, str], made_by: str
) -> str:
    """The table or figure with its claims.

    Args:
        pictures: title -> file name, beside the text.
        made_by: version and command.
    """
    experiment = measured.experiment
    parts = [
        f"# {experiment.name}: {escape(experiment.title)}",
        escape(experiment.about),
        f"Protocol `{measured.protocol}`. {made_by} Cells are means with 95 % intervals over "
        f"content images (of seconds: over chunks); arrows show which way is better.",
    ]
    if experiment.reported is not None:
        parts.append(
            f"Columns marked *reported* repeat the paper and were not measured here "
            f"({escape(experiment.reported.source)}; {escape(experiment.reported.setting)}). "
            f"They are on other scales than the measured ones: compare the order, not the values."
        )
    parts += [f"> {escape(note)}" for note in measured.notes]
    for dataset, rows in measured.rows.items():
        title = experiment.dataset_titles.get(dataset, "")
        parts.append(f"## {escape(title)} ({dataset})" if title else f"## {dataset}")
        parts.append(_table(measured, dataset, rows))
    if decisions:
        lines = [f"- {sentence(measured, decision)}" for decision in decisions]
        parts += ["## Claims", EXPLANATION, "\n".join(lines)]
    if pictures:
        parts.append("## Pictures")
        parts += [f"![{escape(title)}]({name})" for title, name in pictures.items()]
    return "\n\n".join(parts) + "\n"


def sentence(measured: Measured, decision: Decision) -> str:
    """A claim, the word, and what it rests on."""
    claim = decision.claim
    text = f"**{decision.word}**: {escape(claim.text.rstrip('.'))} ({BASES[claim.basis]}"
    if decision.missing:
        return f"{text}; not made: {escape(', '.join(decision.missing))})"
    pair = decision.pair
    if pair is None or pair.comparison.mean_difference is None:
        return f"{text}; there is nothing to compare)"
    dataset = measured.experiment.dataset_of(claim)
    against = measured.row(dataset, pair.than).variant.label
    first = measured.row(dataset, pair.of).variant.label
    column = _column(measured, claim.column)
    found = pair.comparison
    mean = found.mean_difference or 0.0
    ends = f" {interval(found.interval)}" if found.interval is not None else ""
    what = "chunks" if column.quantity == "seconds" else "images"
    text += (
        f"; {escape(column.title)} of {escape(first)} minus {escape(against)}: "
        f"{'+' if mean > 0 else ''}{number(mean)}{ends}, n = {found.n_clusters} {what}"
    )
    p = decision.p_contradicted if decision.word == "contradicted" else decision.p_supported
    if p is not None:
        text += f", p {p_value(p)}" if p < 0.001 else f", p = {p_value(p)}"
    if decision.word == "undecided at this n":
        if decision.detectable is not None:
            text += f"; so many {what} show differences from {number(decision.detectable)}"
        else:
            least = fewest(len(measured.experiment.claims))
            text += f"; fewer than {least} {what} can decide nothing"
        if decision.needed is not None:
            text += f", about {decision.needed:,} would show this one"
    return f"{text})"


def to_csv(measured: Measured) -> str:
    """A line for each dataset, variant and column."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["experiment", "protocol", "dataset", "variant", "label", "method", "config_hash", "column",
         "measures", "mean", "low", "high", "n", "n_clusters", "reported", "reported_unit"]
    )  # fmt: skip
    for dataset, rows in measured.rows.items():
        for row in rows:
            for column in measured.experiment.columns:
                found = row.numbers.get(column.id, Number(None))
                stated = row.reported.get(column.id)
                ends = found.interval or ("", "")
                writer.writerow(
                    [measured.experiment.id, measured.protocol, dataset, row.variant.id,
                     row.variant.label, row.variant.method,
                     row.run.manifest.config_hash if row.run else "", column.id,
                     column.metric or column.quantity,
                     "" if found.mean is None else repr(found.mean), *map(str, ends), found.n,
                     found.n_clusters, *((stated.value, stated.unit) if stated else ("", ""))]
                )  # fmt: skip
    return buffer.getvalue()


def claims_csv(measured: Measured, decisions: Sequence[Decision]) -> str:
    """A line for each claim."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["experiment", "dataset", "claim", "basis", "word", "column", "of", "than", "difference",
         "low", "high", "n_clusters", "p_supported", "p_contradicted"]
    )  # fmt: skip
    for decision in decisions:
        pair = decision.pair
        found = pair.comparison if pair is not None else None
        ends = (found.interval if found is not None else None) or ("", "")
        writer.writerow(
            [measured.experiment.id, measured.experiment.dataset_of(decision.claim),
             decision.claim.text, decision.claim.basis, decision.word, decision.claim.column,
             pair.of if pair else "", pair.than if pair else "",
             found.mean_difference if found else "", *map(str, ends),
             found.n_clusters if found else "",
             "" if decision.p_supported is None else decision.p_supported,
             "" if decision.p_contradicted is None else decision.p_contradicted]
        )  # fmt: skip
    return buffer.getvalue()


def _column(measured: Measured, identifier: str) -> Column:
    return next(column for column in measured.experiment.columns if column.id == identifier)


def _table(measured: Measured, dataset: str, rows: Sequence[Row]) -> str:
    columns = measured.experiment.columns
    head, shown = [""], []
    for column in columns:
        what = f"`{column.metric}`" if column.metric else UNITS[str(column.quantity)]
        head.append(f"{escape(column.title)} {ARROWS[direction_of(column)]} ({what})")
        if any(column.id in row.reported for row in rows):
            shown.append(column.id)
            unit = next(row.reported[column.id].unit for row in rows if column.id in row.reported)
            head.append(f"*reported {escape(column.title)}*{f' ({escape(unit)})' if unit else ''}")
    head.append("images, samples")
    body = []
    for row in rows:
        cells = [escape(row.variant.label)]
        for column in columns:
            cells.append(_cell(row, column))
            if column.id in shown:
                stated = row.reported.get(column.id)
                cells.append("" if stated is None else f"*{number(stated.value)}*")
        made = row.run
        cells.append("not made" if made is None else f"{len(set(made.image_ids))}, {made.n_made}")
        body.append(cells)
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row, column: Column) -> str:
    found = row.numbers.get(column.id)
    if found is None or found.mean is None:
        return MISSING
    text = f"{number(found.mean)} {interval(found.interval)}".strip()
    total = len(row.run.made) if row.run is not None else found.n
    return f"{text} n={found.n}" if found.n and found.n != total else text
