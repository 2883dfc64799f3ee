"""Sweep files: what they mean, and how mistakes are told."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.errors import UsageError
from benchmark.sweep.file import SweepFile, read_sweep

HEAD = "methods: [ours]\ndatasets: [afhq]\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_a_grid_is_every_combination_in_the_files_order(tmp_path: Path) -> None:
    found = read_sweep(_write(tmp_path, HEAD + "seed: [3, 1]\ngrid: {t0: [5, 2], vgg: [0, 1.5]}\n"))
    points = [point for _, point in found.points()]
    assert points == [
        {"t0": 5, "vgg": 0}, {"t0": 5, "vgg": 1.5}, {"t0": 2, "vgg": 0}, {"t0": 2, "vgg": 1.5}
    ]  # fmt: skip
    assert found.seeds == (3, 1)
    assert found.size == 8


def test_a_list_is_taken_as_written_and_without_either_there_is_one_point(tmp_path: Path) -> None:
    listed = read_sweep(_write(tmp_path, HEAD + "list:\n- {t0: 5}\n- {vgg: 0, mse: 0}\n"))
    assert list(listed.points()) == [("list[1]", {"t0": 5}), ("list[2]", {"vgg": 0, "mse": 0})]
    plain = read_sweep(_write(tmp_path, HEAD))
    assert [point for _, point in plain.points()] == [{}]
    assert plain.prompt_selection is None
    chosen = read_sweep(_write(tmp_path, HEAD + "prompts: [golden, lego]\n"))
    assert chosen.prompt_selection == "golden,lego"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("methods: [ours]\ndatasets: [afhq, ffhq]\nimages: dogs", ["one dataset", "there are 2"]),
        (
            "methods: [ours]\ndatasets: [afhq, ffhq]\nimages: {afhq: dogs, fhq: people}",
            ["folders for afhq, fhq", "datasets are afhq, ffhq"],
        ),
        (HEAD + "gird: {t0: [5]}", ["gird", "Did you mean: grid"]),
        (HEAD + "grid: {}", ["grid", "the grid is empty"]),
        (HEAD + "grid: {t0: []}", ["grid", "t0", "is empty"]),
        (HEAD + "grid: {t0: 5}", ["grid", "t0", "as a list", "5"]),
        (HEAD + "list: []", ["list", "no point"]),
        (HEAD + "list: [5]", ["list.0", "dictionary"]),
        (HEAD + "grid: {t0: [5]}\nlist: [{t0: 6}]", ["either a grid or a list"]),
        (HEAD + "config: {t0: 4}\ngrid: {t0: [5]}", ["t0 is varied"]),
        (HEAD + "config: {t0: 4}\nlist: [{vgg: 1}, {t0: 5}]", ["t0 is varied"]),
        (HEAD + "grid: {t0: [5]}\ngrid: {t0: [6]}", ["'grid' is there twice", "line 4"]),
        (HEAD + "grid: {t0: [5], t0: [6]}", ["'t0' is there twice"]),
        ("methods: []\ndatasets: [afhq]", ["methods", "at least 1"]),
        ("datasets: [afhq]", ["methods", "required"]),
        (HEAD + "seed: -1", ["seed", "none below 0"]),
        (HEAD + "seed: []", ["seed", "one seed or several"]),
        (HEAD + "limit: 0", ["limit", "greater than or equal to 1"]),
        (HEAD + "grid: {t0: [1, 2", ["not valid YAML"]),
        ("[1, 2]", ["expected a mapping"]),
        ("", ["expected a mapping"]),
        ("1: 2", ["expected a mapping"]),
        (HEAD + "seed: !!python/object/apply:os.system ['true']", ["not valid YAML"]),
        (HEAD + f"grid: {{a: {list(range(200))}, b: {list(range(200))}}}", ["40,000 runs"]),
    ],
)  # fmt: skip
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_sweep(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"bytes\.yaml: not UTF-8"):
        read_sweep(tmp_path / "bytes.yaml")


VALUES = st.lists(
    st.integers(-5, 5) | st.floats(-1, 1) | st.booleans() | st.sampled_from(["a", "1e-5", "null"]),
    min_size=1, max_size=3,
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1, max_size=4), st.integers(1, 3))
def test_any_grid_keeps_its_values_through_the_file(
    tmp_path_factory: pytest.TempPathFactory, grid: dict[str, list[object]], seeds: int
) -> None:
    text = {"methods": ["ours"], "datasets": ["afhq"], "seed": list(range(seeds)), "grid": grid}
    path = _write(tmp_path_factory.mktemp("grid"), yaml.safe_dump(text, sort_keys=False))
    found = read_sweep(path)
    points = [tuple(point.values()) for _, point in found.points()]
    assert points == list(itertools.product(*grid.values()))
    assert found.size == len(points) * seeds


def test_the_documented_file_is_valid_and_every_key_is_in_the_table(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert read_sweep(_write(tmp_path, example)).size == 4
    for name, field in SweepFile.model_fields.items():
        assert f"`{field.alias or name}`" in text


def test_every_key_is_described_or_speaks_for_itself() -> None:
    plain = {"protocol", "methods", "datasets", "precision", "style_limit"}
    for name, field in SweepFile.model_fields.items():
        assert field.description or name in plain, name
