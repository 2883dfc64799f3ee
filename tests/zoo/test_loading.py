"""Every way a checkpoint can be wrong ends in a message that names it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.diffusion.unet import UNet, UNetConfig
from benchmark.errors import WeightsError
from benchmark.zoo.checkpoint_file import file_sha256, verify_file
from benchmark.zoo.loading import load_state, load_strictly
from benchmark.zoo.registry import ModelCard

TINY = UNetConfig(
    image_size=16, model_channels=32, channel_mult=(1, 1), num_res_blocks=1,
    attention_resolutions=(8,), num_head_channels=32,
)  # fmt: skip


def tiny_unet(**changes: object) -> UNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(TINY.model_copy(update=changes))


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {key: value.clone() for key, value in tiny_unet().state_dict().items()}


@pytest.mark.parametrize("legacy", [False, True])
def test_official_format_round_trip(tmp_path: Path, state: dict[str, Tensor], legacy: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    loaded = load_state(path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_half_precision_safetensors_fill_a_float32_model(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({key: value.half() for key, value in state.items()}, path)
    model = tiny_unet()
    load_strictly(model, load_state(path), "a tiny U-Net")
    for key, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[key].half().float())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        load_state(tmp_path / "none.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_file(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    whole = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(WeightsError, match="truncated"):
            load_state(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n <!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "web page"),
        (b"<html><body>404</body></html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"", "is empty"),
        (b"GIF89a....", "unknown file type"),
    ],
)
def test_other_content_under_a_checkpoint_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        load_state(path)
    assert str(path) in str(caught.value)


class Payload:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_bare_pickle_with_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"w": Payload(mark)}, protocol=protocol))
    with pytest.raises(WeightsError) as caught:
        load_state(path)
    assert not mark.exists()
    if protocol >= 2:
        assert "code in it" in str(caught.value)
        assert "posix.system" in str(caught.value)


def test_torch_archive_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "model.pt", tmp_path / "ran"
    torch.save({"w": torch.zeros(2), "hook": Payload(mark)}, path)
    with pytest.raises(WeightsError, match=r"code in it .*posix\.system"):
        load_state(path)
    assert not mark.exists()


def test_checkpoint_of_a_trainer_is_not_a_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(1)}, "epoch": 3}, path)
    with pytest.raises(WeightsError, match="state_dict, epoch hold no tensors"):
        load_state(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(WeightsError, match="holds a list"):
        load_state(path)


def mismatch(state: dict[str, Tensor], model: nn.Module | None = None) -> str:
    with pytest.raises(WeightsError) as caught:
        load_strictly(model or tiny_unet(), state, "a tiny U-Net")
    return str(caught.value)


def test_mismatch_counts_and_names(state: dict[str, Tensor]) -> None:
    del state["out.0.weight"]
    state["extra"] = torch.zeros(1)
    state["out.0.bias"] = torch.zeros(7)
    message = mismatch(state)
    for words in (
        "1 missing (out.0.weight)", "1 unexpected (extra)",
        "1 of another shape (out.0.bias (7,) instead of (32,))",
    ):  # fmt: skip
        assert words in message


def test_likely_causes(state: dict[str, Tensor]) -> None:
    wrapped = {f"module.{key}": value for key, value in state.items()}
    assert "every name begins with 'module.'" in mismatch(wrapped)
    assert "another kind of model" in mismatch({"features.0.weight": torch.zeros(1)})
    assert "checkpoint is unconditional" in mismatch(state, tiny_unet(num_classes=3))
    labelled = tiny_unet(num_classes=3).state_dict()
    assert "checkpoint is class-conditional" in mismatch(labelled)
    wide = tiny_unet(model_channels=64).state_dict()
    assert "another width" in mismatch(wide)


def test_a_refused_state_leaves_the_model_as_it_was(state: dict[str, Tensor]) -> None:
    model = tiny_unet()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    changed = {key: value + 1 for key, value in state.items()}
    changed["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError):
        load_strictly(model, changed, "a tiny U-Net")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def card(**changes: object) -> ModelCard:
    facts = {
        "id": "some-model", "kind": "unet", "title": "Some model", "file": "some.pt",
        "licence": "MIT", "source": "nowhere", "urls": ["https://example.org/some.pt"],
        "sha256": "0" * 64,
    }  # fmt: skip
    return ModelCard.model_validate(facts | changes)


def test_missing_checkpoint_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "some.pt"
    with pytest.raises(WeightsError) as caught:
        verify_file(card(), path)
    for words in (
        "'some-model'", f"place the file at {path}", "https://example.org/some.pt", "0" * 64,
        f"bench weights fetch some-model --weights-dir {tmp_path}\n", "MIT",
        f"bench weights add some-model FILE --weights-dir {tmp_path}\n",
    ):  # fmt: skip
        assert words in str(caught.value)


def test_no_fetch_command_where_no_address_is_known(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        verify_file(card(urls=[]), tmp_path / "some.pt")
    assert "bench weights add" in str(caught.value)
    assert "bench weights fetch" not in str(caught.value)


def test_missing_shipped_model_asks_for_a_reinstall(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="reinstall stylebench"):
        verify_file(card(ships=True), tmp_path / "some.pt")


def test_hashes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "some.pt"
    torch.save(state, path)
    found = file_sha256(path)
    assert verify_file(card(sha256=found), path) == found
    assert verify_file(card(sha256=None), path) == found
    with pytest.raises(WeightsError, match=f"(?s)expected SHA-256 {'0' * 64}.*found .*{found}"):
        verify_file(card(), path)
    with pytest.raises(WeightsError, match=r"truncated: .* instead of 999,999,999"):
        verify_file(card(bytes=999_999_999), path)
    path.write_bytes(b"<!doctype html>")
    with pytest.raises(WeightsError, match="web page"):
        verify_file(card(bytes=999_999_999), path)
