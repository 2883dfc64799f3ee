"""Images of a dataset on the Hugging Face hub, at a pinned revision, and only the wanted rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Any

from benchmark.errors import DataError
from data.cards import FixedRows, HubLocation, KeyedRows
from data.decode import BadImageError
from data.hub_http import HubClient
from data.hub_layouts import FilesLayout, Layout, StreamLayout
from data.hub_parquet import ParquetLayout
from data.hub_retry import TRANSIENT, Attempts, Retry
from data.sources import Entry, Source, Stream

log = logging.getLogger(__name__)


class HubSource(Source):
    """Rows of a split on the hub, in the order of the split; their ids are the row numbers.

    Nothing is asked of the hub before entries or bytes are.

    Args:
        location: the repository, its pinned revision, split and columns.
        samples: which rows.
        mirrors: where else the dataset lies, for messages.
        retry: bounds of tries and waits.
    """

    name = "hub"
    pinned = True
    remote = True

    def __init__(
        self, location: HubLocation, samples: FixedRows | KeyedRows,
        mirrors: Sequence[str] = (), retry: Retry | None = None,
    ) -> None:  # fmt: skip
        self._location, self._samples = location, samples
        self._mirrors, self._retry = mirrors, retry or Retry()
        self._commit: str | None = None
        self._opened: Layout | None = None

    def identity(self) -> dict[str, Any]:
        facts = self._location.model_dump(mode="json", exclude={"gated"})
        return {**facts, "samples": self._samples.model_dump(mode="json")}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, **self.identity()}

    def origin(self, ids: Sequence[str]) -> dict[str, Any]:
        return {"commit": self._commit, "rows": [_row(image_id) for image_id in ids]}

    def restore(self, origin: dict[str, Any]) -> None:
        self._commit = origin.get("commit")

    def entries(self) -> Sequence[Entry]:
        rows = self._rows(self._layout())
        return [Entry(f"row-{row:06d}", f"{self._location.id} row {row}") for row in rows]

    def _rows(self, layout: Layout) -> Sequence[int]:
        if isinstance(self._samples, FixedRows):
            return self._samples.rows
        rows = list(islice(layout.fitting(), self._samples.of))
        label = self._location.label
        words = "" if label is None else f" whose {label.column} is {label.value!r}"
        split = f"{self._location.id}: the split {self._location.split!r}"
        if not rows:
            raise DataError(f"{split} has no rows{words}")
        if len(rows) < self._samples.of:
            raise DataError(
                f"{split} has {len(rows)} rows{words}, and the sample list is drawn from the first "
                f"{self._samples.of}. This is not the split that the card was written for."
            )
        return self._samples.draw(rows)

    def read(self, entry: Entry) -> bytes:
        [(_, data)] = self.stream([entry])
        if isinstance(data, BadImageError):
            raise data
        return data

    def stream(self, entries: Sequence[Entry]) -> Stream:
        by_row = {_row(entry.id): entry for entry in entries}
        for row, data in self._layout().read(list(by_row)):
            yield by_row[row], data

    def _layout(self) -> Layout:
        if self._opened is None:
            client = HubClient(self._location.id, self._retry, self._mirrors)
            pinned = self._location.revision
            if pinned is None and self._commit is None:
                log.warning(
                    "%s: the card pins no revision; the hub's newest is taken and recorded",
                    self._location.id,
                )
            self._commit = client.commit(self._commit or pinned)
            self._opened = self._find(client, self._commit)
        return self._opened

    def _find(self, client: HubClient, commit: str) -> Layout:
        builder = _builder(client, commit, self._location.config)
        files = builder.config.data_files or {}
        split = self._location.split
        if split not in files:
            raise DataError(
                f"{self._location.id} has no split {split!r}, but {', '.join(map(str, files))}"
            )
        prefix = f"hf://datasets/{self._location.id}@{commit}/"
        if all(str(file).startswith(prefix) for file in files[split]):
            paths = [str(file).removeprefix(prefix) for file in files[split]]
            if all(path.endswith(".parquet") for path in paths):
                label = self._location.label
                feature = (builder.info.features or {}).get(label.column) if label else None
                return ParquetLayout(
                    client, commit, self._location, paths, getattr(feature, "names", None)
                )
            if ".imagefolder." in type(builder).__module__:
                return FilesLayout(client, commit, self._location, paths)
        return StreamLayout(self._location, builder)


def _row(image_id: str) -> int:
    return int(image_id.removeprefix("row-"))


def _builder(client: HubClient, commit: str, config: str | None) -> Any:
    """What ``datasets`` makes of a repository: its format, and the files of every split."""
    import datasets

    datasets.disable_progress_bars()
    attempts = Attempts(client.retry, f"{client.name}: its files")
    while True:
        try:
            return datasets.load_dataset_builder(
                client.name, name=config, revision=commit, token=client.token
            )
        except Exception as error:  # whatever the library's parsers and HTTP raise is reported
            passing = _passing(error)
            if passing is None:
                reason = " ".join(str(error).split())[:200]
                raise DataError(
                    f"{client.name}: datasets {datasets.__version__} cannot read the repository at "
                    f"{commit[:12]} ({type(error).__name__}: {reason})"
                ) from error
            attempts.failed(passing)


def _passing(error: BaseException | None) -> str | None:
    """Why something failed that may work the next time; None if it will not."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in TRANSIENT:
            return f"the server answers {status}"
        name = type(error).__name__
        if isinstance(error, ConnectionError | TimeoutError) or name in {
            "ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "RemoteProtocolError",
        }:  # fmt: skip
            return f"the connection failed ({name})"
        error = error.__cause__ or error.__context__
    return None
