"""A report as JSON: everything, at full precision."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from reports.board import Board, Report, Row

SCHEMA_VERSION = 1


def to_json(report: Report) -> str:
    """Sorted keys, no NaN: equal reports give equal bytes."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "protocol": report.protocol,
        "protocol_title": report.protocol_title,
        "stylebench": report.version,
        "boards": [_board(board) for board in report.boards],
        "overviews": [asdict(overview) for overview in report.overviews],
        "reported": [asdict(number) for number in report.reported],
    }
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _board(board: Board) -> dict[str, Any]:
    return {
        "id": board.id,
        "title": board.title,
        "dataset": board.dataset,
        "fingerprint": board.fingerprint,
        "image_ids": list(board.image_ids),
        "prompts": dict(board.prompts),
        "metrics": [asdict(metric) for metric in board.metrics],
        "rows": [_row(row) for row in board.rows],
        "duels": {
            metric: [asdict(duel) for duel in duels] for metric, duels in board.duels.items()
        },
        "sweeps": [asdict(sweep) for sweep in board.sweeps],
        "content_metric": board.content_metric,
        "style_metric": board.style_metric,
        "stand_in_note": board.stand_in_note,
    }


def _row(row: Row) -> dict[str, Any]:
    run = row.run
    return {
        "id": row.id,
        "label": row.label,
        "method": run.method,
        "config_hash": run.manifest.config_hash,
        "config": run.manifest.config.model_dump(mode="json"),
        "manifest_sha256": run.manifest_sha256,
        "command": run.manifest.command,
        "state": run.state,
        "samples": len(run.manifest.sample_ids),
        "made": run.n_made,
        "failures": [{"sample_id": sample, "reason": reason} for sample, reason in run.failures],
        "notes": list(run.notes),
        "cells": {name: asdict(cell) for name, cell in row.cells.items()},
        "cost": asdict(row.cost),
        "balance": asdict(row.balance) if row.balance else None,
        "study_content": asdict(row.study_content) if row.study_content else None,
        "study_style": asdict(row.study_style) if row.study_style else None,
        "distribution": run.distribution,
    }
