"""What a reproduced figure leaves behind: its picture, its page of Markdown, and the index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd

from crisp_loop.core.figures import STYLE, save_figure
from crisp_loop.core.files import write_text
from crisp_loop.reproduce.figure import Outcome, PaperFigure
from crisp_loop.reproduce.kept import Measurement
from crisp_loop.reproduce.scale import Scale

INDEX = "reproduce.md"


@dataclass(frozen=True)
class Reproduced:
    """One figure as it came out."""

    figure: PaperFigure
    rows: pd.DataFrame
    measurement: Measurement
    outcomes: tuple[Outcome, ...]
    files: tuple[Path, ...]
    """CSV, PNG, SVG and Markdown."""


def write_figure(
    figure: PaperFigure, scale: Scale, rows: pd.DataFrame, measurement: Measurement, out: Path
) -> Reproduced:
    """Draw and judge ``rows``; the CSV file is there already. Each file is written atomically."""
    pictures = [out / f"{figure.name}.png", out / f"{figure.name}.svg"]
    with mpl.rc_context(STYLE):
        save_figure(figure.draw(rows), pictures)
    outcomes = tuple(figure.judge(rows))
    text = _page(figure, scale, rows, measurement, outcomes)
    page = out / f"{figure.name}.md"
    write_text(page, text)
    files = (out / f"{figure.name}.csv", *pictures, page)
    return Reproduced(figure, rows, measurement, outcomes, files)


def write_index(done: Sequence[Reproduced], scale: Scale, out: Path) -> Path:
    """``reproduce.md``: every claim of every figure in one table, with links."""
    lines = [
        "# The paper's figures, measured again",
        "",
        f"Command: `{command(scale, [each.figure.name for each in done])}`",
        "",
        *_header("figure"),
    ]
    for each in done:
        name = each.figure.name
        lines += [f"| [{name}]({name}.md) {_row(outcome)}" for outcome in each.outcomes]
    lines += ["", *(f"![{each.figure.title}]({each.figure.name}.png)" for each in done)]
    write_text(out / INDEX, "\n".join(lines) + "\n")
    return out / INDEX


def command(scale: Scale, figures: Sequence[str]) -> str:
    """The command line that measures ``figures`` at ``scale``."""
    options = [f"--scale {scale.name}"]
    options += [f"--data {scale.data}"] if scale.data else []
    options += [f"--model {','.join(scale.networks)}"] if scale.networks else []
    options += [f"--weights {scale.weights}"] if scale.weights else []
    options += ["--resize-head"] if scale.resize_head else []
    options += [f"--seeds {scale.seeds}"] if scale.seeds else []
    return f"crisp-loop reproduce {' '.join([*figures, *options])}"


def claims_table(outcomes: Sequence[Outcome]) -> str:
    """The claims with what was measured, as a Markdown table."""
    return "\n".join([*_header(), *(_row(outcome) for outcome in outcomes)])


def measured_text(outcome: Outcome) -> str:
    """What was measured, as ``5.43 x``, ``4 to 9 x`` or ``+1.2 +- 0.4 points``."""
    if not outcome.measured:
        return ""
    sign = "+" if outcome.claim.unit == "points" else ""
    text = " to ".join(f"{value:{sign}.3g}" for value in outcome.measured)
    if outcome.error is not None:
        text += f" +- {outcome.error:.2g}"
    return f"{text} {outcome.claim.unit}".strip()


def claimed_text(outcome: Outcome) -> str:
    """The paper's number, as ``5 x``, ``7 to 14 x`` or ``above 80 %``; empty if it gives none."""
    low, high, unit = outcome.claim.low, outcome.claim.high, outcome.claim.unit
    if low is None and high is None:
        return ""
    about = "about " if outcome.claim.slack else ""
    if low is not None and high is not None:
        text = about + (f"{low:g}" if low == high else f"{low:g} to {high:g}")
    else:
        text = f"at least {about}{low:g}" if high is None else f"at most {about}{high:g}"
    return f"{text} {unit}".strip()


def distance_text(outcome: Outcome) -> str:
    """How far it is, in the claim's unit; and relative to the number missed, where it has one."""
    distance = outcome.distance
    if distance is None:
        return ""
    if distance == 0:
        return "none"
    bound = outcome.claim.high if distance > 0 else outcome.claim.low
    unit = outcome.claim.unit
    share = f" ({distance / bound:+.0%})" if bound and unit not in ("%", "points") else ""
    return f"{distance:+.3g} {unit}".strip() + share


def _page(
    figure: PaperFigure,
    scale: Scale,
    rows: pd.DataFrame,
    measurement: Measurement,
    outcomes: Sequence[Outcome],
) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in measurement.versions.items())
    return "\n\n".join(
        [
            f"# {figure.name}: {figure.title}",
            figure.shows,
            f"![{figure.title}]({figure.name}.png)",
            claims_table(outcomes),
            figure.describe(rows, scale).strip(),
            f"Measured {measurement.date} in {measurement.seconds:,.0f} s with {versions}:"
            f" `{command(scale, [figure.name])}`. All rows: [{figure.name}.csv]({figure.name}.csv)."
            "\n",
        ]
    )


def _header(*first: str) -> list[str]:
    columns = (
        *first, "the paper", "where", "its number", "measured", "distance", "verdict", "of what",
    )  # fmt: skip
    return [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]


def _row(outcome: Outcome) -> str:
    cells = (
        outcome.claim.says,
        outcome.claim.where,
        claimed_text(outcome),
        measured_text(outcome),
        distance_text(outcome),
        outcome.verdict,
        outcome.remark,
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
