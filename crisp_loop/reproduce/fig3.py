"""Fig. 3: CRISP against block pruning alone, over N:M ratios, block sizes and sparsities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_difference, judge_number, unjudged
from crisp_loop.reproduce.protocol import protocol_of, settings_of
from crisp_loop.reproduce.rows import Mean, Row, averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import MARKERS, panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, words_of

DENSE, CRISP, BLOCKS = "dense, fine-tuned", "CRISP", "blocks only"
PATTERNS = ("1:4", "2:4", "3:4")
BETTER = Claim(
    "CRISP consistently outperforms block pruning",
    "Sec. IV-B, par. 1; Fig. 3",
    low=0, unit="points",
)  # fmt: skip
SPARSER = Claim(
    "CRISP achieves higher accuracy even at significantly higher sparsity levels",
    "Sec. IV-B, par. 1; Fig. 3",
    low=0, unit="points",
)  # fmt: skip
STRUGGLES = Claim(
    "block pruning struggles to maintain performance as the sparsity reaches over 80 %",
    "Sec. I, par. 5; Fig. 3",
    high=0, unit="points",
)  # fmt: skip
DECENT = Claim(
    "CRISP maintains decent accuracy (~85 %) across high compression rates (> 92 %)",
    "Sec. I, par. 5; Fig. 3",
    low=85, unit="%", slack=1,
)  # fmt: skip
STRUGGLING, COMPRESSED = 0.8, 0.92


def measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    """CRISP and block pruning at every pattern, block size and sparsity, and the dense network."""
    protocol = protocol_of(scale)
    name = protocol.networks[0]
    variants: list[tuple[str, dict[str, Any]]] = [(DENSE, {"method": "dense"})]
    for block in protocol.blocks:
        for kappa in protocol.sparsities:
            pattern = {"block": block, "sparsity": kappa}
            variants.append((BLOCKS, pattern | {"method": "blocks"}))
            variants += [(CRISP, pattern | {"method": "crisp", "nm": nm}) for nm in PATTERNS]
    labelled = [
        (series, protocol.point(name, run, **options))
        for run in range(protocol.seeds)
        for series, options in variants
    ]
    found = Sweep(out, progress).measure([point for _, point in labelled], "Fig. 3: pruning")
    return points_table(protocol, labelled, found)


def draw(rows: pd.DataFrame) -> Figure:
    """A panel a block size: accuracy over sparsity, a line a pattern."""
    found = measured(rows)
    means = averaged(found, lambda row: (row.block, _line(row), row.kappa))
    blocks = sorted({row.block for row in found if row.series != DENSE})
    lines = sorted({_line(row) for row in found if row.series != DENSE})
    dense = averaged(found, lambda row: row.series)[DENSE]
    figure = Figure(figsize=(2.2 + 3.2 * len(blocks), 3.8), layout="constrained")
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    for axes, block in zip(panels, blocks, strict=True):
        axes.axhline(dense.top1.value, color="grey", linestyle="--", label=DENSE)
        for number, line in enumerate(lines):
            mine = [each for key, each in means.items() if key[:2] == (block, line)]
            axes.errorbar(
                [100 * each.sparsity for each in mine],
                [each.top1.value for each in mine],
                [each.top1.error for each in mine],
                color="black" if line == BLOCKS else PALETTE[number], capsize=3, ms=5, label=line,
                marker=MARKERS[number], linestyle=":" if line == BLOCKS else "-",
            )  # fmt: skip
        panel(axes, f"B = {block}", "sparsity of the prunable layers (%)")
        axes.xaxis.set_major_locator(MultipleLocator(5))
    panels[0].set_ylabel("test accuracy on the user's classes (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def _line(row: Row) -> str:
    return f"{CRISP} {row.nm}" if row.series == CRISP else row.series


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """Differences within runs, averaged over the points that both methods have."""
    found = measured(rows)
    return [_better(found), _sparser(found), _struggles(found), _decent(found)]


def _better(rows: list[Row]) -> Outcome:
    def over_blocks(*patterns: str) -> Collection[float]:
        return gains(
            rows,
            lambda row: row.series == CRISP and row.nm in patterns,
            lambda row: row.series == BLOCKS,
            lambda row: (row.block, row.kappa),
        ).values()

    each = {nm: over_blocks(nm) for nm in PATTERNS}
    told = ", ".join(f"{nm} {Mean.of(gain)}" for nm, gain in each.items() if gain)
    remark = f"CRISP less blocks alone at equal kappa and B, mean over both: {told}"
    return judge_difference(BETTER, over_blocks(*PATTERNS), remark)


def _sparser(rows: list[Row]) -> Outcome:
    kappas = sorted({row.kappa for row in rows if row.series == CRISP})
    kappas = [kappa for kappa in kappas if kappa >= STRUGGLING]
    if len(kappas) < 2:
        return unjudged(SPARSER, "needs two sparsities from 80 % on")
    differences = gains(
        rows,
        lambda row: row.series == CRISP and row.kappa == kappas[-1],
        lambda row: row.series == BLOCKS and row.kappa == kappas[0],
        lambda row: row.block,
    )
    remark = f"CRISP at {kappas[-1]:g}, all patterns, less blocks alone at {kappas[0]:g}, equal B"
    return judge_difference(SPARSER, differences.values(), remark)


def _struggles(rows: list[Row]) -> Outcome:
    lost = gains(
        rows,
        lambda row: row.series == BLOCKS and row.kappa > STRUGGLING,
        lambda row: row.series == DENSE,
    )
    remark = f"blocks alone above {STRUGGLING:.0%} sparsity, less the dense fine-tuned network"
    return judge_difference(STRUGGLES, lost.values(), remark)


def _decent(rows: list[Row]) -> Outcome:
    high = [row for row in rows if row.series == CRISP and row.sparsity > COMPRESSED]
    if not high:
        return unjudged(DECENT, f"no sparsity above {COMPRESSED:.0%} was measured")
    runs = averaged(high, lambda row: row.run)
    accuracy = Mean.of(each.top1.value for each in runs.values())
    remark = f"CRISP above {COMPRESSED:.0%} sparsity, mean of all patterns and blocks"
    if high[0].scale != "full":
        why = f"on {high[0].data}, whose level of accuracy says nothing of ImageNet's"
        return unjudged(DECENT, f"{remark}, {why}", accuracy.value)
    return judge_number(DECENT, accuracy.value, remark, accuracy.error)


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and accuracy by block, sparsity and pattern."""
    protocol = protocol_of(scale)
    found = measured(rows)
    means = averaged(found, lambda row: (row.block, row.kappa, _line(row)))
    lines = [*(f"{CRISP} {nm}" for nm in PATTERNS), BLOCKS]
    table = [
        [
            f"B = {block}, kappa {kappa:g}",
            *(str(means.get((block, kappa, line), "out of reach")) for line in lines),
        ]
        for block in protocol.blocks
        for kappa in protocol.sparsities
    ]
    return (
        f"{words_of(protocol)} This figure takes the first network, for"
        f" {protocol.user_classes} user classes (the paper: ten of ImageNet's, with a model that"
        f" the text does not name).\n\n"
        f"Test accuracy (%); dense fine-tuned {averaged(found, lambda row: row.series)[DENSE]}:\n\n"
        f"{markdown_table(['', *lines], table)}"
    )


FIGURE = PaperFigure(
    name="fig3",
    title="CRISP against block pruning",
    shows=(
        "Accuracy over sparsity of CRISP (1:4, 2:4, 3:4) and of block pruning, with blocks of 16"
        " to 64, for ten user classes of ImageNet. Single points cannot be read from text or"
        " caption; the text gives the level above 92 %."
    ),
    claims=(BETTER, SPARSER, STRUGGLES, DECENT),
    measure=measure,
    draw=draw,
    judge=judge,
    describe=describe,
    settings=settings_of,
)
