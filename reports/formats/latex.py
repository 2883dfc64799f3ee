"""A report as LaTeX tables (booktabs), ready to ``\\input``."""

from __future__ import annotations

from reports.board import Board, Cell, Report, Row
from reports.formats.numbers import MISSING, cell_n, interval, number

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip
_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}


def to_latex(report: Report) -> str:
    """One table for each board. Needs the package booktabs, and T1 font encoding for quotes."""
    head = (
        f"% stylebench {report.version}, protocol {_comment(report.protocol)}\n"
        "% \\usepackage{booktabs}\n"
    )
    return head + "\n" + "\n".join(_board(board, report) for board in report.boards)


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def _comment(text: str) -> str:
    return " ".join(text.split())


def _board(board: Board, report: Report) -> str:
    n_samples = len(board.image_ids) * len(board.prompts)
    studied = any(row.study_content for row in board.rows)
    header = ["Method", *(f"{escape(m.name)} {_ARROWS[m.direction]}" for m in board.metrics)]
    header += ["Content", "Style"] * studied
    header += ["s/image"]
    rows = [_row(row, board, n_samples, studied) for row in board.rows]
    remarks = [board.stand_in_note] if board.stand_in_note else []
    remarks += [
        f"{row.label}: {row.run.n_made} of {n_samples} samples made."
        for row in board.rows
        if row.run.n_made < n_samples
    ]
    caption = escape(
        f"{board.title}, protocol {report.protocol}. Means with 95 % intervals clustered by "
        f"content image, n = {n_samples} unless stated; best bold, second underlined. "
        + " ".join(remarks)
    )
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{board.id}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        _line(header),
        r"\midrule",
        *map(_line, rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _row(row: Row, board: Board, n_samples: int, studied: bool) -> list[str]:
    cells = [escape(row.label) + (" (incomplete)" if row.run.state == "incomplete" else "")]
    cells += [_cell(row.cells[metric.name], n_samples) for metric in board.metrics]
    if studied:
        for score in (row.study_content, row.study_style):
            cells.append(_with_interval(number(score.mean), score.interval) if score else "--")
    cells.append(number(row.cost.seconds_median).replace(MISSING, "--"))
    return cells


def _cell(cell: Cell, n_samples: int) -> str:
    if cell.mean is None:
        return "--"
    mean = number(cell.mean)
    if cell.best:
        mean = rf"\textbf{{{mean}}}"
    elif cell.second:
        mean = rf"\underline{{{mean}}}"
    text = _with_interval(mean, cell.interval)
    n = cell_n(cell, n_samples)
    return f"{text} {{\\scriptsize {n}}}" if n else text


def _with_interval(mean: str, ends: tuple[float, float] | None) -> str:
    return rf"{mean} {{\scriptsize {interval(ends)}}}" if ends else mean
