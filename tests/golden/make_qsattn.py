"""Writes qsattn.safetensors: selections and routed features of QS-Attn's three samplers.

``python -m tests.golden.make_qsattn --qsattn DIR`` (see :mod:`tests.golden.upstream`).
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from tests.golden.official_format import named_normal
from tests.golden.upstream import HERE, checkouts, contiguous, official

SHAPE = (2, 8, 12, 12)
ANCHORS = 40


def main() -> None:
    checkouts("qsattn")
    out = {}
    # scaled down, so that softmax does not saturate and entropies differ
    source = 0.5 * named_normal("qsattn/source", SHAPE)
    output = 0.5 * named_normal("qsattn/output", SHAPE)
    for mode in ("global", "local", "local_global"):
        sampler = official(f"models.networks_{mode}").PatchSampleF(use_mlp=False)
        orders: list[torch.Tensor] = []
        plain_sort = torch.sort

        def recording_sort(values: torch.Tensor, _sort=plain_sort, _into=orders):  # type: ignore[no-untyped-def]
            result = _sort(values)
            _into.append(result[1])
            return result

        torch.sort = recording_sort  # type: ignore[assignment]
        try:
            # layers before the fourth take random positions: they are padded with a dummy
            dummy = [torch.zeros(2, 1, 12, 12)] * 3
            keys, ids, mats = sampler([*dummy, source], ANCHORS, None, None)
        finally:
            torch.sort = plain_sort
        queries, _, _ = sampler([*dummy, output], ANCHORS, ids, mats)
        out[f"{mode}/positions"] = orders[0][:, :ANCHORS]
        out[f"{mode}/keys"] = keys[3]
        out[f"{mode}/queries"] = queries[3]
    save_file(contiguous(out), HERE / "qsattn.safetensors")


if __name__ == "__main__":
    main()
