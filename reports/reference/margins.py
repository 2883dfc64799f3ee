"""Measures the margins of a protocol: ``python -m reports.reference.margins mini-64-v1``.

What must be caught is a loss of 2 % of the style or content that a method has. Each metric has a
scale: style from the untouched source to the styles drawn by procedure (beside the same style on
another picture where a style image guides), content from another picture of the dataset in the
source's place to the source itself. Both ends are means over every image of all datasets, style
also over all prompts. Methods that are worth a check have at least a
quarter of it, so the least loss to catch is 0.02 x 0.25 of the scale; the margin is half of that,
to two digits, which leaves the other half to the spread between images.
The numbers go into the protocol file by hand, since a protocol is not edited once it is released.
"""

from __future__ import annotations

import argparse
import math
import sys

from benchmark.config import Protocol, load_protocol
from benchmark.script import script
from reports.scale_ends import drawn, drawn_on_other, means, other, own

LOSS = 0.02
LEAST = 0.25  # of the scale
STYLE = ("clip_score_patch", "clip_score", "clip_directional")
STYLE_IMAGE = ("clip_style_image",)
CONTENT = ("edge_agreement", "ssim", "lpips_vgg", "dino_structure", "face_id_distance")


def margins(protocol: Protocol) -> dict[str, tuple[float, float, float]]:
    """Of every style and content metric of the protocol: both ends of its scale and the margin.

    Raises:
        BenchError: the procedures draw none of the protocol's prompts.
    """
    style = [name for name in STYLE if name in protocol.metrics]
    content = [name for name in CONTENT if name in protocol.metrics]
    source = {**means(protocol, style, own), **means(protocol, content, own, 1)}
    ends = {**means(protocol, style, drawn), **means(protocol, content, other, 1)}
    shown = [name for name in STYLE_IMAGE if name in protocol.style_image_metrics]
    source |= means(protocol, shown, own, style_image=drawn_on_other)
    ends |= means(protocol, shown, drawn, style_image=drawn_on_other)
    return {name: (source[name], ends[name], margin(source[name], ends[name])) for name in source}


def margin(one_end: float, other_end: float) -> float:
    """Half of a loss of 2 % of a quarter of the scale between two ends, to two digits."""
    half = abs(one_end - other_end) * LEAST * LOSS / 2
    return round(half, 1 - math.floor(math.log10(half)))


@script
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.reference.margins")
    parser.add_argument("protocol")
    found = margins(load_protocol(parser.parse_args().protocol))
    for name, (source, end, value) in found.items():
        sys.stdout.write(f"{name}: source {source:.3f}, other end {end:.3f}, margin {value}\n")


if __name__ == "__main__":
    sys.exit(main())
