"""Fig. 3: CRISP against block pruning alone, over N:M ratios, block sizes and sparsities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_difference, judge_number, unjudged
from crisp_loop.reproduce.protocol import protocol_of, settings_of
from crisp_loop.reproduce.rows import TOP1, Mean, averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import MARKERS, panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, with_error, words_of

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
    series, points = zip(*labelled, strict=True)
    found = Sweep(out, progress).measure(points, "Fig. 3: CRISP and blocks")
    return points_table(protocol, series, points, found)


def draw(rows: pd.DataFrame) -> Figure:
    """A panel a block size: accuracy over sparsity, a line a pattern."""
    means = averaged(rows, ["series", "nm", "block", "kappa"])
    blocks = sorted(set(means.loc[means["series"] != DENSE, "block"]))
    figure = Figure(figsize=(2.2 + 3.2 * len(blocks), 3.8), layout="constrained")
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    dense = means[means["series"] == DENSE]
    for axes, block in zip(panels, blocks, strict=True):
        axes.axhline(dense["top1"].mean(), color="grey", linestyle="--", label=DENSE)
        mine = means[(means["block"] == block) & (means["series"] != DENSE)]
        lines = mine.groupby(["series", "nm"], sort=True)
        for number, (key, line) in enumerate(lines):
            series, nm = key  # type: ignore[misc]
            label = BLOCKS if series == BLOCKS else f"CRISP {nm}"
            axes.errorbar(
                100 * line["sparsity"], line["top1"], line["error"], label=label,
                color="black" if series == BLOCKS else PALETTE[number], capsize=3, ms=5,
                marker=MARKERS[number], linestyle=":" if series == BLOCKS else "-",
            )  # fmt: skip
        panel(axes, f"B = {block}", "sparsity of the prunable layers (%)")
    panels[0].set_ylabel("test accuracy on the user's classes (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """Differences within runs, averaged over the points that both methods have."""
    return [_better(rows), _sparser(rows), _struggles(rows), _decent(rows)]


def _better(rows: pd.DataFrame) -> Outcome:
    each = {nm: _gain(rows, nm) for nm in PATTERNS}
    told = ", ".join(f"{nm} {Mean.of(gain)}" for nm, gain in each.items() if len(gain))
    whole = pd.concat(each, axis=1).mean(axis=1).dropna()
    return judge_difference(
        BETTER, whole, f"CRISP less blocks alone at equal kappa and B, mean over both: {told}"
    )


def _gain(rows: pd.DataFrame, nm: str) -> pd.Series:
    own = {"series": CRISP, "nm": nm}
    return gains(rows, own, {"series": BLOCKS}, ["block", "kappa"])


def _sparser(rows: pd.DataFrame) -> Outcome:
    found = measured(rows)
    kappas = sorted(set(found.loc[found["series"] == CRISP, "kappa"]))
    kappas = [kappa for kappa in kappas if kappa >= STRUGGLING]
    if len(kappas) < 2:
        return unjudged(SPARSER, "needs two sparsities from 80 % on")
    own, other = {"series": CRISP, "kappa": kappas[-1]}, {"series": BLOCKS, "kappa": kappas[0]}
    differences = gains(rows, own, other, ["block"])
    remark = f"CRISP at {kappas[-1]:g}, all patterns, less blocks alone at {kappas[0]:g}, equal B"
    return judge_difference(SPARSER, differences, remark)


def _struggles(rows: pd.DataFrame) -> Outcome:
    beyond = rows[(rows["series"] == DENSE) | (rows["kappa"] > STRUGGLING)]
    lost = gains(beyond, {"series": BLOCKS}, {"series": DENSE}, [])
    remark = f"blocks alone above {STRUGGLING:.0%} sparsity, less the dense fine-tuned network"
    return judge_difference(STRUGGLES, lost, remark)


def _decent(rows: pd.DataFrame) -> Outcome:
    found = measured(rows)
    high = found[(found["series"] == CRISP) & (found["sparsity"] > COMPRESSED)]
    if high.empty:
        return unjudged(DECENT, f"no sparsity above {COMPRESSED:.0%} was measured")
    accuracy = 100 * high.groupby("seed")[TOP1].mean()
    if (rows["scale"] != "full").any():
        why = (
            f"CRISP above {COMPRESSED:.0%} sparsity on {rows['data'].iloc[0]}, whose level of"
            f" accuracy says nothing of ImageNet's"
        )
        return unjudged(DECENT, why, float(accuracy.mean()))
    remark = f"CRISP above {COMPRESSED:.0%} sparsity, mean of all patterns and blocks"
    return judge_number(DECENT, float(accuracy.mean()), remark, float(accuracy.sem()))


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and accuracy by block, sparsity and pattern."""
    protocol = protocol_of(scale)
    means = averaged(rows, ["series", "nm", "block", "kappa"])
    dense = means[means["series"] == DENSE].iloc[0]
    cells = {
        (row.series, row.nm, row.block, row.kappa): with_error(row.top1, row.error)
        for row in means.itertuples()
    }
    table = [
        [
            f"B = {block}, kappa {kappa:g}",
            *(cells.get((CRISP, nm, block, kappa), "out of reach") for nm in PATTERNS),
            cells.get((BLOCKS, "4:4", block, kappa), "out of reach"),
        ]
        for block in protocol.blocks
        for kappa in protocol.sparsities
    ]
    header = ["", *(f"CRISP {nm}" for nm in PATTERNS), BLOCKS]
    return (
        f"{words_of(protocol)} This figure takes the first network, for"
        f" {protocol.user_classes} user classes (the paper: ten of ImageNet's, with a model that"
        f" the text does not name).\n\n"
        f"Test accuracy (%); dense fine-tuned {with_error(dense['top1'], dense['error'])}:\n\n"
        f"{markdown_table(header, table)}"
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
