"""What a person sees while checkpoints are fetched, on stderr."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class TerminalWatcher:
    """Shows a download as a bar on stderr."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}
        self._task = TaskID(0)

    def __enter__(self) -> TerminalWatcher:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._progress.stop()

    def begin(self, name: str, done: int, total: int | None) -> None:
        """A download begins, goes on or starts over."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._task = self._tasks[name]
        self._progress.update(self._task, completed=done, total=total)

    def advance(self, count: int) -> None:
        """More bytes are there."""
        self._progress.advance(self._task, count)

    def tell(self, text: str) -> None:
        """One message above the bars."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)
