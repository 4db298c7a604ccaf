"""Fig. 7: accuracy and FLOPs over the number of user classes, beside OCAP, CAP'NN and dense."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, UNJUDGED, Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_difference, judge_number, unjudged
from crisp_loop.reproduce.points import Point
from crisp_loop.reproduce.protocol import Protocol, protocol_of, settings_of, within_reach
from crisp_loop.reproduce.rows import RUN, TOP1, averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import MARKERS, panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, with_error, words_of

DENSE, OCAP, CAPNN, PUBLISHED = "dense, fine-tuned", "OCAP", "CAP'NN", "OCAP at 0.73"
NM = "2:4"
OVER_OCAP = Claim(
    "CRISP consistently outperforms the baseline OCAP, achieving higher accuracy with"
    " significantly lower FLOPs ratios",
    "Sec. IV-B, par. 2; Fig. 7",
    low=0, unit="points",
)  # fmt: skip
OVER_CAPNN = Claim(
    "CRISP outperforms CAP'NN in the same way",
    "Sec. IV-B, par. 2; Fig. 7",
    low=0, unit="points",
)  # fmt: skip
COMPARABLE = Claim(
    "accuracy comparable to the dense counterparts, with over 90 % sparsity across all three models",
    "Sec. V; Sec. I, contributions",
    unit="points",
)  # fmt: skip
SLIGHT_DROP = Claim(
    "across all block sizes, accuracy drops slightly with an increase in the number of classes",
    "Sec. IV-B, par. 2; Fig. 7",
    high=0, unit="points",
)  # fmt: skip
_VGG10 = "Sec. IV-B, par. 2; Fig. 7"
VGG_ACCURACY = Claim(
    "VGG-16, ten ImageNet classes: CRISP maintains over 95 % accuracy", _VGG10, low=95, unit="%"
)
VGG_FLOPS = Claim(
    "VGG-16, ten ImageNet classes: at a FLOPs ratio of only 0.44", _VGG10, high=0.44, slack=0.01
)
OCAP_ACCURACY = Claim(
    "VGG-16, ten ImageNet classes: OCAP achieves ~80 % at a FLOPs ratio of 0.73",
    _VGG10, 80, 80, "%", slack=1,
)  # fmt: skip
OCAPS_FLOPS = 0.73
TEN = 10


def crisp(block: int) -> str:
    """The series of CRISP with one block size."""
    return f"CRISP B={block}"


def measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    """CRISP and the dense network first, then OCAP and CAP'NN with at least CRISP's work."""
    protocol = protocol_of(scale)
    sweep = Sweep(out, progress)
    classes = len(sweep.data(protocol.point(protocol.networks[0], 0, method="dense")).classes)
    counts = [count for count in protocol.class_counts if count <= classes]
    cases = [(name, count, run) for name in protocol.networks for count in counts
             for run in range(protocol.seeds)]  # fmt: skip
    first = [
        labelled
        for name, count, run in cases
        for labelled in _own(protocol, name, count, run, protocol.kappa_for(count, classes))
    ]
    series, points = zip(*first, strict=True)
    found = sweep.measure(points, "Fig. 7: CRISP and dense")
    table = points_table(protocol, series, points, found)
    smallest = table[table["series"] == crisp(protocol.blocks[0])]
    work = smallest.set_index(["network", "user_classes", "seed"])["flops_ratio"]
    second = [
        labelled
        for name, count, run in cases
        for labelled in _baselines(protocol, name, count, run, float(work[name, count, run]))
    ]
    series, points = zip(*second, strict=True)
    found = sweep.measure(points, "Fig. 7: OCAP and CAP'NN")
    baselines = points_table(protocol, series, points, found)
    return pd.concat([table, baselines], ignore_index=True)


def _own(
    protocol: Protocol, name: str, count: int, run: int, kappa: float
) -> list[tuple[str, Point]]:
    """The dense network, and CRISP with each block size."""
    points = [(DENSE, protocol.point(name, run, count, method="dense"))]
    for block in protocol.blocks:
        options: dict[str, Any] = {"method": "crisp", "nm": NM, "block": block, "sparsity": kappa}
        points.append((crisp(block), within_reach(protocol.point(name, run, count, **options))))
    return points


def _baselines(
    protocol: Protocol, name: str, count: int, run: int, flops: float
) -> list[tuple[str, Point]]:
    """OCAP and CAP'NN at about CRISP's FLOPs; at full scale, OCAP at the paper's ratio too.

    A layer that keeps the share c of its channels keeps c of its own work, and c * c where its
    inputs come from such a layer too. So c = sqrt(FLOPs ratio) leaves the baselines at least
    CRISP's work.
    """
    def pruned(method: str, ratio: float) -> Point:
        sparsity = max(0.0, round(1 - math.sqrt(ratio), 3))
        options = {"method": method, "sparsity": sparsity, "score_norm": "none"}
        return within_reach(protocol.point(name, run, count, **options))

    points = [(OCAP, pruned("ocap", flops)), (CAPNN, pruned("capnn", flops))]
    if protocol.scale == "full":
        points.append((PUBLISHED, pruned("ocap", OCAPS_FLOPS)))
    return points


def draw(rows: pd.DataFrame) -> Figure:
    """Accuracy above and FLOPs below over the number of user classes, a column a network."""
    networks = list(dict.fromkeys(rows["network"]))
    means = averaged(rows, ["network", "series", "user_classes"])
    figure = Figure(figsize=(2.4 + 2.8 * len(networks), 5.4), layout="constrained")
    grid = figure.subplots(2, len(networks), sharex=True, sharey="row", squeeze=False)
    for column, network in enumerate(networks):
        accuracy, flops = grid[0][column], grid[1][column]
        for number, series in enumerate(dict.fromkeys(rows["series"])):
            mine = means[(means["network"] == network) & (means["series"] == series)]
            mine = mine.sort_values("user_classes")
            look = {"marker": MARKERS[number], "color": PALETTE[number], "ms": 4, "label": series}
            look["linestyle"] = "--" if series == DENSE else "-"
            accuracy.errorbar(mine["user_classes"], mine["top1"], mine["error"], capsize=3, **look)
            flops.plot(mine["user_classes"], mine["flops_ratio"], **look)
        panel(accuracy, network, "")
        panel(flops, "", "user classes")
        flops.set_xscale("log")
        flops.minorticks_off()
        counts = sorted(set(rows["user_classes"]))
        flops.set_xticks(counts, [str(count) for count in counts])
        flops.set_ylim(0, 1.05)
    grid[0][0].set_ylabel("test accuracy (%)")
    grid[1][0].set_ylabel("FLOPs over dense")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """Differences within runs; the numbers of VGG-16 on ImageNet at full scale alone."""
    return [
        _against(OVER_OCAP, OCAP, rows),
        _against(OVER_CAPNN, CAPNN, rows),
        _comparable(rows),
        _slight_drop(rows),
        *_vgg(rows),
    ]


def _crisps(rows: pd.DataFrame) -> list[str]:
    """The series of CRISP, the smallest block first."""
    return [name for name in dict.fromkeys(rows["series"]) if name.startswith("CRISP")]


def _against(claim: Claim, other: str, rows: pd.DataFrame) -> Outcome:
    own = _crisps(rows)[0]
    # One class leaves nothing to confuse it with.
    several = rows[rows["user_classes"] > 1]
    gain = gains(several, {"series": own}, {"series": other}, ["user_classes"])
    flops = measured(several).groupby("series")["flops_ratio"].mean()
    if gain.empty:
        return unjudged(claim, "nothing with two or more classes was measured")
    remark = (
        f"{own} less {other} at FLOPs ratios of {flops[own]:.2f} and {flops[other]:.2f}, mean over"
        f" networks and two or more classes"
    )
    outcome = judge_difference(claim, gain, remark)
    if outcome.verdict == FOLLOWS and flops[own] > flops[other]:
        return Outcome(
            claim, UNJUDGED, outcome.measured, outcome.error, f"{outcome.remark}; but with more work"
        )
    return outcome


def _comparable(rows: pd.DataFrame) -> Outcome:
    found = measured(rows[rows["user_classes"] > 1])
    sparse = found[found["series"].isin(_crisps(rows)) & (found["sparsity"] > 0.9)]
    networks = list(dict.fromkeys(rows["network"]))
    keys = [*RUN, "user_classes"]
    dense = found[found["series"] == DENSE].groupby(keys)[TOP1].mean()
    lost = 100 * (sparse.groupby(keys)[TOP1].mean() - dense).dropna()
    reached = list(dict.fromkeys(sparse["network"]))
    each = lost.groupby(RUN).mean()
    if each.empty:
        return unjudged(COMPARABLE, "no network was over 90 % sparse with two or more classes")
    value, error = float(each.mean()), float(each.sem())
    remark = f"CRISP less dense fine-tuned, at over 90 % sparsity, of {', '.join(reached)}"
    missing = [name for name in networks if name not in reached]
    if missing:
        remark += f"; {', '.join(missing)} cannot be that sparse in this pattern"
    remark += "; comparable is read as no more than two standard errors below"
    verdict = FOLLOWS if value >= -2 * error else DIFFERS
    if len(each) < 2:
        verdict = UNJUDGED
    return Outcome(COMPARABLE, verdict, (value,), error if len(each) > 1 else None, remark)


def _slight_drop(rows: pd.DataFrame) -> Outcome:
    found = measured(rows)
    counts = sorted(set(found["user_classes"]))
    if len(counts) < 2:
        return unjudged(SLIGHT_DROP, "needs two numbers of classes")
    changes = {}
    for series in _crisps(rows):
        mine = found[found["series"] == series]
        ends = [mine[mine["user_classes"] == count].groupby(RUN)[TOP1].mean()
                for count in (counts[0], counts[-1])]  # fmt: skip
        changes[series] = 100 * (ends[1] - ends[0]).dropna()
    said = ", ".join(f"{series[6:]} {change.mean():+.1f}" for series, change in changes.items())
    whole = pd.concat(changes, axis=1).mean(axis=1)
    remark = f"accuracy for {counts[-1]} classes less that for {counts[0]}: {said}"
    return judge_difference(SLIGHT_DROP, whole, remark)


def _vgg(rows: pd.DataFrame) -> list[Outcome]:
    claims = (VGG_ACCURACY, VGG_FLOPS, OCAP_ACCURACY)
    found = measured(rows)
    vgg = found["network"].str.startswith("vgg16") & (found["user_classes"] == TEN)
    mine = found[vgg & (found["scale"] == "full")]
    if mine.empty:
        why = "needs VGG-16 and ten classes at --scale full; other data has another level"
        return [unjudged(claim, why) for claim in claims]
    best = mine[mine["series"] == _crisps(rows)[0]]
    published = mine[mine["series"] == PUBLISHED]
    data = rows["data"].iloc[0]
    return [
        judge_number(VGG_ACCURACY, 100 * best[TOP1].mean(), data, 100 * best[TOP1].sem()),
        judge_number(VGG_FLOPS, best["flops_ratio"].mean(), data, best["flops_ratio"].sem()),
        judge_number(
            OCAP_ACCURACY, 100 * published[TOP1].mean(),
            f"{data}, at a FLOPs ratio of {published['flops_ratio'].mean():.2f}",
            100 * published[TOP1].sem(),
        ),
    ]  # fmt: skip


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and accuracy and FLOPs by network, series and number of classes."""
    protocol = protocol_of(scale)
    means = averaged(rows, ["network", "series", "user_classes"])
    counts = sorted(set(rows["user_classes"]))
    cells = {
        (row.network, row.series, row.user_classes): (
            f"{with_error(row.top1, row.error)} / {row.flops_ratio:.2f}"
        )
        for row in means.itertuples()
    }
    table = [
        [f"{name}, {series}", *(cells.get((name, series, count), "") for count in counts)]
        for name in protocol.networks
        for series in dict.fromkeys(rows["series"])
    ]
    kappas = rows[rows["series"] == _crisps(rows)[0]].groupby("user_classes")["kappa"].max()
    said = ", ".join(f"{kappa:g} for {count}" for count, kappa in kappas.items())
    first, last = protocol.kappas
    return (
        f"{words_of(protocol)} CRISP is 2:4; kappa falls from {first:g} for one class to {last:g}"
        f" for all, with the logarithm of their number ({said}), or is as much as a network can"
        f" reach: the paper varies kappa with the number of classes and does not say how.\n\n"
        f"FLOPs are multiply-accumulates of all layers, counted in the masks: those with a kept"
        f" weight and an input that is no constant, over the dense network's. So the work that"
        f" OCAP and CAP'NN save in the layer after a pruned channel counts for them. Both prune so"
        f" much that at least CRISP's work is left (a share of 1 - sqrt(ratio) of the weights), are"
        f" fine-tuned as CRISP is, and stand for their papers' ideas, not for their recipes.\n\n"
        f"Test accuracy (%) / FLOPs ratio, by number of user classes:\n\n"
        f"{markdown_table(['', *(str(count) for count in counts)], table)}"
    )


FIGURE = PaperFigure(
    name="fig7",
    title="accuracy and FLOPs over the number of user classes",
    shows=(
        "Accuracy of ResNet-50, VGG-16 and MobileNetV2 over the number of user classes, on"
        " CIFAR-100 and ImageNet, averaged over five runs; below it the FLOPs ratios of CRISP's"
        " block sizes and OCAP. The curves and the table's cells cannot be read from text or"
        " caption, but for one point of VGG-16."
    ),
    claims=(
        OVER_OCAP, OVER_CAPNN, COMPARABLE, SLIGHT_DROP, VGG_ACCURACY, VGG_FLOPS, OCAP_ACCURACY,
    ),
    measure=measure,
    draw=draw,
    judge=judge,
    describe=describe,
    settings=settings_of,
)  # fmt: skip
