"""The authors' notebook on the mini VGG; in float32, unlike the golden run."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from baselines.gatys import Gatys, GatysConfig
from tests.golden import make_gatys
from tests.golden.adain_case import input_pixels
from tests.golden.official_runs.setting import (
    SIZE,
    Job,
    Ready,
    mini_zoo,
    one_sample,
    picture_pixels,
    ready_at_first_picture,
    through_interface,
)

CHECKOUTS = ("gatys",)
STEPS = 99  # so 100 evaluations, in calls of 20
NOTE = f"the notebook, {STEPS + 1} of 520 evaluations"
STYLE, CONTENT = 1e7, 1e4  # weights that move the picture on the mini VGG


def _pixels(name: str) -> Any:
    return picture_pixels() if name == "content" else input_pixels(name, SIZE)


def official(folders: dict[str, Path]) -> Job:
    state = mini_zoo().vgg().state_dict()
    widths = tuple(state[f"features.{index}.weight"].shape[0] for index in (0, 5, 10, 19, 28))
    cells = make_gatys._cells

    def weighted(folder: Path) -> list[str]:
        changes = (("1e3/n**2", f"{STYLE}/n**2"), ("[1e0]", f"[{CONTENT}]"))
        found = cells(folder)
        for original, ours in changes:
            if sum(cell.count(original) for cell in found) != 1:
                raise RuntimeError(f"{original} is not there once: is the checkout at be6c8e2?")
            found = [cell.replace(original, ours) for cell in found]
        return found

    def job(steps: int, ready: Ready) -> None:
        with (
            patch.multiple(
                make_gatys, SIDE=SIZE, VGG_WIDTHS=widths, input_pixels=_pixels,
                tiny_vgg_state=lambda: state, _cells=weighted,
            ),
            patch.object(torch, "set_default_dtype", lambda dtype: None),
            ready_at_first_picture(ready),
        ):  # fmt: skip
            make_gatys.run(folders["gatys"], steps)

    return job


def ours() -> Job:
    def make(steps: int) -> Gatys:
        return Gatys(GatysConfig(evaluations=steps, style_weight=STYLE, content_weight=CONTENT))

    return through_interface(make, mini_zoo(), one_sample(_pixels("content"), _pixels("style")))
