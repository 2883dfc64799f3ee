"""The network of the published FID: its graph against torchvision's, and which file it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import Inception3
from torchvision.models import inception as torchvision_inception

from benchmark.errors import DataError, WeightsError
from benchmark.metrics import inception
from benchmark.metrics.inception import CARD, FidInception
from benchmark.zoo.checkpoint_file import file_sha256


@pytest.fixture(scope="module")
def network() -> FidInception:
    """Random weights of a scale that keeps the deep features alive."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FidInception()
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
    model.eval().requires_grad_(False)
    return model


def test_the_checkpoint_has_the_tensors_of_the_published_one(network: FidInception) -> None:
    """94 convolutions with five tensors of their batch norm, and a classifier of 1008 classes."""
    state = network.state_dict()
    assert len(state) == 94 * 6 + 2 == 566
    assert state["fc.weight"].shape == (1008, 2048)
    assert not any("AuxLogits" in name for name in state)


@pytest.fixture
def means_without_padding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torchvision's own graph, pooling as TensorFlow's: a maximum in the last of its nine means."""
    mean = F.avg_pool2d
    calls = []

    def pool(x: Tensor, **options: int) -> Tensor:
        calls.append(options)
        assert options == {"kernel_size": 3, "stride": 1, "padding": 1}
        if len(calls) % 9 == 0:
            return F.max_pool2d(x, **options)
        return mean(x, **options, count_include_pad=False)

    monkeypatch.setattr(torchvision_inception.F, "avg_pool2d", pool)
    yield
    assert len(calls) == 9


def test_features_agree_with_torchvisions_graph_under_tensorflows_pooling(
    network: FidInception, photos: Tensor, request: pytest.FixtureRequest
) -> None:
    found = network.pooled(photos[:2])
    plain = Inception3(num_classes=1008, aux_logits=False, init_weights=False)
    plain.load_state_dict(network.state_dict())
    plain.eval()
    plain.fc = torch.nn.Identity()
    size = (299, 299)
    images = F.interpolate(photos[:2].float() / 127.5 - 1, size, mode="bilinear")
    with torch.no_grad():
        other = plain(images)
        request.getfixturevalue("means_without_padding")
        expected = plain(images)
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found - other).abs().max() > 0.01 * found.abs().max()


def test_the_card_pins_the_published_file() -> None:
    assert CARD.file.removesuffix(".pth").endswith(str(CARD.sha256)[:8])
    assert CARD.urls[0].path is not None and CARD.urls[0].path.endswith(CARD.file)


def test_a_missing_file_is_answered_with_the_place_and_the_hash(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not present") as caught:
        FidInception.from_weights_dir(tmp_path)
    for part in (str(tmp_path / CARD.file), str(CARD.sha256), str(CARD.urls[0]), "--weights-dir"):
        assert part in str(caught.value)


def test_only_the_pinned_file_is_taken(
    network: FidInception, photos: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / CARD.file
    torch.save(network.state_dict(), path)
    with pytest.raises(WeightsError, match=r"not the expected file|truncated"):
        FidInception.from_weights_dir(tmp_path)
    right_size = CARD.model_copy(update={"bytes": path.stat().st_size})
    monkeypatch.setattr(inception, "CARD", right_size)
    with pytest.raises(WeightsError, match=f"wrong hash.\n  expected SHA-256 {CARD.sha256}"):
        FidInception.from_weights_dir(tmp_path)
    # with its own hash pinned it loads, strictly and with the same features
    mine = right_size.model_copy(update={"sha256": file_sha256(path)})
    monkeypatch.setattr(inception, "CARD", mine)
    loaded = FidInception.from_weights_dir(tmp_path)
    assert torch.equal(loaded.pooled(photos[:1]), network.pooled(photos[:1]))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_float_images_are_refused(network: FidInception, photos: Tensor) -> None:
    with pytest.raises(DataError, match="metrics read stored pixels"):
        network.pooled(photos.float())
