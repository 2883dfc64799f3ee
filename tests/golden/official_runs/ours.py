"""Our sampler beside the official ZeCon editor, which it builds on: same steps and crops."""

from __future__ import annotations

from benchmark.config import load_protocol, method_config
from benchmark.ours import QSAttnStyleTransfer
from benchmark.ours_config import QSAttnConfig
from tests.golden.official_runs import zecon
from tests.golden.official_runs.setting import (
    PROTOCOL,
    Job,
    mini_zoo,
    one_sample,
    picture_pixels,
    through_interface,
)

CHECKOUTS = zecon.CHECKOUTS
STEPS = zecon.STEPS
NOTE = "ours beside " + zecon.NOTE
official = zecon.official


def ours() -> Job:
    def make(steps: int) -> QSAttnStyleTransfer:
        changes = (f"respacing={2 * steps}", f"t0={steps}", f"n_patches={zecon.CROPS}")
        config = method_config("ours", QSAttnStyleTransfer, load_protocol(PROTOCOL), None, changes)
        assert isinstance(config, QSAttnConfig)
        return QSAttnStyleTransfer(config)

    return through_interface(make, mini_zoo(), one_sample(picture_pixels()))
