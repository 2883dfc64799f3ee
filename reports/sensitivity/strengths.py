"""How strong the gradient of each loss of `ours` is: ``python -m reports.sensitivity.strengths``.

The root mean square of the gradient of each weighted loss at x0_hat, over the steps of a run with
the protocol's defaults. These are the weights with which ``loss_gradients: unit`` begins where the
defaults are (``unit.yaml``).
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from torch import Tensor

from benchmark import DEFAULT_PROTOCOL
from benchmark.launch import RunOptions, resolve
from benchmark.ours import Job, QSAttnStyleTransfer, Targets
from benchmark.ours_config import QSAttnConfig
from benchmark.predict import stylize_chunk
from benchmark.script import script
from benchmark.targets import TargetOptions


class Measured(QSAttnStyleTransfer):
    """The method as it is, which notes how strong each loss pulls at every step.

    Attributes:
        strengths: by loss, the root mean squares of its weighted gradient, one for each sample of
            each step.
    """

    def __init__(self, config: QSAttnConfig) -> None:
        super().__init__(config)
        self.strengths: defaultdict[str, list[float]] = defaultdict(list)

    def _gradient(self, x0_hat: Tensor, step: int, job: Job, targets: Targets) -> Tensor:
        usual = self._weights
        for name in [name for name, weight in usual.items() if weight]:
            self._weights = {key: value * (key == name) for key, value in usual.items()}
            alone = self.config.guidance_scale * super()._gradient(x0_hat, step, job, targets)
            rms = alone.square().flatten(1).mean(1).sqrt()
            self.strengths[name] += rms.tolist()
        self._weights = usual
        return super()._gradient(x0_hat, step, job, targets)


def strengths_on(
    images: Path, dataset: str, prompts: str, assignments: tuple[str, ...] = ()
) -> dict[str, float]:
    """By loss, the mean strength over samples and steps, on the mini protocol.

    Args:
        images: folder of photographs.
        dataset: what they show.
        prompts: ids, comma-separated.
        assignments: ``key=value`` of the method's config, in place of the defaults.

    Raises:
        BenchError: no such dataset, folder, prompt or config key.
    """
    plan = resolve(
        RunOptions(
            method="ours", dataset=dataset, protocol=DEFAULT_PROTOCOL,
            target=TargetOptions(prompts=prompts), source_prompt=None, guide=None, images=images,
            limit=None, on_bad_image="fail", seed=0, config=None,
            assignments=assignments,
            weights_dir=None, out=Path("runs"), existing="resume", accelerator="cpu", devices="1",
            strategy="auto", num_nodes=1, precision="32-true", batch_size=None,
        )
    )  # fmt: skip
    assert isinstance(plan.method, QSAttnStyleTransfer)
    method = Measured(plan.method.config)
    method.prepare(plan.zoo)
    chunks = plan.data_module()
    for number in range(chunks.chunk_count):
        stylize_chunk(method, chunks.chunk(number), 0, workers=1)
    return {name: sum(found) / len(found) for name, found in method.strengths.items()}


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.sensitivity.strengths",
        description=(__doc__ or "").split("\n\n")[0],
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--dataset", default="afhq", help="what they show")
    parser.add_argument("--prompts", default="golden,stained-glass", help="ids")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the method's config"
    )
    given = parser.parse_args()
    found = strengths_on(given.images, given.dataset, given.prompts, tuple(given.set))
    sys.stdout.writelines(f"{name:18} {value:.4g}\n" for name, value in found.items())


if __name__ == "__main__":
    sys.exit(main())
