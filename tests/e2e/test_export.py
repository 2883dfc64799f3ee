"""``bench export`` as a command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Bench
from tests.runs import picture, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_run(tmp_path_factory.mktemp("runs"))
    Image.fromarray(picture("sheet", 96)).save(path / "contact-sheet.png")
    return path


def test_dataset_folder(bench: Bench, run: Path, tmp_path: Path) -> None:
    outcome = bench("export", run, "--format", "hf", "--out", tmp_path / "hf", "--json")
    assert outcome.code == 0, outcome.stderr
    (entry,) = outcome.json()
    assert entry["out"] == str(tmp_path / "hf") and entry["config_hash"] == run.name
    assert all(Path(path).is_file() for path in entry["files"])
    found = datasets.load_dataset(entry["out"], split="test", cache_dir=str(tmp_path / "cache"))
    assert len(found) == entry["samples"]["ok"] == 8
    with Image.open(run / "images" / f"{found[0]['sample_id']}.png") as stored:
        assert np.array_equal(np.asarray(found[0]["output_image"]), np.asarray(stored))
    again = bench("export", run, "--format", "csv", "--out", tmp_path / "hf")
    assert again.code == 1 and "--existing overwrite" in again.stderr
    over = bench("export", run, "--format", "csv", "--out", tmp_path / "hf",
                 "--existing", "overwrite")  # fmt: skip
    assert over.code == 0, over.stderr
    assert str(tmp_path / "hf" / "samples.csv") in over.stdout.splitlines()


def test_wrong_usage(bench: Bench, run: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "out"]
    for arguments, code, words in (
        (["nowhere", "--format", "csv", *out], 2, "nowhere"),
        ([tmp_path, "--format", "csv", *out], 2, "there is no run"),
        ([run, "--format", "excel", *out], 2, "excel"),
        ([run, *out], 2, "--format"),
        ([run, "--format", "hf", "--limit-images", "3", *out], 2, "--limit-images"),
        ([run, "--format", "hf", "--out", run], 1, "did not write"),
    ):
        outcome = bench("export", *arguments)
        assert outcome.code == code, outcome.stderr
        assert words in outcome.stderr and "Traceback" not in outcome.stderr
        assert outcome.stdout == ""
        assert not list(tmp_path.iterdir())


WITHOUT_EXTRAS = """
import sys
sys.modules["tensorboard"] = sys.modules["wandb"] = None  # imports of them fail
from benchmark.cli import main
for name in ("tensorboard", "wandb", "csv"):
    sys.argv = ["bench", "export", sys.argv[-1], "--format", name, "--out", f"out/{name}",
                sys.argv[-1]]
    try:
        main()
    except SystemExit as stop:
        sys.stderr.write(f"{name} ended with {stop.code}\\n")
"""


def test_missing_extras_are_named_and_csv_needs_none(run: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, str(run)], cwd=tmp_path, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    for name in ("tensorboard", "wandb"):
        assert f"{name} ended with 2" in done.stderr, done.stderr
        assert f'pip install "stylebench[{name}]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert "csv ended with 0" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["csv"]


class Proxy:
    """Where every connection would go that a command makes; notes each."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.calls: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.calls.append(client.recv(200))
            client.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    found = Proxy()
    yield found
    found.close()


def records_of(path: Path) -> Iterator[bytes]:
    """Records of a W&B run file: a LevelDB log of 32 KiB blocks after a header of 7 bytes."""
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a full record, or its last part
            yield whole
            whole = b""


@pytest.mark.slow
def test_wandb_offline(bench: Bench, run: Path, tmp_path: Path, proxy: Proxy) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    out, home = tmp_path / "wandb", tmp_path / "home"
    home.mkdir()
    environment = {
        "HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "http_proxy": proxy.url,
        "https_proxy": proxy.url, "NO_PROXY": "", "no_proxy": "", "HOME": str(home),
        "WANDB_API_KEY": "", "WANDB_MODE": "",
    }  # fmt: skip
    outcome = bench("export", run, "--format", "wandb", "--out", out, "--limit-images", "2",
                    "--json", env=environment)  # fmt: skip
    assert outcome.code == 0, outcome.stderr
    assert proxy.calls == []
    assert not list(home.rglob("*.png")) and not (home / ".local").exists()
    (entry,) = outcome.json()
    (folder,) = map(Path, entry["files"])
    config: dict[str, str] = {}
    summary: dict[str, str] = {}
    for data in records_of(next(folder.glob("*.wandb"))):
        record = Record.FromString(data)
        config |= {item.key: item.value_json for item in record.config.update}
        summary |= {item.key: item.value_json for item in record.summary.update}
    assert json.loads(config["config_hash"]) == run.name
    stored = json.loads((run / "summary.json").read_text())["metrics"]
    for name, facts in stored.items():
        assert json.loads(summary[f"{name}/mean"]) == facts["mean"]
    # the table with two outputs and their sources, the sheet
    stored_bytes = {path.read_bytes() for path in (out / "artifacts").rglob("*") if path.is_file()}
    table = json.loads(next(data for data in stored_bytes if b'"column_types"' in data))
    assert len(table["data"]) == 8
    place = table["columns"].index("output_image")
    assert [row[place] is not None for row in table["data"]] == [True] * 2 + [False] * 6
    for name in ("image0000__golden", "image0000__red-bricks"):
        assert (run / "images" / f"{name}.png").read_bytes() in stored_bytes
    (sheet,) = folder.glob("files/media/images/contact-sheet*.png")
    with Image.open(sheet) as image:
        assert np.array_equal(np.asarray(image), picture("sheet", 96))


@pytest.mark.slow
def test_wandb_online_without_a_login_says_what_to_do(
    bench: Bench, run: Path, tmp_path: Path, proxy: Proxy
) -> None:
    pytest.importorskip("wandb")
    environment = {
        "WANDB_MODE": "online", "WANDB_API_KEY": "", "HOME": str(tmp_path),
        "HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url,
    }  # fmt: skip
    outcome = bench("export", run, "--format", "wandb", "--out", tmp_path / "out", env=environment)
    assert outcome.code == 2, outcome.stderr
    assert "wandb login" in outcome.stderr and "Traceback" not in outcome.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk(bench: Bench, run: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24k", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        # a container may forbid it; how a refused write is told does not depend on the machine
        pytest.skip("this system does not let root mount")
    try:
        outcome = bench("export", run, "--format", "hf", "--out", small / "out")
        assert outcome.code == 1, outcome.stderr
        assert "free some space" in outcome.stderr and "Traceback" not in outcome.stderr
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)
