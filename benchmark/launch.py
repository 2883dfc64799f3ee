"""``bench run`` and ``bench score``: resolve, predict, score, derive."""

from __future__ import annotations

import logging
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from benchmark import registry
from benchmark.config import (
    PromptSpec, Protocol, ResolvedRun, load_protocol, method_config,
)  # fmt: skip
from benchmark.environment import (
    command_line, git_revision, hardware, is_rank_zero, package_versions,
)  # fmt: skip
from benchmark.errors import BenchError, UsageError
from benchmark.interface import Guidance, StyleTransferMethod
from benchmark.run import Existing, Manifest, RunDirectory

log = logging.getLogger(__name__)


class Interrupted(BenchError):
    """The user stopped the run."""

    exit_code = 130


@dataclass(frozen=True)
class RunOptions:
    """The command line of ``bench run``."""

    method: str
    dataset: str
    protocol: str
    prompts: str | None
    prompt: str | None
    source_prompt: str | None
    images: Path | None
    limit: int | None
    on_bad_image: Literal["fail", "skip"]
    seed: int
    config: Path | None
    assignments: tuple[str, ...]
    weights_dir: Path | None
    out: Path
    existing: Existing
    accelerator: str
    devices: str
    strategy: str
    num_nodes: int
    precision: str
    batch_size: int | None


@dataclass(frozen=True)
class RunResult:
    """What a finished or re-scored run has to show."""

    directory: Path
    method: str
    dataset: str
    protocol: str
    config_hash: str
    status: str
    summary: dict[str, Any]
    contact_sheet: Path | None
    stand_in_note: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "run_directory": str(self.directory),
            "method": self.method,
            "dataset": self.dataset,
            "protocol": self.protocol,
            "config_hash": self.config_hash,
            "status": self.status,
            "stand_in_note": self.stand_in_note,
            "contact_sheet": str(self.contact_sheet) if self.contact_sheet else None,
            "summary": self.summary,
        }


@dataclass(frozen=True)
class _Plan:
    """A run, resolved down to its samples and models."""

    options: RunOptions
    protocol: Protocol
    method: StyleTransferMethod
    zoo: Any
    dataset: Any
    frozen: Any
    prompts: tuple[PromptSpec, ...]
    resolved: ResolvedRun
    batch_size: int


def run(options: RunOptions) -> RunResult | None:
    """Resolve, predict, score, derive.

    Returns:
        The result on the first rank, None on the others.

    Raises:
        BenchError: with a remedy; nothing finished is lost.
    """
    _quiet_libraries()
    plan = _resolve(options)
    directory = RunDirectory(plan.resolved.directory(options.out))
    module = plan.dataset.data_module(
        plan.frozen, [(p.id, p.text) for p in plan.prompts],
        source_prompt=plan.resolved.source_prompt, batch_size=plan.batch_size,
    )  # fmt: skip
    if not is_rank_zero():
        _predict(plan, directory, module)
        return None
    with directory.lock():
        manifest = _manifest(plan, module)
        directory.open(manifest, options.existing)
        directory.remove_staging()
        _store_sources(directory, module)
        started = time.perf_counter()
        try:
            _predict(plan, directory, module)
        except BaseException:
            _mark(directory, manifest, "partial")
            raise
        manifest.timings["predict_wall_s"] = time.perf_counter() - started
        return _finish(directory, manifest, plan.protocol, plan.zoo, plan.prompts)
