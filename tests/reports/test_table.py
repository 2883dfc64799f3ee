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
    # a summary of an earlier version tells nothing of warm chunks
    assert "median 3.14, 95th percentile 5.00 (first chunks included, n = 16)" in text
    assert "energy" not in text and "preparation" not in text
    assert "peak memory: 1235 MiB" in text
    assert "dog__clay: [red]not finite[/red]" in text


def test_warm_chunks_energy_and_preparation_are_shown_where_they_were_measured() -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["speed"] |= {
        "warm": {"n": 8, "seconds_per_image_median": 2.5, "seconds_per_image_p95": 2.75,
                 "seconds_per_image_mean": 2.6},
        "energy_joules_per_image": 412.3, "energy_n": 16, "preparation_seconds": 61.7,
    }  # fmt: skip
    text = "\n".join(rendered({"ours": summary}))
    assert "median 2.50, 95th percentile 2.75 (warm, n = 8)" in text
    assert "energy: 412 J per image" in text
    assert "preparation: 62 s for the whole run" in text
    summary["speed"]["warm"] = {"n": 0, "seconds_per_image_median": None}
    assert "median 3.14" in "\n".join(rendered({"ours": summary}))


@pytest.mark.parametrize(("mean", "interval", "expected"), [
    (0.00012345, [0.0001, 0.00015], ["1.234e-04", "1.000e-04 .. 1.500e-04"]),
    (0.0012345, [0.001, 0.0015], ["0.0012", "0.0010 .. 0.0015"]),
    (9.87654, [9.0, 9.99], ["9.8765", "9.0000 .. 9.9900"]),
    (9.87654, [9.0, 10.5], ["9.88", "9.00 .. 10.50"]),
    (-0.5, [-11.0, 0.0], ["-0.50", "-11.00 .. 0.00"]),
    (1234.56, [900.0, 1500.0], ["1235", "900 .. 1500"]),
    (2.5e8, [0.0, 3e8], ["2.500e+08", "0.000e+00 .. 3.000e+08"]),
    (0.0, None, ["0.0000", "n/a"]),
    (0.25, None, ["0.2500", "n/a"]),
])  # fmt: skip
def test_digits_follow_the_size_of_the_values_and_not_the_bounds(
    mean: float, interval: list[float] | None, expected: list[str]
) -> None:
    summary = copy.deepcopy(SUMMARY)
    summary["metrics"] = {
        "vgg_content": entry(bounds=[0.0, 1e6], mean=mean, interval=interval, direction="lower")
    }
    line = line_of(rendered({"ours": summary}), "vgg_content").split("│")
    assert [cell.strip() for cell in line[2:4]] == expected


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
