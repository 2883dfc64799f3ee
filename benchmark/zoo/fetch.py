"""A checkpoint from the addresses in its card into the weights folder."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import UsageError, WeightsError
from benchmark.zoo.answers import AddressError
from benchmark.zoo.checkpoint_file import file_sha256, folder_option, verify_file
from benchmark.zoo.download import (
    Patience,
    Watcher,
    discard,
    download,
    open_session,
    partial_path,
)
from benchmark.zoo.drive import by_hand, download_address
from benchmark.zoo.registry import ModelCard
from benchmark.zoo.weights_folder import (
    Obtained,
    held,
    obtained,
    require_obtainable,
    require_room,
    require_whole,
    set_aside,
)
from benchmark.zoo.weights_lock import LOCK_FILE, known_bytes, recorded


def fetch(
    card: ModelCard, folder: Path, watcher: Watcher, patience: Patience | None = None
) -> Obtained:
    """Put a checkpoint into the weights folder, verified; nothing is fetched if it is there.

    The addresses of the card are tried in order. Of several processes that want the same file one
    fetches it and the others wait. A file with the wrong hash is kept aside as ``<file>.bad``.

    Args:
        card: of a model that does not ship.
        folder: the weights folder; made if need be.
        watcher: is told how it goes on.
        patience: with each address.

    Raises:
        UsageError: the model ships with the package, or no address of it is known.
        WeightsError: no address gives the right file (with what each one answered), or the folder
            cannot take it.
    """
    require_obtainable(card)
    if not card.urls:
        raise UsageError(
            f"no address of the model {card.id!r} is known: place the file yourself with bench "
            f"weights add {card.id} FILE{folder_option(folder)}"
        )
    path = card.path(folder)
    with held(card, folder, watcher):
        if path.is_file():
            try:
                return obtained(card, path, "present", verify_file(card, path))
            except WeightsError as error:
                watcher.tell(f"{error}\n{set_aside(path, path)}")
        part = partial_path(path)
        size = known_bytes(card, folder)
        require_room(folder, card.file, (size or 0) - _size(part))
        return _from_addresses(card, path, part, size, watcher, patience or Patience())


def _from_addresses(
    card: ModelCard, path: Path, part: Path, size: int | None, watcher: Watcher, patience: Patience
) -> Obtained:
    failures = []
    with open_session() as session:
        for number, address in enumerate(map(str, card.urls), start=1):
            url = download_address(address)
            try:
                download(
                    session, url, part, expected_bytes=size, patience=patience, watcher=watcher
                )
                digest = _accept(card, part, path)
            except AddressError as error:
                failures.append(f"  {address}\n    {error}{by_hand(address)}")
                if number < len(card.urls):
                    watcher.tell(f"{card.id}: {address}: {error}; trying the next address")
                continue
            return obtained(card, path, "fetched", digest, source=address)
    raise WeightsError(
        f"the model {card.id!r} could not be fetched:\n" + "\n".join(failures) + "\n"
        f"If you have the file: bench weights add {card.id} FILE{folder_option(path.parent)}"
    )


def _accept(card: ModelCard, part: Path, path: Path) -> str:
    """Give a whole ``.part`` its name if it is the right file; its SHA-256."""
    found = file_sha256(part)
    known = recorded(card, path.parent)
    expected = card.sha256 if card.sha256 is not None else known and known.sha256
    if expected is not None and found != expected:
        origin = "" if card.sha256 is not None else f" (recorded in {LOCK_FILE})"
        kept = set_aside(part, path)
        discard(part)
        raise AddressError(
            f"gives a file with the wrong hash.\n    expected SHA-256 {expected}{origin}\n"
            f"    found    SHA-256 {found}\n    {kept}"
        )
    if expected is None:
        try:
            require_whole(part)
        except WeightsError as error:
            discard(part)
            raise AddressError(f"gives a damaged file: {error}") from error
    part.replace(path)
    discard(part)
    return found


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
