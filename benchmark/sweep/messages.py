"""What a sweep and its worker processes say to each other: one JSON document a line."""

from __future__ import annotations

from pydantic import TypeAdapter

from benchmark.launch import RunOptions
from benchmark.sweep.session import Attempt

OPTIONS: TypeAdapter[RunOptions] = TypeAdapter(RunOptions)
ATTEMPT: TypeAdapter[Attempt] = TypeAdapter(Attempt)
CACHE_VARIABLE = "STYLEBENCH_SWEEP_CACHE_BYTES"
