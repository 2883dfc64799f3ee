"""What ``bench weights`` prints: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from benchmark import DEFAULT_PROTOCOL, registry
from benchmark.config import load_protocol
from benchmark.errors import BenchError, UsageError, WeightsError
from benchmark.scoring import metric_classes
from benchmark.zoo.add import add_file
from benchmark.zoo.checkpoint_file import default_weights_dir
from benchmark.zoo.download import partial_path
from benchmark.zoo.download_progress import TerminalWatcher
from benchmark.zoo.fetch import fetch
from benchmark.zoo.models import build, can_load, file_status
from benchmark.zoo.registry import ModelCard, model_card, model_ids
from benchmark.zoo.weights_folder import Obtained
from benchmark.zoo.weights_lock import LOCK_FILE, known_bytes, recorded

NO_LOADER = "this version has no loader for it"
UNKNOWN = "not known"


def print_list(weights_dir: Path | None, as_json: bool) -> None:
    """Every registered checkpoint: size, where its hash comes from, what is there of it."""
    folder = weights_dir or default_weights_dir()
    rows = [_state(model_card(name), folder) for name in model_ids()]
    if as_json:
        _print_json(rows)
        return
    table = Table("id", "kind", "size", "hash", "state")
    for row in rows:
        state = row["state"] if row["loader"] else f"{row['state']} (no loader)"
        table.add_row(row["id"], row["kind"], _size(row["bytes"]), row["hash"], state)
    Console().print(table)
    sys.stdout.write(f"weights folder  {folder}\n")


def chosen_models(ids: Sequence[str], protocol: str | None, method: str | None) -> list[str]:
    """Ids of the checkpoints that a command means, in order, each once.

    Args:
        ids: named one by one.
        protocol: all that it names, for whatever dataset; with ``method``, those that a run of the
            method needs.
        method: its roles and those of the protocol's metrics, in ``protocol`` or the default one.

    Raises:
        UsageError: nothing is named, or an unknown model, protocol or method.
    """
    found = [model_card(name).id for name in ids]
    if protocol is not None or method is not None:
        plan = load_protocol(protocol or DEFAULT_PROTOCOL)
        places = (plan.models, *plan.dataset_models.values())
        roles: Iterable[str] = dict.fromkeys(role for models in places for role in models)
        if method is not None:
            needed = set(registry.load(registry.METHODS, method).card.roles)
            metrics = plan.metrics_of(shown=True)
            needed |= {role for cls in metric_classes(metrics) for role in cls.encoders}
            roles = [role for role in roles if role in needed]
        found += [model for role in roles for model in plan.models_of(role)]
    if not found:
        raise UsageError(
            "name models (see bench weights list), or --protocol P, or --method M for what a run "
            "of it needs"
        )
    return list(dict.fromkeys(found))


def fetch_models(ids: Sequence[str], weights_dir: Path | None, dry_run: bool, as_json: bool) -> int:
    """Fetch what does not ship; the exit code (1 if a model could not be had)."""
    folder = weights_dir or default_weights_dir()
    cards = [model_card(name) for name in ids]
    wanted = [card for card in cards if not card.ships]
    shipped = [card.id for card in cards if card.ships]
    if shipped and not as_json:
        sys.stdout.write(f"part of the package: {', '.join(shipped)}\n")
    if dry_run:
        _print_plan(wanted, folder, as_json)
        return 0
    done: list[Obtained] = []
    problems: dict[str, str] = {}
    with TerminalWatcher() as watcher:
        for card in wanted:
            if not can_load(card):
                watcher.tell(f"{card.id}: {NO_LOADER}")
            try:
                done.append(fetch(card, folder, watcher))
            except BenchError as error:
                problems[card.id] = str(error)
    if as_json:
        _print_json([asdict(item) for item in done] + [
            {"id": name, "status": "failed", "problem": text} for name, text in problems.items()
        ])  # fmt: skip
    else:
        for item in done:
            _print_obtained(item)
    for text in problems.values():
        sys.stderr.write(f"error: {text}\n")
    return 1 if problems else 0


def verify_models(
    ids: Sequence[str], weights_dir: Path | None, load: bool, as_json: bool
) -> int:  # fmt: skip
    """Hash (and load) what is there; the exit code (1 if something is damaged or was asked for
    and is not there)."""
    folder = weights_dir or default_weights_dir()
    cards = [model_card(name) for name in (ids or model_ids())]
    if not ids:
        cards = [card for card in cards if card.path(folder).is_file()]
    rows = [_verified(card, card.path(folder), load) for card in cards]
    if as_json:
        _print_json(rows)
    else:
        table = Table("id", "status", "path")
        for row in rows:
            table.add_row(row["id"], row["status"], row["path"])
        Console().print(table)
    for row in rows:
        if row["problem"]:
            sys.stderr.write(f"{row['id']}: {row['problem']}\n")
    return 1 if any(row["status"] in ("damaged", "not present") for row in rows) else 0


def print_path(model_id: str, weights_dir: Path | None) -> None:
    """Where a checkpoint belongs, whether it is there or not."""
    sys.stdout.write(f"{model_card(model_id).path(weights_dir or default_weights_dir())}\n")


def add_model(
    model_id: str, source: Path, weights_dir: Path | None, move: bool, replace: bool
) -> None:  # fmt: skip
    """Take a user's file after it was verified."""
    folder = weights_dir or default_weights_dir()
    with TerminalWatcher() as watcher:
        done = add_file(model_card(model_id), source, folder, watcher, move=move, replace=replace)
    _print_obtained(done)


def _state(card: ModelCard, folder: Path) -> dict[str, Any]:
    """A row of the list; nothing is hashed, so that it is quick."""
    path = card.path(folder)
    size = known_bytes(card, folder)
    present = path.stat().st_size if path.is_file() else None
    unfinished = partial_path(path)
    if present is not None and size is not None and present != size:
        state = f"damaged ({present:,} bytes)"
    elif present is not None:
        state = "ships" if card.ships else "present"
    elif unfinished.is_file():
        state = f"unfinished ({decimal(unfinished.stat().st_size)})"
    else:
        state = "not present"
    return {
        "id": card.id,
        "kind": card.kind,
        "bytes": present if card.ships else size,
        "hash": _hash_known_from(card, folder),
        "state": state,
        "loader": can_load(card),
        "licence": card.licence,
        "paper": card.paper,
        "path": str(path),
        "urls": [str(url) for url in card.urls],
    }


def _hash_known_from(card: ModelCard, folder: Path) -> str:
    if card.sha256 is not None:
        return "registry"
    return UNKNOWN if recorded(card, folder) is None else "lock file"


def _print_plan(cards: Sequence[ModelCard], folder: Path, as_json: bool) -> None:
    rows = []
    for card in cards:
        row = _state(card, folder)
        unfinished = partial_path(Path(row["path"]))
        there = unfinished.stat().st_size if unfinished.is_file() else 0
        missing = row["state"] != "present"
        row["to_fetch"] = (max(0, row["bytes"] - there) if row["bytes"] else None) if missing else 0
        rows.append(row)
    total = sum(row["to_fetch"] or 0 for row in rows)
    unknown = sum(row["to_fetch"] is None for row in rows)
    if as_json:
        _print_json({"models": rows, "bytes": total, "of_unknown_size": unknown})
        return
    table = Table("id", "to fetch", "state", "licence")
    table.add_column("from", overflow="fold")  # whole, so that it can be copied
    for row in rows:
        table.add_row(
            row["id"], _size(row["to_fetch"]), row["state"], row["licence"], "\n".join(row["urls"])
        )
    Console().print(table)
    more = f" and {unknown} of unknown size" if unknown else ""
    sys.stdout.write(f"total  {decimal(total)} ({total:,} bytes){more}, into {folder}\n")


def _verified(card: ModelCard, path: Path, load: bool) -> dict[str, Any]:
    status, problem = "not present", None
    try:
        status = file_status(card, path)
        if load and can_load(card):
            build(card, path)
            status += ", loads"
        elif load:
            problem = NO_LOADER
    except WeightsError as error:
        problem = str(error)
        status = "damaged" if path.is_file() else status
    return {"id": card.id, "status": status, "path": str(path), "problem": problem}


def _print_obtained(item: Obtained) -> None:
    sys.stdout.write(f"{item.id}  {item.status}  {item.path}\n")
    if item.recorded_now:
        sys.stdout.write(
            f"  no hash of it is published: SHA-256 {item.sha256} was recorded in "
            f"{LOCK_FILE}, and another file will be refused from now on\n"
        )
    elif _hash_known_from(model_card(item.id), item.path.parent) == UNKNOWN:
        sys.stdout.write("  no hash of it is known; bench weights add records one\n")


def _size(count: int | None) -> str:
    return "unknown" if count is None else decimal(count)


def _print_json(value: object) -> None:
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")
