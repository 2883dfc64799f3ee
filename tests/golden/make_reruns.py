"""Scores of real runs under several seeds: ``python -m tests.golden.make_reruns RUN...``.

The runs are those of ``bench run --method M --dataset D --seed S --out DIR`` for several seeds S,
otherwise alike; a method without a run keeps what is stored. ``reruns.json`` holds, by method, each
judged metric as [seed][sample], rounded to 1e-6; ``tests/regression/test_other_seeds.py`` resamples
it. ``rerun-outputs.parquet`` holds the pictures of the first seed, in which
``tests/e2e/test_planted_losses.py`` plants losses.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.config import load_protocol
from benchmark.regression.record import Record, record_of
from benchmark.run import RunDirectory

STORED = Path(__file__).with_name("reruns.json")
OUTPUTS = Path(__file__).with_name("rerun-outputs.parquet")
REPLAYED = ("ours", "clipstyler-fast")


def main(paths: list[Path]) -> None:
    records: dict[str, list[Record]] = {}
    outputs: list[dict[str, Any]] = []
    for path in paths:
        record = record_of(path)
        config = record.facts.manifest.config
        if config.method in REPLAYED and config.seed == 0:
            outputs += [
                {"method": config.method, "sample_id": name,
                 "png": RunDirectory(path).image_path(name).read_bytes()}
                for name in record.sample_ids
            ]  # fmt: skip
        records.setdefault(record.facts.manifest.config.method, []).append(record)
    kept = [row for row in pq.read_table(OUTPUTS).to_pylist() if row["method"] not in records]
    outputs = sorted(kept + outputs, key=lambda row: (row["method"], row["sample_id"]))
    pq.write_table(pa.Table.from_pylist(outputs), OUTPUTS, use_dictionary=["method"])
    stored: dict[str, Any] = json.loads(STORED.read_text(encoding="utf-8"))
    for method, found in sorted(records.items()):
        found.sort(key=lambda record: record.facts.manifest.config.seed)
        config = found[0].facts.manifest.config
        assert all(one.sample_ids == found[0].sample_ids for one in found)
        stored[method] = {
            "dataset": config.dataset,
            "seeds": [one.facts.manifest.config.seed for one in found],
            "image_ids": found[0].image_ids,
            "values": {
                name: [[round(float(value), 6) for value in one.values[name]] for one in found]
                for name in load_protocol(config.protocol).margins
                if name in found[0].values
                and all(np.isfinite(one.values[name]).all() for one in found)
            },
        }
    STORED.write_text(json.dumps(dict(sorted(stored.items()))) + "\n")
    sys.stdout.write(f"{STORED.name}: {', '.join(stored)}\n")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
