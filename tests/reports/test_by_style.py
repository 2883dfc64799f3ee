"""The table of styles: what each came to, over all runs given."""

from pathlib import Path

import pytest

from benchmark.errors import DataError
from reports import by_style
from reports.by_style import style_rows
from reports.collect import read_run
from tests.runs import write_run

METRICS = ("style_retrieval", "edge_agreement")


def run(out: Path, dataset: str, known: set[str], images: int = 2) -> Path:
    """A run in which the judge knows the given styles of the even images alone."""

    def score(metric: str, image_id: str, prompt_id: str) -> float | None:
        if metric == "edge_agreement":
            return 0.5 if prompt_id == "golden" else 0.75
        return float(prompt_id in known and int(image_id[-1]) % 2 == 0)

    return write_run(out, dataset=dataset, n_images=images, metrics=METRICS, scores=score)


def test_a_style_is_the_mean_over_the_samples_of_all_runs(tmp_path: Path) -> None:
    paths = [
        run(tmp_path, "afhq", {"golden"}, images=4),
        run(tmp_path, "celebahq", {"golden", "red-bricks"}, images=2),
    ]
    bricks, gold = style_rows([read_run(path) for path in paths])
    assert (bricks.prompt, bricks.samples, bricks.content) == ("red-bricks", 6, 0.75)
    assert bricks.known == pytest.approx(1 / 6)
    assert (gold.prompt, gold.samples, gold.known, gold.content) == ("golden", 6, 0.5, 0.5)


def test_a_sample_without_a_score_counts_nowhere(tmp_path: Path) -> None:
    path = write_run(
        tmp_path, metrics=METRICS, n_images=2, failed=["image0000__golden"],
        scores=lambda metric, image, prompt: 1.0,
    )  # fmt: skip
    assert {row.prompt: row.samples for row in style_rows([read_run(path)])} == {
        "golden": 1, "red-bricks": 2,
    }  # fmt: skip


def test_the_table_ends_with_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(tmp_path, "afhq", {"golden"})
    monkeypatch.setattr("sys.argv", ["by_style", str(path)])
    assert by_style.main() == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| red-bricks | 2 | 0.0% | 0.75 |",
        "| golden | 2 | 50.0% | 0.50 |",
        "| all | 4 | 25.0% | 0.62 |",
    ]


def test_a_run_without_the_scores_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_run(tmp_path, metrics=("edge_agreement",))
    with pytest.raises(DataError, match="has no style_retrieval; score it"):
        style_rows([read_run(path)])
    monkeypatch.setattr("sys.argv", ["by_style", str(path)])
    assert by_style.main() != 0
    assert f"bench score {path} --metrics" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["by_style", str(tmp_path / "nowhere")])
    assert by_style.main() != 0
    assert capsys.readouterr().err.startswith("error: ")
