"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
WeightsDir = Annotated[
    Path | None, typer.Option(help="Folder with checkpoints that do not ship with the package.")
]
