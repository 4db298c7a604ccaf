"""Tables as text for documents: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping

from crisp_loop.core.errors import InputError
from crisp_loop.report.grid import Grid

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "µ": r"$\mu$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    # After the end of a row, these two would be read as its options.
    "[": "{[}",
    "*": "{*}",
    **{each: "\\" + each for each in "&%$#_{}"},
}
_MARKDOWN = {each: "\\" + each for each in "\\`*_{}[]<>|#~&"}


def as_csv(grid: Grid) -> str:
    """Columns by their names in files, values in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head.column for head in grid.heads)
    writer.writerows([cell.exact for cell in row] for row in grid.rows)
    return text.getvalue()


def as_markdown(grid: Grid) -> str:
    """A table in GitHub's manner, its columns padded so that it also reads as plain text."""
    rows = [[_markdown(head.title) for head in grid.heads]]
    rows += [[_markdown(cell.shown) for cell in row] for row in grid.rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rules = [
        "-" * (width - 1) + ":" if head.number else "-" * width
        for head, width in zip(grid.heads, widths, strict=True)
    ]
    lines = [
        [
            cell.rjust(width) if head.number else cell.ljust(width)
            for head, cell, width in zip(grid.heads, row, widths, strict=True)
        ]
        for row in rows
    ]
    lines.insert(1, rules)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_latex(grid: Grid) -> str:
    """A ``tabular`` with the rules of the package booktabs."""
    alignment = "".join("r" if head.number else "l" for head in grid.heads)
    head = _latex_row([head.title for head in grid.heads])
    body = [_latex_row([cell.shown for cell in row]) for row in grid.rows]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        head,
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[Grid], str]] = {
    "csv": as_csv,
    "md": as_markdown,
    "latex": as_latex,
}
"""By their names on the command line."""


def text_format(name: str) -> Callable[[Grid], str]:
    """The format called ``name``; one sentence where there is none."""
    if name not in FORMATS:
        raise InputError("--format", "", name, f"expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _markdown(text: str) -> str:
    return "".join(_MARKDOWN.get(each, each) for each in " ".join(text.split()))


def _latex_row(cells: list[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(each, each) for each in " ".join(text.split()))
