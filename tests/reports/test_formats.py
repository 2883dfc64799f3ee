"""The text formats, read back by other means than they were written with."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.board import Report
from reports.collect import collect
from reports.formats import latex, markdown
from reports.formats.latex import to_latex
from reports.formats.long_csv import to_csv
from reports.formats.markdown import to_markdown
from reports.formats.numbers import number, p_value
from reports.formats.report_json import to_json
from reports.leaderboard import build_report
from reports.reported import reported_numbers
from tests.runs import smooth_scores, write_run

HOSTILE = '<script>alert("1")</script> | a_b *c* `d` $e$ \\f {g} #h 50% & ~ ^ ../../x'


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("runs")
    for dataset in ("afhq", "ffhq"):
        write_run(out, method="ours", dataset=dataset, scores=smooth_scores(0.2))
    write_run(out, method="zecon", scores=smooth_scores(0.1), failed=["image0000__golden"])
    write_run(out, method="gatys", missing=3)
    return build_report(collect([out]), reported=reported_numbers())


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    out = tmp_path_factory.mktemp("hostile")
    write_run(out, prompts={"golden": HOSTILE}, scores=smooth_scores(0.1))
    (board,) = (found := build_report(collect([out]))).boards
    row = replace(board.rows[0], label=HOSTILE)
    changed = replace(board, title=HOSTILE, stand_in_note=HOSTILE, rows=(row,))
    return replace(found, boards=(changed,))


def tables(text: str) -> list[list[list[str]]]:
    """Markdown tables as rows of cells; a backslash keeps the sign after it."""
    found: list[list[list[str]]] = []
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_markdown_tables_are_rectangular_and_mark_best_and_second(report: Report) -> None:
    text = to_markdown(report)
    for table in tables(text):
        assert len({len(row) for row in table}) == 1
    leaderboard = tables(text)[0]
    assert leaderboard[0][:2] == ["method", r"clip\_score\_patch ↑"]
    names = [row[0] for row in leaderboard[2:]]
    assert names == ["ours", "zecon", "gatys (incomplete)"]
    best, second = leaderboard[2][1], leaderboard[3][1]
    assert re.fullmatch(r"\*\*0\.\d{3}\*\* \[0\.\d{3}, 0\.\d{3}\]", best)
    assert re.fullmatch(r"<u>0\.\d{3}</u> \[0\.\d{3}, 0\.\d{3}\] n=7", second)
    assert leaderboard[4][1] == "n/a" and leaderboard[4][-1] == "5 of 8"


def test_markdown_tells_failures_notes_duels_and_what_papers_report(report: Report) -> None:
    text = to_markdown(report)
    assert r"zecon: image0000\_\_golden failed: the output is not finite" in text
    assert "gatys: 3 of 8 samples were never run" in text
    assert r"### Who beats whom on edge\_agreement" in text
    assert "Not measured here" in text and "| StyleGAN-NADA | style | 76.50 of 100 |" in text
    assert "bench run --method zecon" in text


def test_markdown_leaves_hostile_text_without_effect(hostile: Report) -> None:
    text = to_markdown(hostile)

    seen: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            seen.add(tag)

    Tags().feed(text)
    assert seen <= {"u"}
    for table in tables(text):
        assert len({len(row) for row in table}) == 1


@given(st.text(max_size=60))
def test_an_escaped_markdown_cell_is_one_line_and_ends_no_cell(text: str) -> None:
    cell = markdown.escape(text)
    assert "\n" not in cell and "<" not in cell
    assert not re.search(r"(?<!\\)(\\\\)*\|", cell)


def unescape_latex(text: str) -> str:
    words = {v: k for k, v in latex._SPECIAL.items()}
    longest = sorted(words, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest)), lambda found: words[found[0]], text)


@given(st.text(max_size=60))
def test_latex_escaping_loses_nothing_and_leaves_no_command(text: str) -> None:
    escaped = latex.escape(text)
    assert unescape_latex(escaped) == " ".join(text.split())
    bare = escaped
    for word in sorted(latex._SPECIAL.values(), key=len, reverse=True):
        bare = bare.replace(word, "")
    assert not set(bare) & set(latex._SPECIAL)


def test_latex_is_a_booktabs_table_with_as_many_cells_as_columns(report: Report) -> None:
    text = to_latex(report)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == len(report.boards)
    first = text.partition(r"\end{table}")[0]
    columns = re.search(r"\\begin\{tabular\}\{(l+r+)\}", first)
    assert columns
    body = first.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 4
    for line in lines:
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns[1]) - 1
    assert lines[1].startswith(r"ours & \textbf{0.")
    assert r"\underline{0." in lines[2] and "n=7" in lines[2]
    assert lines[3].startswith("gatys (incomplete) & --")
    assert "gatys: 5 of 8 samples made." in first
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")


def test_csv_holds_every_cell_at_full_precision(report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    for board in report.boards:
        for row in board.rows:
            for name, cell in row.cells.items():
                (line,) = [
                    found
                    for found in rows
                    if found["board"] == board.id
                    and found["config_hash"] == row.run.manifest.config_hash
                    and found["metric"] == name
                ]
                assert (float(line["mean"]) if line["mean"] else None) == cell.mean
                assert int(line["n"]) == cell.n
                assert line["best"] == str(int(cell.best))
    seconds = [row for row in rows if row["metric"] == "seconds_per_image_median"]
    assert {row["mean"] for row in seconds} == {"2.0"}


def test_csv_cells_are_no_formulas(hostile: Report) -> None:
    (board,) = hostile.boards
    row = replace(board.rows[0], label="=HYPERLINK(1)")
    text = to_csv(replace(hostile, boards=(replace(board, rows=(row,)),)))
    assert {line["label"] for line in csv.DictReader(io.StringIO(text))} == {"'=HYPERLINK(1)"}


def test_json_is_strict_and_complete(report: Report) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    loaded = json.loads(to_json(report), parse_constant=refuse)
    assert loaded["schema_version"] == 1
    (afhq, ffhq) = loaded["boards"]
    assert [row["label"] for row in afhq["rows"]] == ["ours", "zecon", "gatys"]
    assert afhq["rows"][2]["state"] == "incomplete"
    assert afhq["rows"][1]["failures"] == [
        {"sample_id": "image0000__golden", "reason": "the output is not finite"}
    ]
    duel = afhq["duels"]["lpips_vgg"][0]
    assert {duel["first"], duel["second"]} == {row["id"] for row in afhq["rows"][:2]}
    assert ffhq["dataset"] == "ffhq"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "n/a"), (0.12345, "0.123"), (-0.0001, "0.000"), (12.346, "12.35"), (123.45, "123.5"),
     (98765.4, "98765"), (-3.0, "-3.000")],
)  # fmt: skip
def test_numbers_keep_a_stable_number_of_digits(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("p", "text"), [(None, "n/a"), (0.0004, "< 0.001"), (0.0314, "0.031"), (1.0, "1")]
)
def test_p_values(p: float | None, text: str) -> None:
    assert p_value(p) == text


def test_reported_numbers_have_a_source_and_a_unit() -> None:
    found = reported_numbers()
    assert len(found) == 56
    assert all(entry.source and entry.setting for entry in found)
    (time,) = [r for r in found if r.method == "DiffuseIT" and r.quantity == "time"]
    assert (time.value, time.unit) == (48.0, "s per image")
