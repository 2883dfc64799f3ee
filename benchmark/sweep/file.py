"""The file of a sweep: what is varied, and over which methods, datasets and seeds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmark import DEFAULT_PROTOCOL
from benchmark.errors import UsageError, unknown_name

MOST_RUNS = 10_000
Point = Mapping[str, Any]


class SweepFile(BaseModel):
    """A sweep as its file describes it.

    Every method runs on every dataset with every seed at every point. A point is one assignment of
    values to config keys, out of ``grid`` (all combinations) or ``list`` (as written); without
    either there is one point, the methods' defaults under the protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    protocol: str = DEFAULT_PROTOCOL
    methods: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    prompts: str | tuple[str, ...] | None = Field(
        default=None, description="quick, all, or prompt ids; default: the protocol's"
    )
    style_images: Path | None = Field(
        default=None, description="style images from a file or folder, as --style-images"
    )
    style_dataset: str | None = Field(
        default=None, description="style images from a dataset, for image-guided methods"
    )
    style_limit: int | None = Field(default=None, ge=1)
    mixes: tuple[str, ...] = Field(default=(), description="styles to fuse, as --mix")
    source: str | None = Field(default=None, description="of the images, as --source")
    images: Path | dict[str, Path] | None = Field(
        default=None,
        description="own images in place of the dataset's, as --images: one folder or one for each",
    )
    limit: int | None = Field(default=None, ge=1, description="first N images only")
    seed: int | tuple[int, ...] = Field(default=0, description="one or several")
    precision: str = "32-true"
    batch_size: int | None = Field(default=None, ge=1, description="samples of a chunk")
    config: dict[str, Any] = Field(default_factory=dict, description="keys that do not vary")
    grid: dict[str, list[Any]] | None = Field(default=None, description="key -> its values")
    listed: tuple[dict[str, Any], ...] | None = Field(
        default=None, alias="list", description="points as written"
    )
    out: Path | None = Field(
        default=None, description="the sweep's folder; default: sweeps/<name of the file>"
    )
    runs: Path | None = Field(
        default=None, description="folder of the runs, which sweeps may share; default: out"
    )

    @field_validator("grid", mode="before")
    @classmethod
    def _several_values(cls, grid: Any) -> Any:
        if isinstance(grid, dict):
            if not grid:
                raise ValueError("the grid is empty: name a config key and its values")
            for key, values in grid.items():
                if not isinstance(values, list):
                    raise ValueError(f"{key}: write its values as a list, got {values!r}")
                if not values:
                    raise ValueError(f"{key}: the list of its values is empty")
        return grid

    @field_validator("listed", mode="before")
    @classmethod
    def _some_points(cls, points: Any) -> Any:
        if points == []:
            raise ValueError("there is no point in it: write at least one")
        return points

    @field_validator("seed")
    @classmethod
    def _seeds(cls, seed: int | tuple[int, ...]) -> int | tuple[int, ...]:
        seeds = (seed,) if isinstance(seed, int) else seed
        if not seeds or min(seeds) < 0:
            raise ValueError("give one seed or several, none below 0")
        return seed

    @model_validator(mode="after")
    def _images_of_each(self) -> Self:
        if isinstance(self.images, Path) and len(self.datasets) > 1:
            raise ValueError(
                f"images of your own belong to one dataset, which says what they show; there are "
                f"{len(self.datasets)}: write `images: {{{self.datasets[0]}: FOLDER, ...}}`"
            )
        if isinstance(self.images, dict) and set(self.images) != set(self.datasets):
            raise ValueError(
                f"images has folders for {', '.join(self.images) or 'no dataset'}, and the "
                f"datasets are {', '.join(self.datasets)}: give each of them one"
            )
        return self

    def images_of(self, dataset: str) -> Path | None:
        """The folder that takes the dataset's place; None: the dataset itself."""
        return self.images[dataset] if isinstance(self.images, dict) else self.images

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.grid is not None and self.listed is not None:
            raise ValueError("give either a grid or a list of points, not both")
        for points in (self.grid and [self.grid], self.listed):
            for key in (key for point in points or () for key in point):
                if key in self.config:
                    raise ValueError(f"{key} is varied, so it cannot be in config as well")
        if self.size > MOST_RUNS:
            raise ValueError(f"these are {self.size:,} runs; a sweep has at most {MOST_RUNS:,}")
        return self

    @property
    def seeds(self) -> tuple[int, ...]:
        return (self.seed,) if isinstance(self.seed, int) else self.seed

    @property
    def prompt_selection(self) -> str | None:
        """As ``--prompts`` takes it."""
        chosen = self.prompts
        return chosen if chosen is None or isinstance(chosen, str) else ",".join(chosen)

    @property
    def size(self) -> int:
        """Runs, before equal ones are merged."""
        points = 1 if self.listed is None else len(self.listed)
        if self.grid is not None:
            points = math.prod(map(len, self.grid.values()))
        return len(self.methods) * len(self.datasets) * len(self.seeds) * points

    def points(self) -> Iterator[tuple[str, Point]]:
        """(where it is written, values) in the file's order; a grid's last key runs fastest."""
        if self.grid is not None:
            for values in itertools.product(*self.grid.values()):
                yield "grid", dict(zip(self.grid, values, strict=True))
        elif self.listed is not None:
            for number, point in enumerate(self.listed, start=1):
                yield f"list[{number}]", point
        else:
            yield "config", {}


def read_sweep(path: Path) -> SweepFile:
    """A sweep's file.

    Raises:
        UsageError: unreadable, no valid YAML, a key twice, an unknown key or a bad value; the
            message names the file and the key.
    """
    loaded = load_yaml(path)
    known = [field.alias or name for name, field in SweepFile.model_fields.items()]
    unknown = [key for key in loaded if key not in known]
    if unknown:
        raise UsageError(f"{path}: {unknown_name('key', unknown[0], known)}")
    try:
        return SweepFile.model_validate(loaded)
    except ValidationError as error:
        raise UsageError("\n".join(problems(path, error))) from error


def problems(path: Path | str, error: ValidationError) -> list[str]:
    """What pydantic found, a line for each, with the file and the key."""
    lines = []
    for detail in error.errors():
        # members of unions carry their type's name
        where = ".".join(str(part) for part in detail["loc"] if "[" not in str(part))
        message = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{path}: {where}: {message}" if where else f"{path}: {message}")
    return list(dict.fromkeys(lines))


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a key that is written twice is refused, as one would be lost.

    Raises:
        UsageError: unreadable, not valid, no mapping, or a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path}: {reason}") from error
    try:
        loader = _Strict(text)
        try:
            loaded = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise UsageError(f"{path}: expected a mapping of keys to values")
    return loaded


class _Strict(yaml.SafeLoader):
    """YAML's safe types; a mapping with one key twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)
