"""Weights that a method tunes for a prompt: kept on disk, reused, and timed apart from sampling."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmark.cache import VARIABLE, cache_root
from benchmark.config import canonical_json
from benchmark.errors import WeightsError

log = logging.getLogger(__name__)

FORMAT = "stylebench-tuned/1"
Train = Callable[[], dict[str, Tensor]]

_clock: ContextVar[TuningClock | None] = ContextVar("tuning_clock", default=None)


class TuningClock:
    """What the fine-tunings asked for inside :meth:`active` cost.

    Attributes:
        spent: seconds that went into tuning, loading and waiting here and now; the time of
            sampling is the rest.
        trained: seconds of training by weights hash, whether it was done now or by an earlier run:
            weights out of the cache are not free.
    """

    def __init__(self) -> None:
        self.spent = 0.0
        self.trained: dict[str, float] = {}

    @contextmanager
    def active(self) -> Iterator[TuningClock]:
        """Collect the fine-tunings asked for inside."""
        token = _clock.set(self)
        try:
            yield self
        finally:
            _clock.reset(token)


class TunedWeights:
    """Fine-tuned weights of one method, cached under a hash of all that decides them.

    Files lie in ``<cache>/tuned/<method>/<hash>.safetensors``. Of several processes that want the
    same weights one trains and the others wait. The last weights asked for stay in memory.

    Args:
        method: registered name.
        version: of the training code; raise it with every change that moves the weights.
        folder: default: ``tuned`` in :func:`benchmark.cache.cache_root`.
    """

    def __init__(self, method: str, version: int, folder: Path | None = None) -> None:
        self.method = method
        self.version = version
        self.folder = (folder if folder is not None else cache_root() / "tuned") / method
        self._last: tuple[str, dict[str, Tensor], float] | None = None

    def key(self, facts: Mapping[str, Any]) -> str:
        """Hash (32 hex digits) of the method, its version and ``facts``."""
        whole = {"method": self.method, "version": self.version, "facts": dict(facts)}
        return hashlib.sha256(canonical_json(whole)).hexdigest()[:32]

    def get(self, facts: Mapping[str, Any], train: Train) -> dict[str, Tensor]:
        """The weights for ``facts``, from memory, from disk or by ``train()``.

        Args:
            facts: JSON-able: prompt, domain, every config value the training reads, the hashes of
                the models it starts from.
            train: makes the weights, CPU tensors by name; its random numbers come from a generator
                whose seed is one of the facts.

        Raises:
            WeightsError: a file of the cache is damaged or was written by another version, or the
            cache cannot be written.
        """
        start = time.perf_counter()
        key = self.key(facts)
        if self._last is None or self._last[0] != key:
            self._last = (key, *self._load_or_train(key, facts, train))
        _, state, trained = self._last
        clock = _clock.get()
        if clock is not None:
            clock.spent += time.perf_counter() - start
            clock.trained[f"{self.method}/{key}"] = trained
        return state

    def _load_or_train(
        self, key: str, facts: Mapping[str, Any], train: Train
    ) -> tuple[dict[str, Tensor], float]:
        path = self.folder / f"{key}.safetensors"
        with _explain_write_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f".{key}.lock")
            lock.acquire()
        try:
            if path.is_file():
                return _read(path, key)
            log.info("%s: tuning for %s", self.method, _words(facts))
            start = time.perf_counter()
            state = {name: value.detach().cpu().contiguous() for name, value in train().items()}
            seconds = time.perf_counter() - start
            log.info("%s: tuned in %.0f s, kept as %s", self.method, seconds, path)
            self._write(path, key, facts, state, seconds)
            return state, seconds
        finally:
            lock.release()

    def _write(
        self, path: Path, key: str, facts: Mapping[str, Any], state: dict[str, Tensor],
        seconds: float,
    ) -> None:  # fmt: skip
        about = {
            "format": FORMAT,
            "key": key,
            "facts": json.dumps(dict(facts), sort_keys=True),
            "seconds": repr(seconds),
            "content": _content_hash(state),
        }
        partial = path.with_name(f".{path.stem}.part")
        with _explain_write_errors(path):
            save_file(state, partial, metadata=about)
            partial.replace(path)


@contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"tuned weights cannot be kept as {path}: {error}. Make room or set ${VARIABLE} to "
            f"another folder."
        ) from error


def _read(path: Path, key: str) -> tuple[dict[str, Tensor], float]:
    remedy = "Delete the file; the weights will be tuned again."
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is truncated or damaged ({error}). {remedy}") from error
    if about.get("format") != FORMAT:
        raise WeightsError(
            f"{path} was written in the format {about.get('format', 'of no known version')!r}, "
            f"this version of stylebench reads {FORMAT!r}. {remedy}"
        )
    try:
        seconds = float(about["seconds"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path} does not say how long it was tuned. {remedy}") from error
    if about.get("key") != key or about.get("content") != _content_hash(state):
        raise WeightsError(f"{path} does not hold the weights it was written with. {remedy}")
    return state, seconds


def _content_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _words(facts: Mapping[str, Any]) -> str:
    named = [str(facts[name]) for name in ("prompt", "domain") if facts.get(name)]
    return " / ".join(named) if named else "this run"
