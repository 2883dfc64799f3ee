"""File names of a site. They come from ids and indices, never from what a run calls itself."""

from __future__ import annotations

import hashlib

LONGEST = 100  # file systems take 255 bytes, archives and shares often less


def stem(identifier: str) -> str:
    """A file's name without its ending, for the id of a board or row.

    Ids hold only letters, digits and dashes; long ones are cut and told apart by a hash.
    """
    if len(identifier) <= LONGEST:
        return identifier
    digest = hashlib.sha256(identifier.encode()).hexdigest()[:12]
    return f"{identifier[: LONGEST - 13]}-{digest}"


def run_page(row_id: str) -> str:
    return f"runs/{stem(row_id)}.html"


def dataset_page(board_id: str) -> str:
    return f"datasets/{stem(board_id)}.html"


def gallery_page(board_id: str) -> str:
    return f"gallery/{stem(board_id)}.html"


def gallery_data(board_id: str) -> str:
    return f"data/{stem(board_id)}.js"


def manifest_copy(row_id: str) -> str:
    return f"manifests/{stem(row_id)}.json"


def outputs(row_id: str) -> str:
    return f"images/{stem(row_id)}"


def sources(board_id: str) -> str:
    return f"images/{stem(board_id)}-sources"


def thumbnails(folder: str) -> str:
    """Where the small copies of a folder of images lie."""
    return folder.replace("images/", "thumbs/", 1)


def image(index: int) -> str:
    """File of the sample or source with this index."""
    return f"{index:05d}.png"
