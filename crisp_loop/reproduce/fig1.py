"""Fig. 1: how much accuracy different models lose at different N:M ratios."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_difference, unjudged
from crisp_loop.reproduce.protocol import protocol_of, settings_of
from crisp_loop.reproduce.rows import averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import MARKERS, panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, with_error, words_of

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
    labelled = []
    for name in protocol.networks:
        for run in range(protocol.seeds):
            labelled.append((DENSE, protocol.point(name, run, method="dense")))
            for nm in protocol.patterns:
                labelled.append((NM, protocol.point(name, run, method="nm", nm=nm)))
    series, points = zip(*labelled, strict=True)
    found = Sweep(out, progress).measure(points, "Fig. 1: networks at N:M")
    return points_table(protocol, series, points, found)


def draw(rows: pd.DataFrame) -> Figure:
    """A line a network over the ratios, the dense network at the left."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    means = averaged(rows, ["network", "series", "nm"])
    ratios = list(dict.fromkeys(means["nm"]))
    for number, (network, line) in enumerate(means.groupby("network", sort=False)):
        axes.errorbar(
            [ratios.index(nm) for nm in line["nm"]], line["top1"], line["error"],
            marker=MARKERS[number], color=PALETTE[number], capsize=3, ms=5, label=network,
        )  # fmt: skip
    dense = dict(zip(means["nm"], means["series"] == DENSE, strict=True))
    axes.set_xticks(range(len(ratios)), ["dense" if dense[nm] else nm for nm in ratios])
    panel(axes, "", "weights that are kept, N:M")
    axes.set_ylabel("test accuracy on the user's classes (%)")
    axes.legend(frameon=False)
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """What MobileNetV2 loses at the sparsest ratio, less what the ResNet loses."""
    return [_compressible(rows), _half(rows)]


def _compressible(rows: pd.DataFrame) -> Outcome:
    large = _network(rows, "resnet")
    small = _network(rows, "mobilenet")
    if not large or not small:
        return unjudged(COMPRESSIBLE, "needs a ResNet and a MobileNet")
    kept = measured(rows[rows["series"] == NM])
    both = set(kept.loc[kept["network"] == large, "nm"])
    both &= set(kept.loc[kept["network"] == small, "nm"])
    if not both:
        return unjudged(COMPRESSIBLE, "no ratio fits both networks")
    sparsest = min(both, key=lambda nm: int(nm.split(":")[0]) / int(nm.split(":")[1]))
    lost = gains(rows, {"series": DENSE}, {"series": NM, "nm": sparsest}, [])
    # A run is a draw and a seed here: the networks are what is compared.
    each = lost.unstack("network")
    remark = (
        f"points that {small} loses from dense at {sparsest}, less those that {large} loses"
        f" ({each[small].mean():.1f} and {each[large].mean():.1f})"
    )
    return judge_difference(COMPRESSIBLE, (each[small] - each[large]).dropna(), remark)


def _half(rows: pd.DataFrame) -> Outcome:
    found = measured(rows[rows["nm"] == "2:4"])["sparsity"]
    if found.empty:
        return unjudged(HALF, "2:4 was not measured")
    percent = sorted({100 * found.min(), 100 * found.max()})
    right = all(HALF.distance(value) == 0 for value in percent)
    remark = "zeros among the prunable weights, counted in the masks"
    return Outcome(HALF, FOLLOWS if right else DIFFERS, tuple(percent), None, remark)


def _network(rows: pd.DataFrame, family: str) -> str:
    """The first network of a family."""
    return next((name for name in dict.fromkeys(rows["network"]) if family in name), "")


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and accuracy by network and ratio."""
    protocol = protocol_of(scale)
    means = averaged(rows, ["network", "series", "nm"])
    ratios = list(dict.fromkeys(means["nm"]))
    cells = {
        (row.network, row.nm): with_error(row.top1, row.error) for row in means.itertuples()
    }
    header = ["network", *("dense" if nm == "4:4" else nm for nm in ratios)]
    table = [[name, *(cells.get((name, nm), "") for nm in ratios)]
             for name in protocol.networks]  # fmt: skip
    return (
        f"{words_of(protocol)} N:M alone, by class-aware saliency, straight-through training and"
        f" as many epochs as the dense network gets. The paper names neither data nor classes of"
        f" this figure; ratios beyond 1:4 are added here.\n\n"
        f"Test accuracy (%) on the user's {protocol.user_classes} classes:\n\n"
        f"{markdown_table(header, table)}"
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
