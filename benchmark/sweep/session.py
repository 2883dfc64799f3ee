"""What the runs of one process share: the models, and what is computed from a content image."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmark import launch
from benchmark.config import ResolvedRun
from benchmark.errors import BenchError
from benchmark.finish import RunResult
from benchmark.launch import InterruptedRunError, RunOptions
from benchmark.source_cache import SWEEP_BYTES, SourceCache
from benchmark.zoo import ModelZoo

log = logging.getLogger(__name__)

Status = Literal["complete", "partial", "failed", "interrupted"]


@dataclass(frozen=True)
class Attempt:
    """How a run ended.

    Attributes:
        reason: why it is not complete.
        seconds: of the whole run, scoring included.
        computed, found: counts of the shared cache during the run, by kind.
    """

    status: Status
    reason: str | None
    seconds: float
    computed: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)


class Session:
    """Runs one after the other with shared models and a shared cache.

    Args:
        cache_bytes: of the cache of inversions and features.
    """

    def __init__(self, cache_bytes: int = SWEEP_BYTES) -> None:
        self.cache = SourceCache(cache_bytes)
        self._zoos: dict[Path | None, ModelZoo] = {}

    def resolve(self, options: RunOptions) -> tuple[ResolvedRun, tuple[str, ...], int]:
        """The resolved run, its sample ids and its batch size; nothing is written."""
        plan = launch.resolve(options, self._zoo)
        samples = tuple(request.sample_id for request in plan.data_module().samples)
        return plan.resolved, samples, plan.batch_size

    def run(self, options: RunOptions) -> RunResult:
        """As ``bench run``.

        Raises:
            BenchError: with a remedy; nothing finished is lost.
        """
        # half precision converts the models themselves, which others would then find
        shares = options.precision.startswith("32") or options.precision.endswith("-mixed")
        with self.cache.shared():
            result = launch.run(options, self._zoo if shares else ModelZoo)
        assert result is not None, "a sweep is started without a launcher of processes"
        return result

    def attempt(self, options: RunOptions) -> Attempt:
        """A run whose failure is a result; what is no :class:`BenchError` is logged in full."""
        start = time.perf_counter()
        computed, found = self.cache.computed.copy(), self.cache.found.copy()

        def ended(status: Status, reason: str | None = None) -> Attempt:
            return Attempt(
                status, reason, time.perf_counter() - start,
                dict(self.cache.computed - computed), dict(self.cache.found - found),
            )  # fmt: skip

        try:
            result = self.run(options)
        except (InterruptedRunError, KeyboardInterrupt) as stop:
            return ended("interrupted", str(stop) or None)
        except BenchError as error:
            return ended("failed", str(error))
        except Exception as error:  # whatever a method raises fails its run, not the whole sweep
            log.exception("%s on %s", options.method, options.dataset)
            return ended("failed", f"{type(error).__name__}: {error}")
        if result.status == "complete":
            return ended("complete")
        return ended("partial", "samples are missing")

    def zoo_of(self, options: RunOptions) -> ModelZoo:
        """The models of a run, for what is drawn of them beside it."""
        return launch.resolve(options, self._zoo).zoo

    def _zoo(self, roles: Mapping[str, str], weights_dir: Path | None) -> ModelZoo:
        """A zoo of its own roles over the models that are loaded already."""
        first = self._zoos.setdefault(weights_dir, ModelZoo(roles, weights_dir))
        zoo = first.with_roles(roles)
        # the run before may have left some on a device, or taken them off it
        zoo.to(zoo.device)
        return zoo
