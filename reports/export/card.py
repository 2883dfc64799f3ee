"""The dataset card: what the rows are, where they come from, under which terms."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from benchmark import __version__, registry
from benchmark.errors import BenchError
from reports.export.records import COLUMNS, MetricSummary, ScoredRun

# an underscore within a word is none, nor is a colon unless it makes a link
_MARKUP = re.compile(
    r"""[&<>"'`*\[\]|\\~#$!{}@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\."""
)
# the Hub's own words for a dataset's size
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def dataset_card(runs: Sequence[ScoredRun], metrics: Sequence[str], split: str) -> str:
    """README.md with YAML front matter.

    Every string that comes from a run or a user's command stands as text: neither Markdown nor
    HTML nor YAML in it takes effect.
    """
    lines = [
        "---",
        yaml.safe_dump(_front_matter(runs, split), sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {text(_title(runs))}",
        "",
        "Outputs of text-guided image style transfer, each with its source image, its prompt and "
        "its scores, written by `bench export` of stylebench "
        f"{__version__}. One row is one sample; scores are of the stored pixels.",
        "",
        *_warnings(runs),
        *_runs(runs),
        *_scores(runs, metrics),
        *_columns(runs, metrics),
        *_licence(runs),
        *_citation(runs),
        *_provenance(runs),
    ]
    return "\n".join(lines) + "\n"


def text(value: object) -> str:
    """One line of plain text: what Markdown or HTML would read as markup becomes an entity.

    >>> text("<b>*Gold*</b> | [x](y) of clip_score")
    '&#60;b&#62;&#42;Gold&#42;&#60;/b&#62; &#124; &#91;x&#93;(y) of clip_score'
    """
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(str(value).split()))


def fenced(code: str, language: str = "") -> list[str]:
    """A code block whose fence is longer than any in ``code``."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", code, fence, ""]


def _title(runs: Sequence[ScoredRun]) -> str:
    methods = dict.fromkeys(run.manifest.config.method for run in runs)
    datasets = dict.fromkeys(run.manifest.config.dataset for run in runs)
    return f"{', '.join(methods)} on {', '.join(datasets)} ({runs[0].manifest.config.protocol})"


def _front_matter(runs: Sequence[ScoredRun], split: str) -> dict[str, Any]:
    total = sum(len(run.samples) for run in runs)

    def files(pattern: str) -> list[dict[str, str]]:
        return [{"split": split, "path": pattern}]

    configs: list[dict[str, Any]] = [
        {"config_name": "default", "data_files": files(f"data/*/{split}-*.parquet"),
         "default": True},
    ]  # fmt: skip
    if len(runs) > 1:
        configs += [
            {"config_name": run.label, "data_files": files(f"data/{run.label}/{split}-*.parquet")}
            for run in runs
        ]
    return {
        "pretty_name": " ".join(_title(runs).split()),
        "license": "other",
        "license_name": "see-the-section-licence",
        "task_categories": ["image-to-image"],
        "tags": ["style-transfer", "benchmark", "stylebench"],
        "size_categories": [next((name for most, name in _SIZES if total < most), "n>100K")],
        "configs": configs,
    }


def _warnings(runs: Sequence[ScoredRun]) -> list[str]:
    lines = []
    for run in runs:
        if run.status == "partial":
            counts = run.counts
            lines.append(
                f"> **Partial:** {text(run.label)} has {len(run.samples)} of "
                f"{counts['expected']} samples; {counts['missing']} were never run. Its means are "
                f"of what is there."
            )
    notes = dict.fromkeys(
        (run.manifest.config.dataset, run.manifest.stand_in_note or "no further note")
        for run in runs
        if run.manifest.config.stand_in
    )
    lines += [f"> **Not the images of {text(dataset)}:** {text(note)}" for dataset, note in notes]
    return [line for pair in zip(lines, [""] * len(lines), strict=True) for line in pair]


def _runs(runs: Sequence[ScoredRun]) -> list[str]:
    rows: list[list[object]] = []
    for run in runs:
        config, counts = run.manifest.config, run.counts
        rows.append(
            [run.label, config.method, config.dataset, run.manifest.config_hash, config.seed,
             config.resolution, f"{len(run.samples)} of {counts['expected']}", counts["failed"],
             run.status]
        )  # fmt: skip
    head = ["run", "method", "dataset", "config hash", "seed", "pixels", "samples", "failed",
            "status"]  # fmt: skip
    prompts = dict.fromkeys(
        (prompt.id, prompt.caption) for run in runs for prompt in run.manifest.config.prompts
    )
    return [
        "## Runs", "", *_table(head, rows),
        f"Protocol: {text(runs[0].manifest.config.protocol)}.", "",
        "## Prompts", "", *_table(["id", "prompt"], prompts),
    ]  # fmt: skip


def _scores(runs: Sequence[ScoredRun], metrics: Sequence[str]) -> list[str]:
    rows = [
        [name, run.label, *_numbers(run.summary[name])]
        for name in metrics
        for run in runs
        if name in run.summary
    ]
    return [
        "## Scores", "",
        "Means over samples; intervals (95 %) respect that samples share content images. A sample "
        "without a value has null and the reason in the column of its status, never a zero.", "",
        *_table(["metric", "run", "mean", "interval", "n"], rows),
    ]  # fmt: skip


def _numbers(entry: MetricSummary) -> list[str]:
    mean = "none" if entry.mean is None else f"{entry.mean:.4f}"
    if entry.interval is None:
        return [mean, "none", str(entry.n)]
    low, high = entry.interval
    return [mean, f"{low:.4f} to {high:.4f}", str(entry.n)]


def _columns(runs: Sequence[ScoredRun], metrics: Sequence[str]) -> list[str]:
    first, *others = COLUMNS
    rows: list[Sequence[object]] = [
        [first, COLUMNS[first]],
        ["source_image", "the content image as the method got it, lossless"],
        ["output_image", "what the method made of it, the bytes of the stored PNG"],
        *([name, COLUMNS[name]] for name in others),
    ]
    for name in metrics:
        entry = next(run.summary[name] for run in runs if name in run.summary)
        low, high = entry.bounds
        rows.append([
            name, f"{entry.description}; {entry.direction} is better, from {low:g} to {high:g}, "
            f"version {entry.version}",
        ])  # fmt: skip
        rows.append([f"{name}_status", "ok, or why there is no value"])
    return ["## Columns", "", *_table(["column", "meaning"], rows)]


def _licence(runs: Sequence[ScoredRun]) -> list[str]:
    terms = dict.fromkeys(term for run in runs for term in _terms(run))
    return [
        "## Licence", "",
        "Outputs derive from the source images and from the models, so the terms of both hold.",
        "", *(f"- {text(term)}" for term in terms), "",
    ]  # fmt: skip


def _terms(run: ScoredRun) -> Iterable[str]:
    config = run.manifest.config
    source = run.manifest.dataset.get("source")
    source = source if isinstance(source, dict) else {}
    if config.stand_in:
        yield f"source images for {config.dataset}: stand-ins, not of the dataset and not under " \
              f"its licence"  # fmt: skip
        if "drawn_by" in source:
            yield f"they were drawn by {source['drawn_by']}: research use only, as their weights"
    elif source.get("name") == "folder":
        yield f"source images for {config.dataset}: a folder of the user's own, whose terms " \
              f"stylebench does not know; state them before you publish"  # fmt: skip
    else:
        card = _registered(registry.DATASETS, config.dataset)
        known = f"{card.licence} ({card.terms})" if card else "see its publisher"
        yield f"source images: {config.dataset}, {known}"
    for model in run.manifest.models.values():
        yield f"model {model.get('id')}: {model.get('licence')}"


def _citation(runs: Sequence[ScoredRun]) -> list[str]:
    entries: dict[str, None] = {}
    for run in runs:
        config = run.manifest.config
        method = _registered(registry.METHODS, config.method)
        if method:
            entries[f"Method {config.method}: {method.title}. {method.paper}"] = None
        dataset = _registered(registry.DATASETS, config.dataset)
        if dataset:
            what = "stood in for" if config.stand_in else "used"
            entries[f"Dataset {config.dataset} ({what}): {dataset.citation}"] = None
    lines = [f"- {text(entry)}" for entry in entries] or ["- see the manifests"]
    return ["## Citation", "", *lines, ""]


def _registered(group: str, name: str) -> Any:
    """The card of a method or dataset; None if it is not installed here."""
    try:
        return registry.load(group, name).card
    except BenchError:
        return None


def _provenance(runs: Sequence[ScoredRun]) -> list[str]:
    lines = ["## How it was made", ""]
    for run in runs:
        manifest = run.manifest
        lines += [f"### {text(run.label)}", "", *fenced(shlex.join(manifest.command), "sh")]
        facts = {
            "config_hash": manifest.config_hash,
            "git_revision": manifest.git_revision,
            "started": manifest.started,
            "finished": manifest.finished,
            "versions": manifest.versions,
            "hardware": manifest.hardware,
            "counts": run.counts,
            "config": manifest.config.model_dump(mode="json"),
        }
        lines += fenced(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True), "yaml")
    lines += ["`runs/` holds each run's manifest and summary as they were stored, `export.json` "
              "the SHA-256 of every file."]  # fmt: skip
    return lines


def _table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(text(cell) for cell in row)} |" for row in rows),
        "",
    ]
