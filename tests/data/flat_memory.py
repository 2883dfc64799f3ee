"""Peak memory of freezing, predicting and scoring N samples from a local hub server.

``python -m tests.data.flat_memory 1000 10000 50000`` prints a table; the numbers in
``docs/scale.md`` come from it. Every N is measured in a process of its own (``identity`` on
``mini-64-v1``, one prompt, the metrics ``psnr`` and ``ssim``); the server is another one. The
pictures are noise, which PNG does not compress: 12 KiB each at 64x64.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SIDE = 64
PICTURE = SIDE * SIDE * 3  # bytes of a picture's pixels
SHARD = 1000  # rows
NAME = "owner/many"


def shards(count: int) -> dict[str, bytes]:
    """Parquet files as ``datasets`` writes them: noise, another picture in every row."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    facts = {"info": {"features": {"image": {"_type": "Image"}}}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image)], metadata={"huggingface": json.dumps(facts)})
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    files = {}
    starts = range(0, count, SHARD)
    for number, start in enumerate(starts):
        rows = []
        for index in range(start, min(start + SHARD, count)):
            pixels = np.roll(noise, index, axis=0) ^ np.uint8(index // SIDE % 256)
            pixels[0, 0] = [index % 256, index // 256 % 256, index // 65536]
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
            rows.append({"image": {"bytes": buffer.getvalue(), "path": None}})
        out = io.BytesIO()
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, out, row_group_size=100, use_dictionary=False)
        files[f"data/train-{number:05d}-of-{len(starts):05d}.parquet"] = out.getvalue()
    return files


def serve_until_closed(count: int) -> None:
    """Serve the pictures, say where on stdout, and stop when stdin closes."""
    from tests.data.hub_server import Repository, serve

    with serve({NAME: Repository(shards(count))}) as hub:
        sys.stdout.write(f"{hub.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


def measure(count: int, folder: Path, trace: bool) -> dict[str, Any]:
    """Freeze, then run: peaks in bytes and seconds of both.

    Args:
        count: the first so many pictures of the hub.
        trace: count what Python allocates, which is exact but slow, in place of the process's
            resident memory.
    """
    from dataclasses import replace

    import data.datasets as datasets
    from benchmark import launch
    from benchmark.config import load_protocol
    from benchmark.meter import metered
    from benchmark.targets import TargetOptions
    from data.cards import HubFacts, KeyedRows
    from tests.data.hub_server import COMMIT

    facts = HubFacts(
        id=NAME, revision=COMMIT, split="train", image_column="image", gated=False,
        samples={"paper": KeyedRows(first=count, of=count, key="scale")},
    )  # fmt: skip
    card = datasets.afhq.card.model_copy(update={"hub": facts})
    datasets.afhq = replace(datasets.afhq, card=card)
    metrics = ("psnr",) if trace else ("psnr", "ssim")
    few = load_protocol("mini-64-v1").model_copy(update={"metrics": metrics})
    launch.load_protocol = lambda name: few  # type: ignore[assignment]
    options = launch.RunOptions(
        method="identity", dataset="afhq", protocol="mini-64-v1",
        target=TargetOptions(prompts="golden"), source_prompt=None, guide=None, images=None,
        limit=None, on_bad_image="fail", seed=0, config=None, assignments=(), weights_dir=None,
        out=folder, existing="fail", accelerator="cpu", devices="1", strategy="auto", num_nodes=1,
        precision="32-true", batch_size=None, source="hub",
    )  # fmt: skip
    import torch

    found: dict[str, Any] = {"samples": count}

    def freeze() -> None:
        launch.resolve(options)

    def run() -> None:
        launch.run(options)

    for name, work in (("freeze", freeze), ("run", run)):
        if trace:
            import tracemalloc

            tracemalloc.start()
            work()
            found[name] = {"bytes": tracemalloc.get_traced_memory()[1]}
            tracemalloc.stop()
            continue
        with metered(torch.device("cpu")) as reading:
            work()
        found[name] = {
            "bytes": round(reading.peak_memory_mib * 2**20), "seconds": round(reading.seconds, 1)
        }  # fmt: skip
    return found


@contextmanager
def hub_of(count: int) -> Iterator[str]:
    """The address of a server process that has so many pictures."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.data.flat_memory", "serve", str(count)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(30)


def measured(*counts: int, trace: bool = False) -> list[dict[str, Any]]:
    """What :func:`measure` finds for each count, in one fresh process with a hub of its own."""
    with tempfile.TemporaryDirectory() as name, hub_of(max(counts)) as url:
        folder = Path(name)
        env = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"} | {
            "HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "NO_PROXY": "127.0.0.1",
            "STYLEBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1",
            # resident memory then follows what is in use
            "MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "1048576",
        }  # fmt: skip
        words = ["trace" if trace else "measure", name, *map(str, counts)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.data.flat_memory", *words], cwd=ROOT, env=env,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
        return found


def main() -> None:
    words = sys.argv[1:]
    if words[0] == "serve":
        serve_until_closed(int(words[1]))
        return
    if words[0] in {"measure", "trace"}:
        runs = Path(words[1]) / "runs"
        # tracing waits until the first count has imported and loaded everything
        found = [
            measure(int(word), runs / word, words[0] == "trace" and index > 0)
            for index, word in enumerate(words[2:])
        ]
        sys.stdout.write(json.dumps(found) + "\n")
        return
    sys.stdout.write("samples   freeze MiB  seconds   run MiB  seconds\n")
    for count in map(int, words):
        started = time.monotonic()
        (row,) = measured(count)
        cells = [f"{count:>7}"]
        for name in ("freeze", "run"):
            cells += [f"{row[name]['bytes'] / 2**20:>11.0f}", f"{row[name]['seconds']:>8.1f}"]
        sys.stdout.write("  ".join(cells) + f"   ({time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
