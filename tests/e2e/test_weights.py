"""``bench weights`` as a user behind a proxy runs it, against the registry's own addresses.

The proxy of these tests opens TLS with a CA of its own and plays every host, so no request leaves
the machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import re
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmark.zoo.download import CHUNK
from benchmark.zoo.registry import MINI_WEIGHTS, model_card, model_ids
from benchmark.zoo.weights_lock import LOCK_FILE
from tests.e2e.conftest import BENCH, Bench, Outcome, _Starter
from tests.e2e.preloaded import run_command
from tests.file_server import FileServer, Resource

DRIVE = "drive.usercontent.google.com/download?id={}&export=download"
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
UNREACHABLE = "http://127.0.0.1:9"


def as_pth(name: str) -> bytes:
    """A shipped model in the form in which official ones are published."""
    buffer = io.BytesIO()
    torch.save(load_file(MINI_WEIGHTS / name), buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def decoder() -> bytes:
    """A file that loads as a decoder of AdaIN."""
    return as_pth("adain-decoder.safetensors")


@pytest.fixture
def proxy() -> Iterator[FileServer]:
    with FileServer().running() as server:
        yield server


@pytest.fixture
def proxied(proxy: FileServer, bench_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The environment of somebody whose only way out is the proxy."""
    bundle = tmp_path / "ca.pem"
    proxy.authority.cert_pem.write_to_path(str(bundle))
    env = {key: value for key, value in bench_env.items() if key not in CA_VARIABLES}
    env |= {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": UNREACHABLE, "NO_PROXY": ""}
    return env | {"REQUESTS_CA_BUNDLE": str(bundle)}


@pytest.fixture
def weights(proxied: dict[str, str], tmp_path: Path) -> Callable[..., Outcome]:
    """``bench weights`` behind the proxy, with a weights folder of its own."""

    def run(*args: str | Path, **env: str) -> Outcome:
        full = {key: value for key, value in {**proxied, **env}.items() if value}
        return _Starter(full)("weights", *args, "--weights-dir", tmp_path / "weights")

    return run


def test_from_a_mirror_through_the_proxy_to_a_loaded_model(
    weights: Callable[..., Outcome], proxy: FileServer, tmp_path: Path, decoder: bytes
) -> None:
    """The first address is gone, the second is a page of Google Drive with a virus warning."""
    confirmed = DRIVE.format("1w9r1NoYnn7tql1VYG3qDUzkbIks24RBQ")
    proxy.resources[confirmed] = Resource(b"<!DOCTYPE html><title>Virus scan warning</title>")
    proxy.resources[f"{confirmed}&confirm=t"] = Resource(decoder)
    outcome = weights("fetch", "adain-decoder")
    assert outcome.code == 0, outcome.stderr
    digest = hashlib.sha256(decoder).hexdigest()
    assert f"SHA-256 {digest} was recorded" in outcome.stdout
    assert "HTTP 404" in outcome.stderr
    assert "trying the next address" in outcome.stderr
    path = tmp_path / "weights" / "decoder.pth"
    assert path.read_bytes() == decoder
    lock = json.loads((path.parent / LOCK_FILE).read_text())
    assert lock["models"]["adain-decoder"]["sha256"] == digest

    checked = weights("verify", "--load", "--json", "adain-decoder", "mini-vgg")
    assert checked.code == 0, checked.stderr
    found = [(row["id"], row["status"]) for row in checked.json()]
    assert found == [("adain-decoder", "locked, loads"), ("mini-vgg", "verified, loads")]

    path.write_bytes(decoder[:-1] + b"?")
    refused = weights("verify", "adain-decoder")
    assert refused.code == 1
    for words in (digest, hashlib.sha256(path.read_bytes()).hexdigest(), LOCK_FILE):
        assert words in refused.stderr
    assert weights("fetch", "adain-decoder").code == 0
    assert path.read_bytes() == decoder
    assert path.with_name("decoder.pth.bad").is_file()


def test_ssl_cert_file_is_honoured(
    weights: Callable[..., Outcome], proxied: dict[str, str], proxy: FileServer, decoder: bytes
) -> None:
    path = "github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0/decoder.pth"
    proxy.resources[path] = Resource(redirect="https://objects.example.org/decoder")
    proxy.resources["objects.example.org/decoder"] = Resource(decoder)
    bundle = proxied["REQUESTS_CA_BUNDLE"]
    outcome = weights("fetch", "adain-decoder", REQUESTS_CA_BUNDLE="", SSL_CERT_FILE=bundle)
    assert outcome.code == 0, outcome.stderr


def test_an_unknown_certificate_is_not_trusted(
    weights: Callable[..., Outcome], proxy: FileServer, decoder: bytes
) -> None:
    outcome = weights("fetch", "adain-decoder", REQUESTS_CA_BUNDLE="")
    assert outcome.code == 1
    assert "its certificate is not trusted" in outcome.stderr
    assert "REQUESTS_CA_BUNDLE" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_redirect_out_of_tls_is_refused(
    weights: Callable[..., Outcome], proxy: FileServer, decoder: bytes
) -> None:
    proxy.resources |= {
        "github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0/decoder.pth": Resource(
            redirect="http://objects.example.org/decoder"
        ),
        "http://objects.example.org/decoder": Resource(decoder),
    }
    outcome = weights("fetch", "adain-decoder", HTTP_PROXY=proxy.url)
    assert outcome.code == 1
    assert "redirects from https to http" in outcome.stderr


def test_a_quota_page_of_google_drive(
    weights: Callable[..., Outcome], proxy: FileServer, tmp_path: Path
) -> None:
    address = DRIVE.format("1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO") + "&confirm=t"
    proxy.resources[address] = Resource(
        b"<html><title>Google Drive - Quota exceeded</title></html>"
    )
    outcome = weights("fetch", "stylegan2-ffhq-256", "--json")
    assert outcome.code == 1
    (row,) = outcome.json()
    assert row["status"] == "failed"
    for words in (
        "a web page", "https://drive.google.com/file/d/1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO/view",
        "bench weights add stylegan2-ffhq-256 FILE --weights-dir",
    ):  # fmt: skip
        assert words in outcome.stderr
        assert words in row["problem"]
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [".550000.pt.lock"]


def test_a_command_that_was_killed_is_continued(
    weights: Callable[..., Outcome], proxied: dict[str, str], proxy: FileServer, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.arange(100_000)}, buffer)
    body = buffer.getvalue()
    address = "github.com/naoto0804/pytorch-AdaIN/releases/download/v0.0.0/decoder.pth"
    proxy.resources[address] = Resource(body, cuts=[CHUNK], seconds=8)
    part = tmp_path / "weights" / "decoder.pth.part"
    words = [*BENCH, "weights", "fetch", "adain-decoder", "--weights-dir", str(part.parent)]
    process = multiprocessing.get_context("forkserver").Process(
        target=run_command,
        args=(words, proxied, str(tmp_path / "out"), str(tmp_path / "err"), str(tmp_path)),
    )
    process.start()
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size == CHUNK):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    listed = {row["id"]: row for row in weights("list", "--json").json()}
    assert listed["adain-decoder"]["state"] == "unfinished (65.5 kB)"
    proxy.resources[address].seconds = 0
    outcome = weights("fetch", "adain-decoder")
    assert outcome.code == 0, outcome.stderr
    assert part.with_suffix("").read_bytes() == body
    assert proxy.sent == len(body)


def test_a_dry_run_adds_up_and_asks_no_server(
    weights: Callable[..., Outcome], proxy: FileServer, tmp_path: Path
) -> None:
    names = ["facenet-vggface2", "inception-fid", "vgg19-imagenet", "adain-decoder", "mini-unet"]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "vgg19-dcbb9e9d.pth.part").write_bytes(b"x" * 673_361)
    plan = weights("fetch", *names, "--dry-run", "--json").json()
    assert plan["bytes"] == 111_898_327 + 95_628_359 + 574_000_000
    assert plan["of_unknown_size"] == 1
    assert [row["id"] for row in plan["models"]] == names[:-1]
    shown = weights("fetch", *names, "--dry-run").stdout
    assert "total  781.5 MB (781,526,686 bytes) and 1 of unknown size" in shown
    assert "part of the package: mini-unet" in shown
    assert not proxy.requests


def test_what_a_run_needs(weights: Callable[..., Outcome], proxy: FileServer) -> None:
    """All of the mini protocol ships."""
    everything = weights("fetch", "--protocol", "mini-64-v1")
    needed = weights("fetch", "--method", "ours")
    assert (everything.code, needed.code) == (0, 0)
    assert "mini-unet" in needed.stdout
    assert "mini-clip-score" in needed.stdout  # judges its outputs
    assert len(needed.stdout.split()) < len(everything.stdout.split())
    assert not proxy.requests


def test_all_that_is_there_is_verified(
    weights: Callable[..., Outcome], tmp_path: Path, decoder: bytes
) -> None:
    path = tmp_path / "weights" / "decoder.pth"
    path.parent.mkdir()
    path.write_bytes(decoder)
    shipped = {name: "verified" for name in model_ids() if model_card(name).ships}
    found = {row["id"]: row["status"] for row in weights("verify", "--json").json()}
    assert found == shipped | {"adain-decoder": "unpinned"}
    inception = path.with_name(model_card("inception-fid").file)
    inception.write_bytes(b"<html>")
    outcome = weights("verify")
    assert outcome.code == 1
    assert f"{inception} is a web page" in outcome.stderr


def test_adding_a_file(weights: Callable[..., Outcome], tmp_path: Path, decoder: bytes) -> None:
    mine = tmp_path / "my.pth"
    mine.write_bytes(decoder)
    wrong = weights("add", "inception-fid", mine)
    assert wrong.code == 1
    for words in (str(model_card("inception-fid").sha256), hashlib.sha256(decoder).hexdigest()):
        assert words in wrong.stderr
    other = weights("add", "vqgan-imagenet-f16-16384", mine)
    assert other.code == 1
    right = weights("add", "adain-decoder", mine, "--move")
    assert right.code == 0, right.stderr
    assert "was recorded" in right.stdout
    assert not mine.exists()
    assert (tmp_path / "weights" / "decoder.pth").read_bytes() == decoder


DOCUMENTATION = Path(__file__).parents[2] / "docs" / "weights.md"


def documented_commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("bench weights ")]


@pytest.mark.parametrize("command", documented_commands())
def test_the_documented_commands_work(
    bench: Bench, tmp_path: Path, decoder: bytes, command: str
) -> None:
    words = shlex.split(command, comments=True)[1:]
    if words[1] == "add":
        words[3] = str(tmp_path / "mine.pth")
        (tmp_path / "mine.pth").write_bytes(decoder)
    words += ["--dry-run"] if words[1] == "fetch" and "--dry-run" not in words else []
    outcome = bench(*words, "--weights-dir", tmp_path / "weights")
    assert outcome.code == 0, outcome.stderr


def test_paths_and_the_cache_variable(bench: Bench, bench_env: dict[str, str]) -> None:
    shown = bench("weights", "path", "vgg19-imagenet").stdout
    assert shown == f"{bench_env['STYLEBENCH_CACHE']}/weights/vgg19-dcbb9e9d.pth\n"
    listed = bench("weights", "list")
    assert listed.code == 0
    assert f"{bench_env['STYLEBENCH_CACHE']}/weights" in listed.stdout
    for name in model_ids():
        assert name in listed.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["fetch"], 2, "bench weights list"),
        (["fetch", "facenet"], 2, "Did you mean: facenet-vggface2"),
        (["fetch", "--protocol", "paper"], 2, "unknown protocol 'paper'"),
        (["fetch", "--method", "outs"], 2, "Did you mean: ours"),
        (["verify", "vgg19-imagenet"], 1, "bench weights fetch vgg19-imagenet"),
        (["add", "mini-unet", "no-such-file"], 2, "ships with the package"),
        (["add", "vgg19-imagenet", "no-such-file"], 1, "no-such-file does not exist"),
        (["path", "vgg-19"], 2, "unknown model 'vgg-19'"),
    ],
)
def test_mistakes(bench: Bench, words: list[str], code: int, message: str) -> None:
    outcome = bench("weights", *words)
    assert outcome.code == code
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_run_names_the_command_that_fetches_what_it_lacks(bench: Bench, tmp_path: Path) -> None:
    outcome = bench(
        "run", "--method", "ours", "--dataset", "afhq", "--limit", "1", "--out", tmp_path,
        "--guide", "clip-vit-b-32-openai",
    )  # fmt: skip
    assert outcome.code == 1
    assert "bench weights fetch clip-vit-b-32-openai\n" in outcome.stderr


def test_the_papers_protocol_names_what_it_needs_and_how_to_get_it(
    bench: Bench, tmp_path: Path
) -> None:
    plan = bench("weights", "fetch", "--protocol", "paper-256-v1", "--method", "ours",
                 "--dry-run", "--weights-dir", tmp_path)  # fmt: skip
    assert plan.code == 0, plan.stderr
    for model in ("adm-imagenet-256-uncond", "ilvr-afhq-dog-256", "clip-vit-b-16-openai"):
        assert model in plan.stdout
    assert "vqgan" not in plan.stdout
    run = bench("run", "--protocol", "paper-256-v1", "--method", "ours", "--dataset", "afhq",
                "--weights-dir", tmp_path, "--out", tmp_path / "runs")  # fmt: skip
    assert run.code == 1 and "Traceback" not in run.stderr
    assert "bench weights fetch clip-vit-b-16-openai" in " ".join(run.stderr.split())
    assert not (tmp_path / "runs").exists()
