"""What wraps the official ZeCon editor, as far as it goes without a checkout of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines.official_zecon import EDITOR, _watched, beside, use_checkout
from baselines.zecon import ZeConConfig
from benchmark.errors import UsageError
from benchmark.ours_config import QSAttnConfig


def test_a_folder_that_is_no_checkout_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a checkout of github\.com/YSerin/ZeCon.*clone"):
        use_checkout(tmp_path)
    assert str(tmp_path) not in sys.path


def test_what_the_official_code_misses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    editor = tmp_path / EDITOR
    editor.parent.mkdir()
    editor.write_text("import a_package_that_nobody_has\n")
    with pytest.raises(UsageError, match=r"a_package_that_nobody_has.*kornia==0\.6\.4"):
        use_checkout(tmp_path)


def test_steps_and_crops_are_those_of_the_method_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("baselines.official_zecon.use_checkout", lambda folder: None)
    zecon = ZeConConfig(respacing=8, t0=4, mse=3.0)
    assert beside(tmp_path, zecon).config == zecon
    ours = QSAttnConfig(respacing=12, t0=6, n_patches=7, patch_min=0.2, mse=1.0)
    taken = beside(tmp_path, ours).config
    assert (taken.respacing, taken.t0, taken.n_patches, taken.patch_min) == (12, 6, 7, 0.2)
    assert taken.mse == ZeConConfig().mse


def test_the_last_picture_of_a_loop_is_kept_and_none_is_drawn() -> None:
    asked: dict[str, Any] = {}

    def loop(model: str, **kwargs: Any) -> Any:
        asked.update(kwargs, model=model)
        for step in range(3):
            yield {"pred_xstart": torch.full((1, 3, 2, 2), float(step))}

    last: list[Tensor] = []
    assert _watched(loop, last)("unet", progress=True, eta=0.5) == []
    assert asked == {"model": "unet", "progress": False, "eta": 0.5}
    (shown,) = last
    assert shown.shape == (3, 2, 2) and bool((shown == 2).all())
