"""Sweeps: many runs from one file, resumable, with shared models and inversions."""

from benchmark.sweep.execute import SweepOutcome, execute
from benchmark.sweep.file import SweepFile, read_sweep
from benchmark.sweep.plan import Plan, PlannedRun, Shard, plan_runs

__all__ = [
    "Plan",
    "PlannedRun",
    "Shard",
    "SweepFile",
    "SweepOutcome",
    "execute",
    "plan_runs",
    "read_sweep",
]
