"""The cache of what a content image alone decides: exact, bounded, and honest about time."""

from __future__ import annotations

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.guidance.query_attention import Routing
from benchmark.interface import StyleBatch, StyleRequest
from benchmark.noise import NoiseSource
from benchmark.ours import QSAttnStyleTransfer
from benchmark.ours_config import QSAttnConfig
from benchmark.source_cache import (
    SourceCache,
    fingerprint,
    owed_seconds,
    precision_of,
    shared_cache,
)
from tests.tiny_zoo import TinyZoo

SHORT = {
    "respacing": 6, "t0": 3, "n_patches": 2, "anchors": 8, "attention_from": 3,
    "clip_global_patch": 10.0, "clip_dir_patch": 20.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def zoo() -> TinyZoo:
    return TinyZoo()


def _batch(name: str = "a", prompt: str = "Golden") -> StyleBatch:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(ord(name))) * 2 - 1
    return StyleBatch(images, (StyleRequest(f"{name}__p", name, "dogs", "p", prompt),))


def _output(zoo: TinyZoo, batch: StyleBatch, cache: SourceCache | None, **changes: object) -> bytes:
    method = QSAttnStyleTransfer(QSAttnConfig.model_validate({**SHORT, **changes}))
    method.prepare(zoo)  # type: ignore[arg-type]
    noise = NoiseSource(0, batch.sample_ids, "cpu")
    if cache is None:
        return method.stylize(batch, noise).numpy().tobytes()
    with cache.shared():
        return method.stylize(batch, noise).numpy().tobytes()


def test_runs_that_share_give_the_bytes_of_runs_that_do_not(zoo: TinyZoo) -> None:
    cache = SourceCache(2**26)
    for changes in ({}, {"clip_dir_patch": 5.0}, {"attention": "local"}, {"respacing": 9}, {}):
        for name in "ab":
            alone = _output(zoo, _batch(name), None, **changes)
            assert _output(zoo, _batch(name), cache, **changes) == alone, (changes, name)
    assert cache.found["inversion"] and cache.found["features"] and cache.found["selection"]


def test_only_what_a_key_touches_is_made_again(zoo: TinyZoo) -> None:
    cache = SourceCache(2**26)

    def made(**changes: object) -> dict[str, int]:
        before = cache.computed.copy()
        _output(zoo, _batch(), cache, **changes)
        return dict(cache.computed - before)

    assert made() == {"inversion": 1, "features": 1, "selection": 1}
    assert made(clip_dir_patch=1.0) == {}
    assert made(mse=1.0, n_patches=3, reverse_process="ddim", eta=0.5) == {}
    assert made(respacing=7) == {"inversion": 1}
    assert made(t0=2) == {"inversion": 1}
    assert made(inversion="upstream") == {"inversion": 1}
    assert made(attention="global") == {"selection": 1}
    assert made(anchors=4) == {"selection": 1}
    assert made(encoder_blocks=(0, 2)) == {"features": 1, "selection": 1}
    assert made(forward_process="ddpm") == {}
    _output(zoo, _batch("b"), cache)
    assert cache.computed["inversion"] == 5


def test_class_precision_and_weights_are_part_of_the_key() -> None:
    classes = TinyZoo(classes=["dogs", "faces"])
    cache = SourceCache(2**26)
    request = StyleRequest("a__p", "a", "faces", "p", "Golden")
    outputs = {
        _output(classes, _batch(), cache),
        _output(classes, StyleBatch(_batch().images, (request,)), cache),
    }
    assert len(outputs) == 2
    assert cache.computed["inversion"] == 2
    with torch.autocast("cpu", torch.bfloat16):
        _output(classes, _batch(), cache)
        assert precision_of(torch.device("cpu")) == "torch.bfloat16"
    assert cache.computed["inversion"] == 3

    class Retrained(TinyZoo):
        def verified_hashes(self, roles: object) -> dict[str, dict[str, str]]:  # type: ignore[override]
            return {"denoiser": {"sha256": "other"}}

    _output(Retrained(classes=["dogs", "faces"]), _batch(), cache)
    assert cache.computed["inversion"] == 4


def test_the_fingerprint_sees_every_bit_and_the_layout() -> None:
    image = torch.zeros(1, 3, 4, 4)
    changed = image.clone()
    changed[0, 2, 3, 3] = -0.0
    same = {fingerprint(image), fingerprint(image.clone())}
    others = {
        fingerprint(changed), fingerprint(image.view(1, 3, 2, 8)), fingerprint(image.double()),
        fingerprint(image.to(memory_format=torch.channels_last)),
    }  # fmt: skip
    assert len(same) == 1
    assert len(same | others) == 5


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8)), min_size=1, max_size=30),
)
def test_it_stays_within_its_bytes_and_never_gives_a_wrong_thing(
    floats: int, asked: list[tuple[int, int]]
) -> None:
    cache = SourceCache(4 * floats, largest=4 * floats)
    for name, size in asked:
        found = cache.get("thing", (name, size), lambda n=name, s=size: torch.full((s,), float(n)))
        assert found.tolist() == [float(name)] * size
        assert cache.n_bytes <= 4 * floats
    assert cache.computed["thing"] + cache.found["thing"] == len(asked)


def test_the_least_recently_used_goes_first() -> None:
    cache = SourceCache(3 * 4, largest=4)
    for name in ("a", "b", "c", "a", "d", "a", "b"):
        cache.get("thing", name, lambda: torch.zeros(1))
    assert cache.computed["thing"] == 5  # a, b, c, d; b again, which d had pushed out


def test_one_large_thing_does_not_push_out_the_small_ones() -> None:
    cache = SourceCache(16 * 40)
    for _ in range(2):
        cache.get("inversion", "a", lambda: torch.zeros(10))
        cache.get("features", "a", lambda: torch.zeros(11))
    assert cache.computed == {"inversion": 1, "features": 2}


def test_bytes_of_nested_things_count_each_storage_once() -> None:
    cache = SourceCache(10**6)
    whole = torch.zeros(10, 10)
    routing = Routing(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, 16))
    cache.get("thing", 0, lambda: (whole, whole[0], [routing, None]))
    assert cache.n_bytes == 400 + 4 * 8 + 64 * 4


def test_a_run_owes_the_time_of_what_an_earlier_run_made_once() -> None:
    cache = SourceCache(10**6)

    def slow() -> torch.Tensor:
        time.sleep(0.05)
        return torch.zeros(1)

    assert shared_cache() is None
    assert owed_seconds() == 0.0
    with cache.shared():
        cache.get("thing", 0, slow)
        cache.get("thing", 0, slow)
        assert owed_seconds() == 0.0  # the run that made it has spent it already
    with cache.shared():
        cache.get("thing", 0, slow)
        cache.get("thing", 0, slow)
        assert 0.05 <= owed_seconds() < 0.1
    assert shared_cache() is None
