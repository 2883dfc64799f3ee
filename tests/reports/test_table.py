from __future__ import annotations

import copy
from typing import Any

import pytest
from rich.console import Console

from reports.table import score_table


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1, "direction": "higher", "bounds": [-1.0, 1.0], "encoders": [],
        "description": "", "n": 16, "n_images": 8, "mean": 0.12345, "sd": 0.1,
        "interval": [0.1, 0.2], "interval_note": None, "statuses": {"ok": 16}, **changes,
    }  # fmt: skip


SUMMARY: dict[str, Any] = {
    "schema_version": 1,
    "samples": {"total": 16, "ok": 15, "failed": 1, "images": 8},
    "failed": [{"sample_id": "dog__clay", "reason": "[red]not finite[/red]"}],
    "unscored": [],
    "metrics": {
        "clip_score": entry(),
        "lpips_vgg": entry(direction="lower", bounds=[0.0, 2.0], mean=0.5),
        "psnr": entry(bounds=[0.0, 100.0], mean=23.4567, interval=[20.0, 25.5]),
        "face_id_distance": entry(
            direction="lower", n=0, n_images=0, mean=None, sd=None, interval=None,
            interval_note="insufficient_n: 0 content image(s)",
            statuses={"failed": 1, "no_face": 2, "not_applicable": 13},
        ),
    },
    "speed": {
        "n": 16, "seconds_per_image_median": 3.14159, "seconds_per_image_p95": 5.0,
        "seconds_per_image_mean": 3.5, "peak_memory_mib": 1234.56,
    },
}  # fmt: skip


def rendered(summaries: dict[str, Any], width: int = 140) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(score_table(summaries, title="ours on afhq [stand-in]"))
    return capture.get().splitlines()


def line_of(lines: list[str], start: str) -> str:
    return next(line for line in lines if start in line)


def test_a_line_for_each_metric_with_its_direction_mean_interval_and_n() -> None:
    lines = rendered({"ours": SUMMARY})
    assert "ours on afhq [stand-in]" in lines[0]
    clip = line_of(lines, "clip_score ↑").split("│")
    assert [cell.strip() for cell in clip[1:5]] == [
        "clip_score ↑", "0.1235", "0.1000 .. 0.2000", "16",
    ]  # fmt: skip
    assert "lpips_vgg ↓" in line_of(lines, "lpips_vgg")
    assert "23.46" in line_of(lines, "psnr") and "20.00 .. 25.50" in line_of(lines, "psnr")


def test_missing_values_are_counted_and_never_a_number() -> None:
    line = line_of(rendered({"ours": SUMMARY}), "face_id_distance")
    assert [cell.strip() for cell in line.split("│")[2:6]] == [
        "n/a", "n/a", "0", "1 failed, 2 no_face, 13 not_applicable",
    ]  # fmt: skip


def test_speed_memory_and_failures_stand_below() -> None:
    text = "\n".join(rendered({"ours": SUMMARY}))
    assert "16 samples of 8 image(s), 1 failed" in text
    assert "median 3.14, 95th percentile 5.00" in text
    assert "peak memory: 1235 MiB" in text
    assert "dog__clay: [red]not finite[/red]" in text


def test_long_lists_of_failures_are_cut_and_say_where_the_rest_is() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["failed"] = [{"sample_id": f"s{i}", "reason": "NaN"} for i in range(5)]
    summary["unscored"] = [
        {"sample_id": "s9", "metric": name, "reason": "truncated"} for name in ("psnr", "ssim")
    ]
    text = "\n".join(rendered({"ours": summary}))
    assert "s2: NaN" in text and "s3: NaN" not in text
    assert "... and 3 more, listed in summary.json" in text


def test_a_single_content_image_says_why_there_is_no_interval() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["metrics"] = {
        "ssim": entry(interval=None, interval_note="insufficient_n: 1 content image(s)")
    }
    assert "insufficient_n: 1 content image(s)" in line_of(rendered({"ours": summary}), "ssim")


def test_runs_are_told_apart_by_their_label() -> None:
    other = copy.deepcopy(SUMMARY)
    other["metrics"] = {"clip_score": entry(mean=0.9)}
    lines = rendered({"ours": SUMMARY, "zecon [v1]": other})
    found = [line for line in lines if "clip_score ↑" in line]
    assert ["0.1235" in found[0], "ours" in found[0]] == [True, True]
    assert ["0.9000" in found[1], "zecon [v1]" in found[1]] == [True, True]
    assert sum("psnr" in line for line in lines) == 1


def test_no_summary_is_refused() -> None:
    with pytest.raises(ValueError, match="no summary"):
        score_table({})
