"""``bench rerun`` and ``bench verify`` through the command line, on runs that were really made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy import stats
from skimage.data import astronaut, chelsea, coffee

from benchmark import registry
from benchmark.errors import UsageError
from benchmark.pictures import decode_png, encode_png
from benchmark.rerun.options import Pictures, options_of
from benchmark.run import RunDirectory
from tests.e2e.conftest import SHORT, Bench, Outcome, images_of
from tests.e2e.test_add_a_method import install
from tests.runs import picture, write_run

Make = Callable[..., Path]


@pytest.fixture
def make(bench: Bench, tmp_path: Path) -> Make:
    """Runs that take a second, under ``tmp_path/runs``."""

    def run(method: str, *extra: str | Path, limit: int | None = 2) -> Path:
        few = [] if limit is None else ["--limit", str(limit)]
        outcome = bench("run", "--method", method, "--dataset", "afhq", *few,
                        "--out", tmp_path / "runs", "--json", *extra)  # fmt: skip
        assert outcome.code == 0, outcome.stderr
        return Path(outcome.json()["run_directory"])

    return run


@pytest.fixture
def again(bench: Bench, tmp_path: Path) -> Callable[..., Outcome]:
    def run(path: Path, *extra: str | Path, out: str = "again") -> Outcome:
        return bench("rerun", path, "--out", tmp_path / out, "--json", *extra)

    return run


def edit(run: Path, change: Callable[[dict[str, Any]], None], name: str = "manifest.json") -> None:
    facts = json.loads((run / name).read_text())
    change(facts)
    (run / name).write_text(json.dumps(facts))


def photos(folder: Path) -> Path:
    folder.mkdir()
    for name, pixels in (("cat", chelsea()), ("cup", coffee()), ("pilot", astronaut())):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_a_run_and_its_manifest_alone_are_made_again(
    bench: Bench, make: Make, tmp_path: Path
) -> None:
    run = make("identity", "--seed", "3", "--source-prompt", "Cat", "--batch-size", "3")
    outcome = bench("rerun", run, "--out", tmp_path / "again")
    assert outcome.code == 0, outcome.stderr
    assert "reproduced: all 4 images have equal bytes" in outcome.stdout
    (other,) = (tmp_path / "again").glob("*/*/*/*")
    assert images_of(other) == images_of(run)
    first, second = (json.loads((path / "manifest.json").read_text()) for path in (run, other))
    for key in ("config", "batch_size", "sample_ids", "models"):
        assert first[key] == second[key]
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "manifest.json", alone)
    outcome = bench("rerun", alone / "manifest.json", "--out", tmp_path / "again", "--json",
                    "--existing", "overwrite")  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    found = outcome.json()
    assert found["images"] is None and found["same_scores"] is True
    edit(alone, lambda facts: facts["files"].update({"scores.parquet": "0" * 64}))
    outcome = bench("rerun", alone, "--out", tmp_path / "again", "--existing", "overwrite")
    assert outcome.code == 1
    assert "the scores are NOT equal; the pictures cannot be compared" in outcome.stdout
    assert "identity itself is not reproducible" in outcome.stdout


@pytest.mark.slow
def test_ours_with_another_guide_and_what_differs_from_a_run_of_elsewhere(
    bench: Bench, make: Make, again: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = make("ours", *SHORT, "--guide", "mini-siglip-guide", "--seed", "5", "--batch-size", "1",
               "--set", "mse=3e-05")  # fmt: skip
    outcome = again(run)
    assert outcome.code == 0, outcome.stderr
    found = outcome.json()
    assert found["images"] == {
        "compared": 4, "equal_bytes": 4, "equal_pixels": 0, "differing": [],
    }  # fmt: skip
    assert found["reasons"] == []
    assert all(score["equal"] for score in found["scores"].values())

    # the same run as another machine might have made it: other pixels, other facts
    name = sorted(images_of(run))[0]
    pixels = decode_png((run / "images" / name).read_bytes()).copy()
    pixels[:8, :8] = np.where(pixels[:8, :8] > 127, pixels[:8, :8] - 90, pixels[:8, :8] + 90)
    data = encode_png(pixels)
    (run / "images" / name).write_bytes(data)

    def planted(chunk: dict[str, Any]) -> None:
        for sample in chunk["samples"]:
            if f"{sample['sample_id']}.png" == name:
                sample["sha256"] = hashlib.sha256(data).hexdigest()

    for path in sorted((run / "chunks").glob("*.json")):
        edit(run, planted, f"chunks/{path.name}")
    assert bench("score", run).code == 0

    def moved(facts: dict[str, Any]) -> None:
        facts["hardware"] |= {"processor": "Another CPU", "torch_threads": 7}
        facts["versions"]["torch"] = "2.5.0"

    edit(run, moved)
    outcome = again(run, out="third")
    assert outcome.code == 1
    found = outcome.json()
    assert found["images"]["equal_bytes"] == 3
    assert found["images"]["differing"] == [{"sample_id": name[:-4], "largest": 90}]
    differing = {item["what"]: (item["kind"], item["there"]) for item in found["circumstances"]}
    assert differing["processor"] == ("other hardware", "Another CPU")
    assert differing["torch"] == ("other versions", "2.5.0")
    told = "\n".join(found["reasons"])
    assert "other hardware: processor (Another CPU there" in told
    assert "OMP_NUM_THREADS=7" in told
    assert "itself is not reproducible" not in told

    def values(path: Path) -> dict[str, float]:
        rows = pq.read_table(path / "scores.parquet").to_pylist()
        return {row["sample_id"]: row["value"] for row in rows if row["metric"] == "ssim"}

    here, there = values(Path(found["directory"])), values(run)
    of_images: dict[str, list[float]] = {}
    for sample, value in here.items():
        of_images.setdefault(sample.split("__")[0], []).append(value - there[sample])
    means = [np.mean(group) for group in of_images.values()]
    interval = stats.t.interval(0.95, len(means) - 1, np.mean(means), stats.sem(means))
    ssim = found["scores"]["ssim"]
    assert ssim["n"] == 4 and ssim["n_images"] == 2
    assert ssim["mean_difference"] == pytest.approx(np.mean(means))
    assert ssim["interval"] == pytest.approx(interval)
    assert ssim["largest"] == pytest.approx(max(abs(here[key] - there[key]) for key in here))


def test_images_and_a_prompt_of_the_users_own(
    make: Make, again: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos")
    (folder / "broken.png").write_bytes(b"no picture")
    run = make("identity", "--images", folder, "--on-bad-image", "skip", "--prompt",
               "made of  ice, and: snow", limit=None)  # fmt: skip
    outcome = again(run)
    assert outcome.code == 0, outcome.stderr
    moved = folder.rename(tmp_path / "elsewhere")
    outcome = again(run, out="second")
    assert outcome.code == 2
    assert "--images" in outcome.stderr and str(folder) in outcome.stderr
    outcome = again(run, "--images", moved, out="second")
    assert outcome.code == 0, outcome.stderr
    Image.fromarray(chelsea()[:, ::-1]).save(moved / "cat.png")
    outcome = again(run, "--images", moved, out="third")
    assert outcome.code == 2
    claimed = json.loads((run / "manifest.json").read_text())["config"]["fingerprint"]
    assert f"dataset fingerprint: {claimed} there" in outcome.stderr
    assert not (tmp_path / "third").exists(), "it refused before anything was computed"


def test_an_archive_is_read_as_it_was(
    make: Make, again: Callable[..., Outcome], tmp_path: Path
) -> None:
    for part in ("train", "test"):
        (tmp_path / "tree" / part).mkdir(parents=True)
        Image.fromarray(picture(part)).save(tmp_path / "tree" / part / "one.png")
    archive = shutil.make_archive(str(tmp_path / "pictures"), "zip", tmp_path / "tree")
    run = make("identity", "--images", archive, "--images-within", "test", limit=None)
    outcome = again(run)
    assert outcome.code == 0, outcome.stderr


@pytest.mark.parametrize("samples", ["paper", "full"])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_run_on_the_hub_asks_for_the_same_rows_of_the_same_copy(
    samples: str, mirror: bool, tmp_path: Path
) -> None:
    """Nothing is asked of the hub: what a source says of itself leads back to its options."""
    dataset = registry.load(registry.DATASETS, "celebahq")
    facts = dataset.card.hub
    copy = facts.mirrors[0].id if mirror and facts.mirrors else facts.id
    manifest = RunDirectory(write_run(tmp_path, dataset="celebahq")).read_manifest()
    manifest.dataset["source"] = dataset.source(None, f"hub:{copy}", samples).describe()
    options = options_of(manifest, Pictures(), out=tmp_path, existing="fail", accelerator=None,
                         weights_dir=None)  # fmt: skip
    assert (options.source, options.samples) == (f"hub:{copy}", samples)
    again = dataset.source(None, options.source, options.samples)
    assert again.describe() == manifest.dataset["source"]
    manifest.dataset["source"]["samples"] = {"rows": [1]}
    with pytest.raises(UsageError, match="no sample list like that"):
        options_of(manifest, Pictures(), out=tmp_path, existing="fail", accelerator=None,
                   weights_dir=None)  # fmt: skip


@pytest.mark.parametrize("named", ["folder", "dataset"])
def test_style_images(
    make: Make, again: Callable[..., Outcome], tmp_path: Path, named: str
) -> None:
    if named == "dataset":
        run = make("recolor", "--style-dataset", "wikiart", "--style-limit", "3", limit=1)
        outcome = again(run)
        assert outcome.code == 0, outcome.stderr
        assert outcome.json()["images"]["equal_bytes"] == 3
        return
    folder = tmp_path / "styles"
    folder.mkdir()
    for name in ("Water Lilies", "night", "unused"):
        Image.fromarray(picture(name, 90)).save(folder / f"{name}.png")
    run = make("recolor", "--style-images", folder, "--style-limit", "2")
    outcome = again(run)
    assert outcome.code == 0, outcome.stderr
    moved = folder.rename(tmp_path / "elsewhere")
    outcome = again(run, out="second")
    assert outcome.code == 2 and "--style-images" in outcome.stderr
    Image.fromarray(picture("day", 90)).save(moved / "night.png")
    outcome = again(run, "--style-images", moved, out="second")
    assert outcome.code == 2
    assert "prompts[1].style_sha256" in outcome.stderr


@pytest.mark.slow
def test_mixtures_of_prompts_and_pictures(
    bench: Bench, make: Make, again: Callable[..., Outcome], tmp_path: Path
) -> None:
    folder = tmp_path / "styles"
    folder.mkdir()
    for name in ("wave", "other"):
        Image.fromarray(picture(name, 90)).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no picture")
    run = make("ours-multi", *SHORT, "--mix", "golden=0.3,red-bricks=0.7",
               "--mix", f"golden=0.25,{folder / 'wave.png'}=0.75", limit=1)  # fmt: skip
    outcome = again(run)
    assert outcome.code == 2
    assert "wave" in outcome.stderr and "--style-images" in outcome.stderr
    outcome = again(run, "--style-images", folder)
    assert outcome.code == 0, outcome.stderr
    assert outcome.json()["images"]["equal_bytes"] == 2
    verified = bench("verify", run, "--json").json()
    assert verified["verified"] is True
    counts = {check["name"]: check["true"] for check in verified["runs"][0]["checks"]}
    assert counts["style images"] == 1
    Image.fromarray(picture("another wave", 90)).save(folder / "wave.png")
    outcome = again(run, "--style-images", folder, out="second")
    assert outcome.code == 2 and "SHA-256" in outcome.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda facts: facts["models"]["judge"].update(sha256="0" * 64),
         ["weights of judge (SHA-256): 000"]),
        (lambda facts: facts["config"].update(fingerprint="0" * 64), ["dataset fingerprint: 000"]),
        (lambda facts: facts["config"].update(resolution=128), ["resolution: 128 there, 64 here"]),
        (lambda facts: facts["config"].update(protocol="mini-64-v0"), ["unknown protocol"]),
        (lambda facts: facts["config"].update(method="nobody"), ["unknown method"]),
        (lambda facts: facts["config"].update(method_config={"steps": 3}),
         ["the manifest's config", "steps"]),
        (lambda facts: facts["config"]["prompts"][0].update(text="Silver"),
         ["no prompt 'golden' with the text 'Silver'"]),
        (lambda facts: facts["dataset"].update(source={"name": "folder", "folder": "/gone"}),
         ["/gone", "--images"]),
    ],
)  # fmt: skip
def test_what_would_be_another_run_is_refused_before_it_begins(
    make: Make, again: Callable[..., Outcome], tmp_path: Path,
    change: Callable[[dict[str, Any]], None], words: list[str],
) -> None:  # fmt: skip
    run = make("identity")
    edit(run, change)
    outcome = again(run)
    assert outcome.code == 2
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert word in outcome.stderr
    assert not (tmp_path / "again").exists()


def test_where_a_rerun_may_not_go(
    bench: Bench, make: Make, again: Callable[..., Outcome], tmp_path: Path
) -> None:
    run = make("identity")
    before = images_of(run)
    outcome = again(run, out="runs")
    assert outcome.code == 2 and "must not touch" in outcome.stderr
    assert again(run).code == 0
    outcome = again(run)
    assert outcome.code == 1 and "--existing" in outcome.stderr
    outcome = again(run, "--existing", "resume")
    assert outcome.code == 0 and outcome.json()["kept"] == 4
    assert images_of(run) == before
    for path in (tmp_path / "nothing", tmp_path, run / "summary.json"):
        outcome = bench("rerun", path, "--out", tmp_path / "again")
        assert outcome.code == 2 and "manifest.json" in outcome.stderr
    shutil.rmtree(run / "chunks")
    edit(run, lambda facts: facts.update(files={}, status="running"))
    outcome = again(run)
    assert outcome.code == 2 and "nothing to compare" in outcome.stderr


RESTLESS = """
import time, torch
from benchmark.interface import Guidance, MethodCard, MethodConfig, StyleTransferMethod

class Restless(StyleTransferMethod):
    Config = MethodConfig
    card = MethodCard(title="Restless", paper="none", upstream=None, roles=())
    guidance = frozenset({Guidance.TEXT})

    def stylize(self, batch, noise):
        return batch.images * 0 + (time.time_ns() // 1000 % 997) / 997 - 0.5
"""


@pytest.mark.slow
def test_a_method_that_is_not_reproducible_is_told_so(bench: Bench, tmp_path: Path) -> None:
    site, package = tmp_path / "site", tmp_path / "restless"
    site.mkdir()
    package.mkdir()
    (package / "restless.py").write_text(RESTLESS)
    (package / "pyproject.toml").write_text(
        '[project]\nname = "restless"\nversion = "1.5"\n'
        '[project.entry-points."bench.methods"]\nrestless = "restless:Restless"\n'
    )
    install(package, site)
    outcome = bench("run", "--method", "restless", "--dataset", "afhq", "--limit", "1", "--json",
                    "--out", tmp_path / "runs", site=site)  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    run = Path(outcome.json()["run_directory"])
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["versions"]["restless"] == "1.5", "the package that brings the method"
    outcome = bench("rerun", run, "--out", tmp_path / "again", site=site)
    assert outcome.code == 1
    assert "NOT reproduced: 2 of 2 images differ" in outcome.stdout
    assert "restless itself is not reproducible" in outcome.stdout
    edit(run, lambda facts: facts["versions"].update(restless="1.4"))
    outcome = bench("rerun", run, "--out", tmp_path / "third", site=site)
    assert "other versions: restless (1.4 there, 1.5 here)" in outcome.stdout
    assert "itself is not reproducible" not in outcome.stdout


def test_verify_names_file_claim_and_finding(bench: Bench, make: Make, tmp_path: Path) -> None:
    run = make("identity")
    outcome = bench("verify", run)
    assert outcome.code == 0, outcome.stderr
    assert "verified: everything that could be checked" in outcome.stdout
    name = sorted(images_of(run))[0]
    before = hashlib.sha256((run / "images" / name).read_bytes()).hexdigest()
    (run / "images" / name).write_bytes(b"changed")
    outcome = bench("verify", tmp_path / "runs")
    assert outcome.code == 1
    assert f"wrong: images: images/{name}" in outcome.stdout
    assert f"claimed {before}" in outcome.stdout
    assert f"found   {hashlib.sha256(b'changed').hexdigest()}" in outcome.stdout
    outcome = bench("verify", run, "--json")
    assert outcome.code == 1 and outcome.json()["verified"] is False
    outcome = bench("verify", tmp_path / "nothing")
    assert outcome.code == 2 and "not a folder" in outcome.stderr
