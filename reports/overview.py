"""Methods over datasets."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from benchmark.config import canonical_json
from reports.board import Board, Overview
from reports.configs import knobs_of


def overviews_of(boards: Sequence[Board]) -> tuple[Overview, ...]:
    """For every metric the means of equally configured runs over the datasets."""
    largest: dict[str, Board] = {}
    for board in boards:
        largest.setdefault(board.dataset, board)
    if len(largest) < 2:
        return ()
    names = list(dict.fromkeys(m.name for board in largest.values() for m in board.metrics))
    overviews = []
    for name in names:
        cells: dict[tuple[str, bytes], dict[str, float | None]] = defaultdict(dict)
        for dataset, board in largest.items():
            for row in board.rows:
                key = (row.run.method, canonical_json(knobs_of(row.run)))
                cell = row.cells.get(name)
                cells[key][dataset] = cell.mean if cell else None
        titles = _titles(list(cells))
        means = {
            titles[key]: {dataset: by_dataset.get(dataset) for dataset in largest}
            for key, by_dataset in cells.items()
        }
        over = {
            title: (float(np.mean(there)) if len(there) == len(largest) else None)
            for title, by_dataset in means.items()
            for there in [[mean for mean in by_dataset.values() if mean is not None]]
        }
        overviews.append(Overview(name, tuple(largest), means, over))
    return tuple(overviews)


def _titles(keys: Sequence[tuple[str, bytes]]) -> dict[tuple[str, bytes], str]:
    counts = Counter(method for method, _ in keys)
    return {
        (method, knobs): method
        if counts[method] == 1
        else f"{method} [{hashlib.sha256(knobs).hexdigest()[:8]}]"
        for method, knobs in keys
    }
