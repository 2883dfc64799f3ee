"""``bench freeze`` and ``bench check`` on run directories, by their exit codes and outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from benchmark.config import load_protocol
from benchmark.regression.check import CheckResult, WorstSample, check
from benchmark.regression.record import record_of
from benchmark.run import RunDirectory
from reports.check.annotations import workflow_commands
from reports.check.command import check_run, freeze_runs
from reports.check.junit import to_junit
from reports.check.markdown import to_markdown
from reports.check.terminal import print_result
from tests.e2e.conftest import Bench
from tests.runs import Scores, smooth_scores, write_run

METRICS = ("clip_score_patch", "lpips_vgg", "edge_agreement", "psnr")
MARGINS = load_protocol("mini-64-v1").margins
GOOD = smooth_scores(0.0)


def lossy(margins: float, metric: str = "edge_agreement", noise: float = 0.0) -> Scores:
    """The good scores, of which one metric lost so many margins."""

    def score(name: str, image_id: str, prompt_id: str) -> float | None:
        value = GOOD(name, image_id, prompt_id)
        if name != metric or value is None:
            return value
        seed = int(image_id[-4:]) * 2 + (prompt_id == "golden")
        drawn = np.random.default_rng(seed + 100).standard_normal()
        return value - MARGINS[metric] * (margins + float(drawn) * (noise or 0.2))

    return score


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refs")
    run = write_run(folder / "runs", n_images=8, metrics=METRICS)
    freeze_runs([run], reference=folder / "frozen", force=False, as_json=False)
    return folder / "frozen"


def made(folder: Path, scores: Scores = GOOD) -> Path:
    return write_run(folder, n_images=8, metrics=METRICS, scores=scores)


@pytest.mark.parametrize(
    ("scores", "code", "verdict"),
    [
        (GOOD, 0, "equivalent"),
        (lossy(-5), 0, "improved"),
        (lossy(5), 1, "regressed"),
        (lossy(0, noise=30), 3, "inconclusive"),
    ],
)
def test_the_exit_code_says_the_verdict(
    refs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    scores: Scores, code: int, verdict: str,
) -> None:  # fmt: skip
    run = made(tmp_path, scores)
    options = {"reference": refs, "junit": tmp_path / "junit.xml",
               "markdown": tmp_path / "summary.md"}  # fmt: skip
    assert check_run(run, None, None, "mini-64-v1", as_json=True, **options) == code
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == verdict and found["exit_code"] == code
    edges = next(row for row in found["metrics"] if row["metric"] == "edge_agreement")
    assert edges["verdict"] == verdict
    assert (edges["images_needed"] is not None) == (verdict == "inconclusive")
    if verdict == "inconclusive":
        assert edges["images_needed"] > 8
    assert found["not_judged"] == {"psnr": "the protocol has no margin for it"}
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert suite.get("failures") == str(int(verdict == "regressed"))
    assert suite.get("errors") == str(int(verdict == "inconclusive"))
    page = (tmp_path / "summary.md").read_text()
    assert f"mini-64-v1: {verdict}" in page
    links = re.findall(r"\]\(<([^>]+)>\)", page)
    assert len(links) == len(found["worst"])
    for link in links:
        with Image.open(tmp_path / link) as picture:
            assert picture.size == (2 * (64 * 2 + 4), 128)  # two of 64 pixels, a gap, twice as big
    if verdict == "regressed":
        assert len(links) == 8 and found["worst"][0]["metric"] == "edge_agreement"


def test_the_command_prints_a_table_and_annotations(
    bench: Bench, refs: Path, tmp_path: Path
) -> None:
    run = made(tmp_path, lossy(5))
    found = bench("check", run, "--reference", refs, "--annotations")
    assert found.code == 1 and not found.stderr, found.stderr
    lines = found.stdout.splitlines()
    assert any("edge_agreement" in line and "regressed" in line for line in lines)
    assert "verdict: regressed" in lines
    (annotation,) = [line for line in lines if line.startswith("::")]
    assert annotation.startswith("::error title=ours on afhq under mini-64-v1%3A regressed::edge_")
    assert "90 %25 interval" in annotation


def test_freezing_by_the_command(bench: Bench, tmp_path: Path) -> None:
    run = made(tmp_path / "runs")
    found = bench("freeze", run, "--reference", tmp_path / "refs", "--json")
    assert found.code == 0, found.stderr
    (row,) = found.json()
    assert Path(row["reference"]).is_file() and row["samples"] == 16 and row["written"]
    other = write_run(tmp_path / "other", n_images=2, metrics=METRICS)
    twice = bench("freeze", run, other, "--reference", tmp_path / "none")
    assert twice.code == 2 and "2 of the runs are of ours on afhq" in twice.stderr
    assert not (tmp_path / "none").exists()
    refused = bench("freeze", other, "--reference", tmp_path / "refs")
    assert refused.code == 2 and "--force" in refused.stderr
    assert bench("freeze", other, "--reference", tmp_path / "refs", "--force").code == 0


def _partial(folder: Path) -> Path:
    return write_run(folder, n_images=8, metrics=METRICS, missing=3)


def _unscored(folder: Path) -> Path:
    return write_run(folder, n_images=8, unscored=True)


def _fewer(folder: Path) -> Path:
    return write_run(folder, n_images=7, metrics=METRICS)


def _configured(folder: Path) -> Path:
    return write_run(folder, n_images=8, metrics=METRICS, method_config={"t0": 7})


def _other_method(folder: Path) -> Path:
    return write_run(folder, n_images=8, metrics=METRICS, method="zecon")


def _no_run(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _changed_picture(folder: Path) -> Path:
    run = made(folder)
    path = RunDirectory(run).image_path("image0000__golden")
    Image.new("RGB", (64, 64)).save(path)
    return run


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (_partial, "13 of its 16 samples"),
        (_unscored, "bench score"),
        (_fewer, "samples: image0007__golden, image0007__red-bricks in the reference"),
        (_configured, "method config t0: 25 in the reference, 7 in the run"),
        (_other_method, "There are: mini-64-v1/afhq/ours"),
        (_no_run, "no manifest.json"),
        (_changed_picture, "removed or changed"),
    ],
)
def test_what_cannot_be_compared_exits_with_two(
    bench: Bench, refs: Path, tmp_path: Path, bad: Callable[[Path], Path], told: str
) -> None:
    found = bench("check", bad(tmp_path / "runs"), "--reference", refs)
    assert found.code == 2, found
    assert told in found.stderr and "Traceback" not in found.stderr
    assert not found.stdout


def test_wrong_options_exit_with_two(bench: Bench, refs: Path, tmp_path: Path) -> None:
    run = made(tmp_path)
    for options, told in (
        ((), "give a finished run, or --method and --dataset"),
        (("--method", "ours"), "give a finished run, or --method and --dataset"),
        ((run, "--method", "ours"), "give either the run, or --method"),
        ((run, "--json", "--annotations"), "give one of them"),
        (("--method", "ours", "--dataset", "ffhq"), "no reference of ours on ffhq"),
    ):
        found = bench("check", *options, "--reference", refs)
        assert found.code == 2 and told in found.stderr, found


def test_a_reference_whose_config_is_gone_is_refused_before_anything_is_run(
    bench: Bench, refs: Path
) -> None:
    """The synthetic reference has other images and weights than the data and models here."""
    found = bench("check", "--method", "ours", "--dataset", "afhq", "--reference", refs)
    assert found.code == 2
    assert "fingerprint of the content images" in found.stderr
    assert "weights of the method denoiser" in found.stderr


NASTY = (
    "<img src=x onerror=alert(1)>|`a`\n::error::gotcha %0A, ]]> \x00\x1b[31m &amp; [l](http://x)"
)


@pytest.fixture
def nasty(refs: Path, tmp_path: Path) -> CheckResult:
    frozen = record_of(made(tmp_path / "frozen"))
    result = check(made(tmp_path / "run", lossy(5)), frozen, refs / "x.parquet", any_config=False)
    manifest = result.run.facts.manifest
    config = manifest.config.model_copy(update={"method": NASTY, "dataset": NASTY})
    facts = result.run.facts.model_copy(
        update={"manifest": manifest.model_copy(update={"config": config})}
    )
    first = result.decisions[0]
    return replace(
        result,
        run=replace(result.run, facts=facts),
        decisions=(replace(first, verdict="regressed", note=NASTY), *result.decisions[1:]),
        notes=(NASTY,), unjudged={NASTY: NASTY},
        worst=(WorstSample(NASTY, "image0000", NASTY, "samples made", None, None, None, NASTY),),
    )  # fmt: skip


def test_text_from_outside_stays_text_in_every_output(
    nasty: CheckResult, capsys: pytest.CaptureFixture[str]
) -> None:
    page = to_markdown(nasty, {NASTY: 'a folder/"><b>.png'})
    assert "<img" not in page and "<b>" not in page and "[l](http" not in page
    for line in page.splitlines():
        assert not line.startswith("::")
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in {5, 9}
    suite = ElementTree.fromstring(to_junit(nasty))[0]
    assert "<img src=x" in (suite.get("name") or "") and "\x00" not in (suite.get("name") or "")
    failure = suite.find("testcase/failure")
    assert failure is not None and "]]>" in (failure.get("message") or "")
    commands = list(workflow_commands(nasty))
    for line in commands:
        assert "\n" not in line and line.count("::") >= 2
        title = line.split("::")[1].removeprefix("error title=")
        assert "," not in title and ":" not in title
    print_result(nasty)
    printed = capsys.readouterr().out
    assert not [line for line in printed.splitlines() if line.lstrip().startswith("::")]
    assert "\x1b" not in printed and "\x00" not in printed
