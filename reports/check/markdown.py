"""A check as Markdown for the summary of a CI job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from benchmark.regression.check import CheckResult
from reports.check import words
from reports.check.pictures import alt_text
from reports.formats import markdown

_SIGNS = {"regressed": "❌", "improved": "✅", "equivalent": "✅", "inconclusive": "⚠️"}
MEANING = (
    "*equivalent*: the mean difference lies inside the margin (both one-sided tests at 5 %); "
    "*regressed*, *improved*: it does not, and differs from 0 (one-sided at 5 %, Holm over the "
    "metrics); *inconclusive*: neither could be shown with these images."
)


def to_markdown(result: CheckResult, pictures: Mapping[str, str]) -> str:
    """The whole page. Text from outside shows as text, whatever signs are in it.

    Args:
        pictures: by sample id, a path relative to the Markdown's folder.
    """
    parts = [
        f"## {_SIGNS[result.verdict]} {_text(result.title)}: {result.verdict}",
        _table(
            ["metric", "verdict", "difference", words.INTERVAL, "margin", "p (Holm)", "n", ""],
            [
                [_text(words.label(one)), f"{_SIGNS[one.verdict]} {one.verdict}",
                 _text(words.difference(one)), _text(words.interval(one)),
                 f"{one.paired.margin:g}", _text(words.p_value(one)),
                 f"{one.found.n} ({one.found.n_images} images)",
                 _text(words.remark(one, result))]
                for one in result.decisions
            ],
        ),
        MEANING,
    ]  # fmt: skip
    remarks = [f"not judged: {name}, {reason}" for name, reason in result.unjudged.items()]
    remarks += result.notes
    parts += ["\n".join(f"- {_text(remark)}" for remark in remarks)] if remarks else []
    if result.worst:
        parts += [
            "### Samples that lost most",
            _table(
                ["sample", "style", "what", "source, output"],
                [
                    [_text(one.sample_id), _text(one.caption), _text(words.loss(one)),
                     _image(pictures, one.sample_id)]
                    for one in result.worst
                ],
            ),
            "The pictures lie in a folder beside this file. A job summary does not show them: they "
            "are in the job's artifact.",
        ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    return markdown.escape(words.flat(text))


def _image(pictures: Mapping[str, str], sample_id: str) -> str:
    if sample_id not in pictures:
        return ""
    return f"![{_text(alt_text(pictures, sample_id))}](<{quote(pictures[sample_id])}>)"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
