"""Training photographs as a folder of PNG, for sweeps whose result may become a default.

``python -m reports.tuning.photos --corpus CORPUS --domain dogs --count 4 --out DIR``. The
benchmark's own images are never searched over: a default that was tuned on them would be scored on
what it was tuned on.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from benchmark.script import script


def write_photos(corpus: Path, domain: str, count: int, out: Path) -> list[Path]:
    """The first ``count`` pictures of a domain's training split, at the corpus's size.

    Raises:
        FileNotFoundError: the corpus has no such domain.
        FileExistsError: ``out`` holds files already, which a run would take for its images.
    """
    path = corpus / f"{domain}-train.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path.name} in {corpus}")
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: name another folder")
    rows = pq.read_table(path).slice(0, count).to_pylist()
    written = []
    for number, row in enumerate(rows):
        written.append(out / f"{domain}-{number:03d}.png")
        Image.open(io.BytesIO(row["image"])).convert("RGB").save(written[-1])
    return written


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.tuning.photos", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--domain", default="dogs", help="faces, dogs, bedrooms, objects, ...")
    parser.add_argument("--count", type=int, default=4, help="photographs")
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    given = parser.parse_args()
    written = write_photos(given.corpus, given.domain, given.count, given.out)
    sys.stdout.write(f"{len(written)} photographs in {given.out}\n")


if __name__ == "__main__":
    sys.exit(main())
