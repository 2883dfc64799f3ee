"""What a StyleGAN2 gives back and draws: ``python -m reports.inversions mini-64-v1 --out PNG``.

Four rows: pictures of a dataset, what its encoder makes of them, what the inversion of StyleCLIP
and StyleGAN-NADA finds from there, and pictures of seeded latents. A method that edits latents can
show no more of a picture than the third row.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image

from baselines.stylegan_inversion import InversionConfig, Inverter
from benchmark import registry
from benchmark.config import Protocol, load_protocol, method_config
from benchmark.errors import UsageError
from benchmark.noise import NoiseSource
from benchmark.script import script
from benchmark.zoo import ModelZoo

METHOD = "styleclip"  # whose values of the protocol the inversion has
SHOWN = 16
FACTOR = 2  # by which the pictures are enlarged


def figure(protocol: Protocol, dataset_id: str) -> Image.Image:
    """The first pictures of a dataset, in four rows.

    Raises:
        BenchError: no such dataset, or a generator that cannot be loaded or has no encoder.
    """
    dataset = registry.load(registry.DATASETS, dataset_id)
    frozen = dataset.freeze(
        dataset.source(None), size=protocol.resolution, resize_filter=protocol.resize_filter,
        limit=SHOWN, on_bad_image="fail",
    )  # fmt: skip
    config = method_config(METHOD, registry.load(registry.METHODS, METHOD), protocol, None, ())
    assert isinstance(config, InversionConfig)
    models = protocol.models_for(dataset_id)
    zoo = ModelZoo(models, None)
    generator = zoo.generator()
    if generator.encoder is None:
        raise UsageError(f"{models['generator']} has no encoder: nothing to compare")
    invert = Inverter(generator, zoo.vgg(), config)
    pixels = torch.stack([torch.from_numpy(image.pixels.copy()) for image in frozen.images])
    images = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
    found = [
        invert(image[None], kept.image_id, NoiseSource(0, [kept.image_id]))
        for image, kept in zip(images, frozen.images, strict=True)
    ]
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(len(images), generator.config.style_dim, generator=draws)
    with torch.no_grad():
        rows = [
            images,
            generator(generator.encode(images)),
            generator(torch.cat(found)),
            generator(generator.map(z)),
        ]
    grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    values = ((grid.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    sheet = Image.fromarray(values.permute(1, 2, 0).numpy())
    size = (sheet.width * FACTOR, sheet.height * FACTOR)
    return sheet.resize(size, Image.Resampling.NEAREST)


@script
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m reports.inversions", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("protocol")
    parser.add_argument("--dataset", default="celebahq", help="what the generator draws")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    given = parser.parse_args()
    figure(load_protocol(given.protocol), given.dataset).save(given.out)


if __name__ == "__main__":
    sys.exit(main())
