"""Measures the ends of a protocol's scale: ``python -m reports.anchors mini-64-v1``.

Style is 0 where the untouched source scores and 1 where the styles drawn by procedure do. Where a
style image guides, that image is another picture of the dataset, in the style by procedure. Content
is 1 at the untouched source and 0 where another picture of the dataset stands in its place. Each
end is the mean over the images of all datasets and all prompts. The numbers go into the protocol
file by hand, since a protocol is not edited once it is released.
"""

from __future__ import annotations

import argparse
import sys

from benchmark.config import Protocol, load_protocol
from benchmark.errors import BenchError
from benchmark.script import script
from reports.scale_ends import drawn, drawn_on_other, means, other, own


def anchors(protocol: Protocol) -> dict[str, dict[str, float]]:
    """Worst and best of the protocol's content and style metrics.

    Raises:
        BenchError: the protocol has no balance, or prompts that no procedure draws.
    """
    if protocol.balance is None:
        raise BenchError(f"the protocol {protocol.id} names no content and style metric")
    content, style = protocol.balance.content.metric, protocol.balance.style.metric
    source = means(protocol, [content, style], own)
    found = {
        "content": {"worst": means(protocol, [content], other)[content], "best": source[content]},
        "style": {"worst": source[style], "best": means(protocol, [style], drawn)[style]},
    }
    if protocol.balance.style_image is not None:
        shown = protocol.balance.style_image.metric
        found["style_image"] = {
            name: means(protocol, [shown], end, style_image=drawn_on_other)[shown]
            for name, end in (("worst", own), ("best", drawn))
        }
    return found


@script
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m reports.anchors", description=__doc__)
    parser.add_argument("protocol")
    found = anchors(load_protocol(parser.parse_args().protocol))
    for name, ends in found.items():
        sys.stdout.write(f"{name}: worst {ends['worst']:.3f}, best {ends['best']:.3f}\n")


if __name__ == "__main__":
    sys.exit(main())
