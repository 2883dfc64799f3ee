"""Runs freezing jobs against a local hub, each in a fork of one process that has imported it all.

``huggingface_hub`` and ``datasets`` read ``HF_ENDPOINT`` when they are imported, so the jobs need a
process that was started with it. Jobs come as JSON lines; results go out as JSON lines.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

# what datasets imports when it is used: once, before the forks
import aiohttp  # noqa: F401
import datasets  # noqa: F401
import scipy.io  # noqa: F401

from benchmark.errors import BenchError
from data.cards import FixedRows, HubLocation, KeyedRows
from data.freeze import freeze
from data.hub import HubSource
from data.hub_retry import Retry
from data.sources import Entry, Stream


class Dying(HubSource):
    """Ends its process without a word after so many images."""

    left = 0

    def stream(self, entries: list[Entry]) -> Stream:  # type: ignore[override]
        for item in super().stream(entries):
            if self.left == 0:
                os._exit(9)
            self.left -= 1
            yield item


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("data."):
            self.lines.append(record.getMessage())


def do(job: dict[str, Any]) -> dict[str, Any]:
    if job.get("token"):
        os.environ["HF_TOKEN"] = job["token"]
    samples = job["samples"]
    kind = FixedRows if "rows" in samples else KeyedRows
    source = Dying(
        HubLocation(**job["location"]), kind(**samples), job.get("mirrors", ()),
        Retry(**{"attempts": 3, "first_wait": 0.01, "timeout": 20.0, **job.get("retry", {})}),
    )  # fmt: skip
    source.left = job.get("die_after", -1)
    handler = Lines()
    logging.getLogger().addHandler(handler)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result: dict[str, Any] = {}
    try:
        if job.get("contract"):
            return contract(source)
        frozen = freeze(
            source, size=job.get("size", 8), resize_filter="box", limit=job.get("limit"),
            on_bad_image=job.get("on_bad_image", "fail"), cache_dir=Path(job["cache"]),
        )  # fmt: skip
        result = {
            "ids": [image.image_id for image in frozen.images],
            "pixels": [image.pixel_sha256 for image in frozen.images],
            "originals": [image.file_sha256 for image in frozen.images],
            "skipped": list(frozen.skipped), "fingerprint": frozen.fingerprint,
            "origin": frozen.origin, "path": str(frozen.path),
        }  # fmt: skip
    except BenchError as error:
        result = {"error": str(error), "type": type(error).__name__}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {**result, "log": handler.lines, "grown_mib": (peak - before) / 1024}


def contract(source: HubSource) -> dict[str, Any]:
    """What every source promises, from listing to decoding."""
    entries = list(source.entries())
    streamed = dict(source.stream(entries))
    left, whole = source.stream(entries), source.stream(entries)
    same_start = next(left) == next(whole)
    left.close()
    return {
        "some": dict(source.stream(entries[1::2]))
        == {entry: streamed[entry] for entry in entries[1::2]},
        "left_early": same_start and [entry for entry, _ in whole] == entries[1:],
        "facts": json.loads(json.dumps(source.identity())) == source.identity()
        and source.describe()["name"] == source.name,
        "ids": [entry.id for entry in entries],
        "again": [entry.id for entry in source.entries()],
        "streamed": [entry.id for entry in streamed],
        "equal": all(source.read(entry) == data for entry, data in streamed.items()),
        "modes": [source.decode(entry, source.read(entry)).mode for entry in entries],
    }


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                text = json.dumps(do(job))
            except BaseException as error:
                text = json.dumps({"crash": repr(error)})
            Path(job["result"]).write_text(text)
            os._exit(0)
        if job.get("wait", True):
            os.waitpid(child, 0)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
