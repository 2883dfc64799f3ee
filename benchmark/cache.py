"""Where files are kept between runs: frozen sample sets, and checkpoints that were fetched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "STYLEBENCH_CACHE"


def cache_root() -> Path:
    """The cache folder: ``$STYLEBENCH_CACHE``, else ``stylebench`` in the user's cache folder.

    The folder need not exist yet.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "stylebench"
