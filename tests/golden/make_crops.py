"""Writes crops.safetensors: crops by ZeCon's own augmentation, with the parameters it drew.

``python -m tests.golden.make_crops --zecon DIR --kornia DIR`` (see :mod:`tests.golden.upstream`).
"""

from __future__ import annotations

import torch
from safetensors.torch import save_file

from tests.golden.official_format import picture
from tests.golden.upstream import HERE, checkouts, contiguous, official

SIZE = 64
CROPS = 6
POOLED = 32


def main() -> None:
    checkouts("zecon", "kornia")
    augmentations = official("optimization.augmentations")
    augment = augmentations.ImageAugmentations(POOLED, 1, 0.05, 0.3, patch=True)
    image = picture("crops", SIZE)
    out: dict[str, list[torch.Tensor]] = {
        name: [] for name in ("crop", "pooled", "box", "angle", "translation", "corners")
    }
    torch.manual_seed(7)
    for _ in range(CROPS):
        out["pooled"].append(augment(image, num_patch=1))
        affine, perspective = augment.augmentations
        box = augment.random_patch._params["src"]
        again = augment.random_patch(image, params=augment.random_patch._params)
        again = affine(again, params=affine._params)
        out["crop"].append(perspective(again, params=perspective._params))
        out["box"].append(torch.cat([box[:, 0], box[:, 2]], 1))
        out["angle"].append(affine._params["angle"])
        out["translation"].append(affine._params["translations"])
        out["corners"].append(perspective._params["end_points"])
    # the full 128x128 crops are large: two of them are enough
    out["crop"] = out["crop"][:2]
    save_file(
        contiguous({k: torch.cat(v).float() for k, v in out.items()}), HERE / "crops.safetensors"
    )


if __name__ == "__main__":
    main()
