"""``bench study new``: from runs to a form and its key."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import RunDirectoryError, UsageError
from benchmark.files import explain_write_errors, write_atomically
from benchmark.run import RunDirectory
from reports.collect import CollectedRun, collect
from reports.study.form import minutes_needed, render_form
from reports.study.key import FORM_FILE, KEY_FILE, StudyKey, with_study_id
from reports.study.plan import choose_pairs, name_items
from reports.study.result import EntryName

log = logging.getLogger(__name__)

DEFAULT_TITLE = "Pictures in other styles"
COMMON = ("protocol", "dataset", "fingerprint", "resolution", "prompts", "source_prompt")
LONG_MINUTES = 45  # raters tire: see docs/user-study.md


def new_study(
    paths: Sequence[Path], *, out: Path, n_pairs: int | None, repeats: int, seed: int,
    title: str | None, as_json: bool,
) -> None:  # fmt: skip
    """The command: write ``form.html`` and ``key.json`` into ``out`` and say what is in them.

    Args:
        paths: finished runs, or folders of them: one protocol, dataset and prompt set.
        n_pairs: image and prompt pairs; None for 40, or all if there are fewer.
        repeats: pictures that are shown twice to screen raters: 0, or at least 2.
        title: what raters see above the form.

    Raises:
        UsageError: runs that do not belong together, the same one twice, a title that names a
            method, more pairs or repeats than there are.
        RunDirectoryError: a run is unfinished, damaged or changed; ``out`` already holds a study.
    """
    title = (title or "").strip() or DEFAULT_TITLE
    if repeats == 1:
        raise UsageError(
            "--repeats 1 screens nobody: one repeated picture says too little. Use 0 or at least 2."
        )
    for name in (FORM_FILE, KEY_FILE):
        if (out / name).exists():
            raise RunDirectoryError(
                f"{out / name} exists already: a study whose form changes cannot be scored. Choose "
                f"another folder with --out."
            )
    runs = read_entries(paths)
    _require_blind(title, runs)
    pairs = choose_pairs(runs, n_pairs, seed)
    config = runs[0].manifest.config
    key = with_study_id(
        StudyKey(
            study_id="", title=title, protocol=config.protocol, dataset=config.dataset,
            stand_in=config.stand_in, seed=seed,
            entries=tuple(
                EntryName(method=run.method, config_hash=run.manifest.config_hash) for run in runs
            ),
            items=name_items(runs, pairs, repeats, seed),
        )
    )  # fmt: skip
    form = render_form(key, [RunDirectory(run.path) for run in runs]).encode()
    key = key.model_copy(update={"form_sha256": hashlib.sha256(form).hexdigest()})
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / FORM_FILE, form)
    write_atomically(out / KEY_FILE, (key.model_dump_json(indent=1) + "\n").encode())
    _report(key, out, len(pairs), len(form), as_json)


def read_entries(paths: Sequence[Path]) -> list[CollectedRun]:
    """Runs that can be shown side by side, sorted by method and config.

    Raises:
        UsageError: they differ in protocol, dataset or prompts, or one is given twice.
        RunDirectoryError: one is unfinished, damaged, or has images that were changed.
    """
    runs = sorted(collect(paths), key=lambda run: (run.method, run.manifest.config_hash))
    seen: dict[tuple[str, str], Path] = {}
    for run in runs:
        if run.state != "complete":
            raise RunDirectoryError(
                f"{run.path} is not complete: {'; '.join(run.notes)}. Finish it by running its "
                f"command again: a study needs runs over the same pictures."
            )
        for what in (
            "protocol",
            "dataset",
            "fingerprint",
            "resolution",
            "prompts",
            "source_prompt",
        ):
            ours, theirs = (getattr(r.manifest.config, what) for r in (runs[0], run))
            if ours != theirs:
                raise UsageError(
                    f"{runs[0].path} and {run.path} differ in their {_words(what)}: "
                    f"{_shown(ours)} and {_shown(theirs)}. One study compares methods over the "
                    f"same images and prompts."
                )
        name = (run.method, run.manifest.config_hash)
        if name in seen:
            raise UsageError(f"{seen[name]} and {run.path} are the same run: give one of them")
        seen[name] = run.path
    return runs


def _words(field: str) -> str:
    return {"fingerprint": "source images", "source_prompt": "source prompt"}.get(field, field)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(prompt.id for prompt in value)
    return str(value)


def _require_blind(title: str, runs: Sequence[CollectedRun]) -> None:
    for run in runs:
        for secret in (run.method, run.manifest.config_hash):
            if re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", title, re.IGNORECASE):
                raise UsageError(
                    f"--title names {secret!r}, and raters must not know the methods. Choose "
                    f"another title."
                )


def _report(key: StudyKey, out: Path, n_pairs: int, n_bytes: int, as_json: bool) -> None:
    repeats = len(key.items) - len(key.originals())
    minutes = minutes_needed(len(key.items))
    if as_json:
        found = {
            "study_id": key.study_id, "form": str(out / FORM_FILE), "key": str(out / KEY_FILE),
            "form_bytes": n_bytes, "entries": [entry.model_dump() for entry in key.entries],
            "pairs": n_pairs, "repeats": repeats, "items": len(key.items), "minutes": minutes,
        }  # fmt: skip
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        images = {item.image_id for item in key.items.values()}
        prompts = {item.prompt_id for item in key.items.values()}
        lines = [
            f"study     {key.study_id}",
            f"methods   {', '.join(key.label(entry) for entry in key.entries)}",
            f"pairs     {n_pairs} of {len(images)} images and {len(prompts)} prompts",
            f"pictures  {len(key.items)} per rater, {repeats} of them shown a second time",
            f"time      about {minutes} minutes per rater",
            f"form      {out / FORM_FILE} ({n_bytes / 2**20:.1f} MiB): give this to raters",
            f"key       {out / KEY_FILE}: keep this to yourself",
        ]
        sys.stdout.write("\n".join(lines) + "\n")
    if len(key.entries) == 1:
        log.warning("one method alone is rated: the study will have means, but no comparison")
    if repeats == 0:
        log.warning("without repeated pictures (--repeats) inattentive raters cannot be told")
    if minutes > LONG_MINUTES:
        log.warning("%d minutes tire raters; use fewer --images or fewer methods", minutes)
