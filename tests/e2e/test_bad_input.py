"""Bad input ends as one clear message and an exit code, never as a traceback."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from tests.e2e.conftest import Bench, short_run


def _photos(folder: Path, count: int = 2) -> Path:
    from skimage.data import astronaut

    folder.mkdir()
    picture = Image.fromarray(astronaut())
    for index in range(count):
        picture.crop((20 * index, 0, 300 + 20 * index, 280)).save(folder / f"photo {index}.png")
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--method", "our", "--dataset", "afhq"], 2, ["unknown method 'our'", "ours"]),
        (["run", "--method", "ours", "--dataset", "afqh"], 2, ["unknown dataset", "afhq"]),
        (
            ["run", "--method", "ours", "--dataset", "afhq", "--protocol", "mini-64"],
            2,
            ["unknown protocol", "mini-64-v1"],
        ),
        (
            ["run", "--method", "ours", "--dataset", "afhq", "--prompts", "goldn"],
            2,
            ["goldn", "golden"],
        ),
        (["run", "--method", "ours", "--dataset", "afhq", "--prompt", "  "], 2, ["empty"]),
        (
            ["run", "--method", "ours", "--dataset", "afhq", "--prompt", "gold " * 100],
            2,
            ["tokens", "shorten"],
        ),
        (
            ["run", "--method", "ours", "--dataset", "afhq", "--set", "n_patch=4"],
            2,
            ["n_patch", "n_patches", "--set n_patch=4"],
        ),
        (
            ["run", "--method", "ours", "--dataset", "afhq", "--set", "t0=minus"],
            2,
            ["--set t0=minus", "t0"],
        ),
        (["run", "--method", "ours", "--dataset", "afhq", "--set", "t0"], 2, ["key=value"]),
        (
            ["run", "--method", "ours", "--dataset", "afhq", "--config", "missing.yaml"],
            2,
            ["missing.yaml", "No such file"],
        ),
        (
            ["run", "--method", "styleclip", "--dataset", "lsun-bedroom"],
            2,
            [
                "mini-stylegan2 draws, which is faces",
                "lsun-bedroom shows bedrooms",
                "a dataset of faces or dogs",
            ],
        ),
        (["show", "our"], 2, ["ours"]),
        (["profile", "zecon", "--compare", "upstream=."], 2, ["upstream=.", "official=DIR"]),
        (["profile", "gatys", "--compare", "official=."], 2, ["'gatys'", "only for ours, zecon"]),
        (["profile", "zecon", "--compare", "official=."], 2, ["not a checkout", "git clone"]),
        (["run", "--method", "ours", "--dataset", "afhq", "--nonsense"], 2, ["--nonsense"]),
        (["score", "nowhere"], 1, ["nowhere", "manifest.json"]),
    ],
)
def test_wrong_usage(
    bench: Bench, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    extra = ["--out", str(tmp_path)] if arguments[0] == "run" else []
    outcome = bench(*arguments, *extra)
    assert outcome.code == code, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert outcome.stdout == ""
    for word in words:
        assert word in outcome.stderr
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_bad_config_file_names_file_key_and_allowed_values(bench: Bench, tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("reverse_process: euler\n")
    outcome = bench(*short_run(tmp_path / "runs", extra=["--config", config]))
    assert outcome.code == 2
    for word in ("my.yaml", "reverse_process", "ddim", "ddpm", "euler"):
        assert word in outcome.stderr


def test_folder_of_own_images(bench: Bench, tmp_path: Path) -> None:
    folder = _photos(tmp_path / "mine")
    outcome = bench(*short_run(tmp_path / "runs", limit=9, extra=["--images", folder]))
    assert outcome.code == 0, outcome.stderr
    result = outcome.json()
    manifest = json.loads((Path(result["run_directory"]) / "manifest.json").read_text())
    assert manifest["config"]["stand_in"] is False
    assert len(manifest["sample_ids"]) == 4


def test_folder_without_images(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    outcome = bench(*short_run(tmp_path / "runs", extra=["--images", tmp_path / "empty"]))
    assert outcome.code == 1
    assert "empty" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_corrupt_image_fails_or_is_skipped_and_counted(bench: Bench, tmp_path: Path) -> None:
    folder = _photos(tmp_path / "mine")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"no pixels")
    base = ["--images", folder]
    outcome = bench(*short_run(tmp_path / "runs", limit=9, extra=base))
    assert outcome.code == 1
    assert "broken.png" in outcome.stderr
    assert "--on-bad-image skip" in outcome.stderr
    outcome = bench(*short_run(tmp_path / "runs", limit=9, extra=[*base, "--on-bad-image", "skip"]))
    assert outcome.code == 0, outcome.stderr
    manifest = json.loads((Path(outcome.json()["run_directory"]) / "manifest.json").read_text())
    assert [item["file"] for item in manifest["dataset"]["skipped"]] == ["broken.png"]


def test_run_in_progress_is_locked(bench: Bench, tmp_path: Path) -> None:
    arguments = short_run(tmp_path, limit=1)
    outcome = bench(*arguments)
    assert outcome.code == 0, outcome.stderr
    run = Path(outcome.json()["run_directory"])
    with FileLock(run / ".lock"):
        outcome = bench(*arguments)
    assert outcome.code == 1
    assert "another process" in outcome.stderr


def test_existing_policies_and_foreign_directories(bench: Bench, tmp_path: Path) -> None:
    arguments = short_run(tmp_path, limit=1)
    run = Path(bench(*arguments).json()["run_directory"])
    outcome = bench(*arguments, "--existing", "fail")
    assert outcome.code == 1
    assert "--existing overwrite" in outcome.stderr

    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["method_config"]["t0"] = 7
    path.write_text(json.dumps(manifest))
    outcome = bench(*arguments)
    assert outcome.code == 1
    assert "another config" in outcome.stderr
    assert "method_config" in outcome.stderr

    path.write_text(json.dumps({**manifest, "schema_version": 0}))
    outcome = bench(*arguments)
    assert outcome.code == 1
    assert "schema version 0" in outcome.stderr

    outcome = bench(*arguments, "--existing", "overwrite")
    assert outcome.code == 0, outcome.stderr


def test_other_chunk_size_is_refused_with_the_remedy(bench: Bench, tmp_path: Path) -> None:
    assert bench(*short_run(tmp_path, limit=1, batch_size=2)).code == 0
    outcome = bench(*short_run(tmp_path, limit=1, batch_size=1))
    assert outcome.code == 1
    assert "--batch-size 2" in outcome.stderr


def test_out_that_cannot_be_written(bench: Bench, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    outcome = bench(*short_run(blocker, limit=1))
    assert outcome.code == 1
    assert "cannot write" in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk_keeps_what_is_finished(bench: Bench, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False
    )
    # a full disk needs a small file system; root inside a container may not be allowed to make one,
    # and how a refused write is explained does not depend on where the suite runs
    if mounted.returncode:
        pytest.skip("the container does not allow mounting")
    try:
        outcome = bench(*short_run(disk, limit=3, batch_size=1))
        assert outcome.code == 1
        assert "no space left" in outcome.stderr
        assert "Traceback" not in outcome.stderr
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        outcome = bench(*short_run(disk, limit=3, batch_size=1))
        assert outcome.code == 0, outcome.stderr
        assert len(list((Path(outcome.json()["run_directory"]) / "images").iterdir())) == 6
    finally:
        subprocess.run(["umount", str(disk)], check=False)


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo pwned",)


def _plugin(folder: Path, code: str, entries: str) -> Path:
    """A third party's package: a module and an entry-points file on the import path."""
    (folder / "thirdparty.py").write_text(code)
    info = folder / "thirdparty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thirdparty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    return folder


BROKEN = '''
import torch
from benchmark.interface import Guidance, MethodCard, StyleTransferMethod

class NaNForOne(StyleTransferMethod):
    """Returns its input, with NaN for one of the two quick prompts."""
    card = MethodCard("broken", "none", None, ())
    guidance = frozenset({Guidance.TEXT})

    def stylize(self, batch, noise):
        out = batch.images.clone()
        for place, request in enumerate(batch.requests):
            if request.prompt_id == "golden":
                out[place] = float("nan")
        return out
'''


def test_nan_marks_the_sample_and_the_run_goes_on(bench: Bench, tmp_path: Path) -> None:
    site = _plugin(tmp_path, BROKEN, "[bench.methods]\nbroken = thirdparty:NaNForOne\n")
    outcome = bench(
        "run", "--method", "broken", "--dataset", "afhq", "--limit", "2", "--json",
        "--out", tmp_path / "runs", site=site,
    )  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    result = outcome.json()
    run = Path(result["run_directory"])
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["counts"] == {"ok": 2, "failed": 2}
    assert len(list((run / "images").iterdir())) == 2
    failed = result["summary"]["failed"]
    assert len(failed) == 2
    assert "non-finite" in failed[0]["reason"]


def test_compiling_without_a_compiler_names_it(bench: Bench, tmp_path: Path) -> None:
    outcome = bench(
        "run", "--method", "identity", "--dataset", "afhq", "--compile", "--out", tmp_path / "runs",
        env={"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kernels")},
    )  # fmt: skip
    assert outcome.code == 2, outcome.stderr
    said = " ".join(outcome.stderr.split())
    assert "--compile: PyTorch cannot compile for cpu here" in said and "CXX names another" in said
    assert "Traceback" not in said


def test_shadowed_package_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("")
    outcome = bench("list", "methods", env={"PYTHONPATH": str(tmp_path)})
    assert outcome.code == 2
    assert str(tmp_path / "data") in outcome.stderr


def test_pickle_with_code_is_refused(tmp_path: Path) -> None:
    from benchmark.errors import WeightsError
    from benchmark.zoo.loading import load_state

    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"w": _Payload()}))
    with pytest.raises(WeightsError, match=r"system|code"):
        load_state(path)
