"""Photographs that installed dependencies ship; they are read where they lie, none is copied.

Only files inside the wheels are listed: other photographs of scikit-image are downloaded on use.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmark.errors import DataError


@dataclass(frozen=True)
class Photo:
    """A file of an installed package.

    Attributes:
        package: import name of the package.
        file: path inside it.
        sha256: of the file; another file under this name is refused.
        credit: author and terms.
    """

    package: str
    file: str
    sha256: str
    credit: str


PHOTOS: dict[str, Photo] = {
    "skimage/astronaut": Photo(
        "skimage", "data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "NASA (Eileen Collins), public domain",
    ),
    "skimage/chelsea": Photo(
        "skimage", "data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "Stefan van der Walt, CC0",
    ),
    "skimage/coffee": Photo(
        "skimage", "data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "Rachel Michetti, CC0",
    ),
    "skimage/motorcycle": Photo(
        "skimage", "data/motorcycle_left.png",
        "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "Middlebury Stereo Dataset 2014 (D. Scharstein et al.), public domain",
    ),
    "skimage/rocket": Photo(
        "skimage", "data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "SpaceX, public domain",
    ),
    "skimage/hubble_deep_field": Photo(
        "skimage", "data/hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "NASA, public domain",
    ),
    "sklearn/china.jpg": Photo(
        "sklearn", "datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "danielbuechele, CC BY 2.0",
    ),
    "sklearn/flower.jpg": Photo(
        "sklearn", "datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        "vultilion, CC BY 2.0",
    ),
    "matplotlib/grace_hopper.jpg": Photo(
        "matplotlib", "mpl-data/sample_data/grace_hopper.jpg",
        "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
        "James S. Davis, United States Navy, public domain",
    ),
}  # fmt: skip


def photo_bytes(name: str) -> bytes:
    """The file of a photograph, its hash verified.

    Raises:
        DataError: unknown name, package not installed, file absent, or another file.
    """
    if name not in PHOTOS:
        raise DataError(f"there is no photograph {name!r}; known: {', '.join(sorted(PHOTOS))}")
    photo = PHOTOS[name]
    # find_spec does not import the package: scikit-learn alone takes a second
    spec = find_spec(photo.package)
    if spec is None or spec.origin is None:
        raise DataError(
            f"the photograph {name!r} is read from the package {photo.package!r}, which is not "
            f"installed: reinstall stylebench with its dependencies"
        )
    path = Path(spec.origin).parent / photo.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"the photograph {name!r} cannot be read from {path} ({error.strerror}): reinstall "
            f"the package {photo.package!r}"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != photo.sha256:
        raise DataError(
            f"{path} is not the photograph {name!r} that methods are tuned on "
            f"(SHA-256 {found} instead of {photo.sha256}): install another version of "
            f"{photo.package!r}, or name a folder of your own (--set training_images=DIR)"
        )
    return data
