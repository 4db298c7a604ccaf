"""Fig. 1: how much accuracy different models lose at different N:M ratios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.pattern import NM as NMPattern
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_difference, unjudged
from crisp_loop.reproduce.points import Point
from crisp_loop.reproduce.protocol import protocol_of, settings_of
from crisp_loop.reproduce.rows import Mean, Row, averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import MARKERS, panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, words_of

DENSE, NM = "dense, fine-tuned", "N:M only"
COMPRESSIBLE = Claim(
    "models like ResNet-50 are heavily over-parameterized and prunable with ease, in contrast to"
    " more compact models such as MobileNetV2: which loses more accuracy",
    "Sec. I, par. 3; Fig. 1",
    low=0, unit="points",
)  # fmt: skip
HALF = Claim(
    "2:4 limits the sparsity ratio, allowing only 50 % of the model to be sparse",
    "Sec. I, par. 3",
    50, 50, "%",
)  # fmt: skip


def measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    """Each network fine-tuned dense and at each N:M, on the same samples."""
    protocol = protocol_of(scale)
    labelled: list[tuple[str, Point]] = []
    for name in protocol.networks:
        for run in range(protocol.seeds):
            labelled.append((DENSE, protocol.point(name, run, method="dense")))
            for nm in protocol.patterns:
                labelled.append((NM, protocol.point(name, run, method="nm", nm=nm)))
    found = Sweep(out, progress).measure([point for _, point in labelled], "Fig. 1: N:M")
    return points_table(protocol, labelled, found)


def draw(rows: pd.DataFrame) -> Figure:
    """A line a network over the ratios, the dense network at the left."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    means = averaged(measured(rows), lambda row: (row.network, _ratio(row)))
    ratios = list(dict.fromkeys(ratio for _, ratio in means))
    for number, network in enumerate(dict.fromkeys(name for name, _ in means)):
        line = {ratio: each.top1 for (name, ratio), each in means.items() if name == network}
        axes.errorbar(
            [ratios.index(ratio) for ratio in line],
            [mean.value for mean in line.values()],
            [mean.error for mean in line.values()],
            marker=MARKERS[number], color=PALETTE[number], capsize=3, ms=5, label=network,
        )  # fmt: skip
    axes.set_xticks(range(len(ratios)), ratios)
    panel(axes, "", "weights that are kept, N:M")
    axes.set_ylabel("test accuracy on the user's classes (%)")
    axes.legend(frameon=False)
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """What MobileNetV2 loses at the sparsest ratio, less what the ResNet loses."""
    found = measured(rows)
    return [_compressible(found), _half(found)]


def _compressible(rows: list[Row]) -> Outcome:
    large, small = (
        next((row.network for row in rows if family in row.network), "")
        for family in ("resnet", "mobilenet")
    )
    if not large or not small:
        return unjudged(COMPRESSIBLE, "needs a ResNet and a MobileNet")
    pruned = [row for row in rows if row.series == NM]
    both = {row.nm for row in pruned if row.network == large}
    both &= {row.nm for row in pruned if row.network == small}
    if not both:
        return unjudged(COMPRESSIBLE, "no ratio fits both networks")
    sparsest = min(both, key=lambda nm: NMPattern.parse(nm).density)
    lost = gains(rows, lambda row: row.series == DENSE,
                 lambda row: row.series == NM and row.nm == sparsest)  # fmt: skip
    # A run is a draw and a seed here: the networks are what is compared.
    losses = {
        name: {run[1:]: loss for run, loss in lost.items() if run[0] == name}
        for name in (small, large)
    }
    more = [loss - losses[large][run] for run, loss in losses[small].items()
            if run in losses[large]]  # fmt: skip
    each = [Mean.of(losses[name].values()) for name in (small, large)]
    remark = (
        f"points that {small} loses from dense at {sparsest} ({each[0]}), less those that {large}"
        f" loses ({each[1]})"
    )
    return judge_difference(COMPRESSIBLE, more, remark)


def _half(rows: list[Row]) -> Outcome:
    percent = sorted({100 * row.sparsity for row in rows if row.nm == "2:4"})
    if not percent:
        return unjudged(HALF, "2:4 was not measured")
    right = all(HALF.distance(value) == 0 for value in percent)
    remark = "zeros among the prunable weights, counted in the masks"
    ends = tuple(dict.fromkeys((percent[0], percent[-1])))
    return Outcome(HALF, FOLLOWS if right else DIFFERS, ends, None, remark)


def _ratio(row: Row) -> str:
    return "dense" if row.series == DENSE else row.nm


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and accuracy by network and ratio."""
    protocol = protocol_of(scale)
    means = averaged(measured(rows), lambda row: (row.network, _ratio(row)))
    ratios = list(dict.fromkeys(ratio for _, ratio in means))
    table = [
        [name, *(str(means.get((name, ratio), "")) for ratio in ratios)]
        for name in protocol.networks
    ]
    return (
        f"{words_of(protocol)} N:M alone, by class-aware saliency, straight-through training and"
        f" as many epochs as the dense network gets. The paper names neither data nor classes of"
        f" this figure; ratios beyond 1:4 are added here.\n\n"
        f"Test accuracy (%) on the user's {protocol.user_classes} classes:\n\n"
        f"{markdown_table(['network', *ratios], table)}"
    )


FIGURE = PaperFigure(
    name="fig1",
    title="models at different N:M ratios",
    shows=(
        "Accuracy of several models over N:M ratios. Its axis values cannot be read from text or"
        " caption; the text draws one conclusion from it."
    ),
    claims=(COMPRESSIBLE, HALF),
    measure=measure,
    draw=draw,
    judge=judge,
    describe=describe,
    settings=settings_of,
)
