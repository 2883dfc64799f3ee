"""Runs the built-in methods and freezes them: ``python -m reports.reference.make``.

Eight images in one style, and not four in two: the images decide how much a check can tell. The
faces of CelebA-HQ, so that identity is judged and the methods that know faces only can take part.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark import DEFAULT_PROTOCOL, launch, registry
from benchmark.errors import BenchError
from benchmark.interface import Guidance
from benchmark.regression.freeze import freeze
from benchmark.targets import TargetOptions
from reports.check.command import shipped_references

TARGETS = {
    Guidance.TEXT: TargetOptions(prompts="golden"),
    Guidance.IMAGE: TargetOptions(style_dataset="wikiart", style_limit=1),
    Guidance.MIXTURE: TargetOptions(mixes=("golden=0.5,red-bricks=0.5",)),
}


def target_of(method: str) -> TargetOptions:
    """Prompts where they guide the method, else a style image, else a mixture."""
    guidance = registry.load(registry.METHODS, method).guidance
    return next(options for kind, options in TARGETS.items() if kind in guidance)


def options_of(method: str, dataset: str, limit: int, out: Path) -> launch.RunOptions:
    """The run whose scores are frozen."""
    return launch.RunOptions(
        method=method, dataset=dataset, protocol=DEFAULT_PROTOCOL, target=target_of(method),
        source_prompt=None, guide=None, images=None, limit=limit, on_bad_image="fail", seed=0,
        config=None, assignments=(), weights_dir=None, out=out, existing="resume",
        accelerator="cpu", devices="1", strategy="auto", num_nodes=1, precision="32-true",
        batch_size=None,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reports.reference.make", description=__doc__)
    parser.add_argument("methods", nargs="*", help="default: all that are installed")
    parser.add_argument("--dataset", default="celebahq")
    parser.add_argument("--limit", type=int, default=8)
    parser.add_argument("--out", type=Path, help="keep the runs there; they are resumed")
    parser.add_argument("--reference", type=Path, default=shipped_references())
    chosen = parser.parse_args()
    methods = chosen.methods or registry.names(registry.METHODS)
    with TemporaryDirectory(prefix="bench-reference-") as scratch:
        for method in methods:
            try:
                result = launch.run(
                    options_of(method, chosen.dataset, chosen.limit, chosen.out or Path(scratch))
                )
                if result is not None:
                    frozen = freeze(result.directory, chosen.reference, force=True)
                    sys.stdout.write(f"{frozen.path}  {frozen.n_bytes / 1024:.1f} KiB\n")
                    sys.stdout.flush()
            except BenchError as error:
                sys.stderr.write(f"error: {method}: {error}\n")
                return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
