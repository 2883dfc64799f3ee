"""``test.py`` of pytorch-AdaIN with networks of the official widths, at 256 pixels."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from torch import Tensor

from baselines.adain import AdaIn, AdaInConfig
from benchmark.zoo.adain import AdaInDecoder, NormalisedVgg
from tests.golden import make_adain
from tests.golden.adain_case import input_pixels
from tests.golden.official_format import filled_state
from tests.golden.official_runs.setting import (
    Job,
    Ready,
    one_sample,
    ready_at_first_picture,
    through_interface,
)
from tests.golden.upstream import HERE

CHECKOUTS = ("adain",)
STEPS = 1
SIDE = 256
NOTE = f"test.py, one pass, official widths with drawn weights, {SIDE} pixels"


def drawn_states() -> dict[str, dict[str, Tensor]]:
    """Weights of ``vgg`` and ``decoder`` by the official names and widths."""
    layouts = json.loads((HERE / "adain_shapes.json").read_text())
    return {name: filled_state(shapes, f"adain/{name}") for name, shapes in layouts.items()}


def drawn_networks(module: Any, states: dict[str, dict[str, Tensor]]) -> tuple[Any, Any]:
    """The official module's networks with those weights."""
    module.vgg.load_state_dict(states["vgg"])
    module.decoder.load_state_dict(states["decoder"])
    return module.vgg, module.decoder


def official(folders: dict[str, Path]) -> Job:
    states = drawn_states()

    def job(steps: int, ready: Ready) -> None:
        with (
            patch.object(
                make_adain, "narrow_networks", lambda module: drawn_networks(module, states)
            ),
            patch.object(make_adain, "input_pixels", lambda name: input_pixels(name, SIDE)),
            ready_at_first_picture(ready),
        ):
            make_adain.run_test_script(folders["adain"])

    return job


def ours() -> Job:
    states = drawn_states()
    encoder = NormalisedVgg.from_state_dict(states["vgg"])
    decoder = AdaInDecoder.from_state_dict(states["decoder"])
    zoo = SimpleNamespace(adain_encoder=lambda: encoder, adain_decoder=lambda: decoder)
    batch = one_sample(input_pixels("content", SIDE), input_pixels("style", SIDE))
    return through_interface(lambda steps: AdaIn(AdaInConfig()), zoo, batch)
