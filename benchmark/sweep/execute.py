"""Goes through the runs of a sweep, in this process or in one process for each device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from benchmark.launch import InterruptedRunError
from benchmark.sweep.folder import SweepFolder
from benchmark.sweep.plan import Plan, PlannedRun, Shard
from benchmark.sweep.session import Attempt, Session
from benchmark.sweep.workers import in_processes

OnStart = Callable[[int, int, PlannedRun], None]


@dataclass(frozen=True)
class Failure:
    """A run that did not come to its end."""

    run: PlannedRun
    reason: str


@dataclass(frozen=True)
class SweepOutcome:
    """What came of a sweep, or of a shard of it.

    Attributes:
        complete: runs that are made and scored, the earlier ones included.
        earlier: those that were finished before.
        failures: what failed, with its reason.
        left: runs that were not tried, because another had failed.
        computed, found: counts of the shared caches, by kind.
    """

    complete: tuple[PlannedRun, ...]
    earlier: tuple[PlannedRun, ...]
    failures: tuple[Failure, ...]
    left: tuple[PlannedRun, ...]
    computed: dict[str, int]
    found: dict[str, int]


def execute(
    plan: Plan, folder: SweepFolder, session: Session, *, file_sha256: str,
    shard: Shard | None = None, keep_going: bool = False, devices: Sequence[str] = (),
    on_start: OnStart = lambda number, total, run: None,
) -> SweepOutcome:  # fmt: skip
    """Make the runs that are not finished.

    Args:
        devices: a process for each, as ``--devices`` of ``bench run``; empty: in this process.
        keep_going: a failed run does not stop the others.
        on_start: called with (number, of how many, run) as each begins.

    Raises:
        InterruptedRunError: the user stopped it; the same command continues.
        RunDirectoryError: another process works on it, or the folder holds another sweep.
    """
    share = (shard or Shard()).of([run.config_hash for run in plan.runs])
    mine = [run for run in plan.runs if run.config_hash in share]
    folder.require_same(plan, file_sha256)
    with folder.lock(shard or Shard()):
        folder.open(plan, file_sha256)
        earlier = [run for run in mine if run.is_complete()]
        for run in earlier:
            folder.record(run.config_hash, "complete")
        done = {run.config_hash for run in earlier}
        pending = [run for run in mine if run.config_hash not in done]
        begun: set[str] = set()
        ended: dict[str, Attempt] = {}

        def began(run: PlannedRun) -> None:
            begun.add(run.config_hash)
            folder.record(run.config_hash, "running")
            on_start(len(begun), len(pending), run)

        attempts = (
            in_processes(pending, devices, session.cache.max_bytes, folder.path / "logs", began)
            if devices
            else _here(pending, session, began)
        )
        stopped = False
        try:
            for run, attempt in attempts:
                ended[run.config_hash] = attempt
                folder.record(run.config_hash, attempt.status, attempt.reason, attempt.seconds)
                stopped = attempt.status == "interrupted"
                if stopped or (attempt.status != "complete" and not keep_going):
                    break
        except KeyboardInterrupt:
            stopped = True
        finally:
            attempts.close()
            for config_hash in begun - ended.keys():
                folder.record(config_hash, "interrupted")
        if stopped:
            complete = sum(attempt.status == "complete" for attempt in ended.values())
            raise InterruptedRunError(
                f"stopped with {len(earlier) + complete} of {len(mine)} runs finished. Run the "
                f"same command again to continue."
            )
    return _outcome(mine, earlier, ended)


def _here(
    pending: Sequence[PlannedRun], session: Session, began: Callable[[PlannedRun], None]
) -> Generator[tuple[PlannedRun, Attempt]]:
    for run in pending:
        began(run)
        yield run, session.attempt(run.options)


def _outcome(
    mine: Sequence[PlannedRun], earlier: Sequence[PlannedRun], ended: dict[str, Attempt]
) -> SweepOutcome:
    computed: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for attempt in ended.values():
        computed.update(attempt.computed)
        found.update(attempt.found)
    before = {run.config_hash for run in earlier}

    def complete(run: PlannedRun) -> bool:
        attempt = ended.get(run.config_hash)
        return run.config_hash in before or (attempt is not None and attempt.status == "complete")

    return SweepOutcome(
        complete=tuple(run for run in mine if complete(run)),
        earlier=tuple(earlier),
        failures=tuple(
            Failure(run, ended[run.config_hash].reason or "no reason was given")
            for run in mine
            if run.config_hash in ended and not complete(run)
        ),
        left=tuple(run for run in mine if run.config_hash not in before | ended.keys()),
        computed=dict(computed),
        found=dict(found),
    )
