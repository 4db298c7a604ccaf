"""Fig. 7: accuracy and FLOPs over the number of user classes, beside OCAP, CAP'NN and dense."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import (
    DIFFERS,
    FOLLOWS,
    UNJUDGED,
    Claim,
    Outcome,
    PaperFigure,
    Verdict,
)
from crisp_loop.reproduce.judge import ERRORS, judge_difference, judge_number, unjudged
from crisp_loop.reproduce.points import Point
from crisp_loop.reproduce.protocol import PHASES, Protocol, protocol_of, settings_of, within_reach
from crisp_loop.reproduce.rows import Mean, Row, averaged, gains, measured, points_table
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import MARKERS, panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, words_of

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
    "accuracy comparable to the dense counterparts, with over 90 % sparsity across all three"
    " models",
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
SPARSE = 0.9
MOST, HALVINGS = 0.96, 5
"""Of the search for a sparsity: the highest, and how often the interval is halved."""
MORE = 1.1
"""Times a baseline's work that CRISP may take at most to count as having no more."""
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
    found = sweep.measure([point for _, point in first], "Fig. 7: CRISP and dense")
    work = {
        (point.network, point.user_classes, point.draw): each.flops_ratio
        for (series, point), each in zip(first, found, strict=True)
        if series == crisp(protocol.blocks[0])
    }
    cases.sort(key=lambda case: (case[0], case[2]))  # so that a dense network is loaded once
    second = [
        (series, _with_work(sweep, protocol.point(name, run, count, method=method), ratio))
        for name, count, run in progress.track(cases, "Fig. 7: equal work", len(cases))
        for series, method, ratio in _baselines(protocol, work[name, count, run])
    ]
    found += sweep.measure([point for _, point in second], "Fig. 7: OCAP and CAP'NN")
    return points_table(protocol, first + second, found)


def _own(
    protocol: Protocol, name: str, count: int, run: int, kappa: float
) -> list[tuple[str, Point]]:
    """The dense network, and CRISP with each block size."""
    points = [(DENSE, protocol.point(name, run, count, method="dense"))]
    for block in protocol.blocks:
        options: dict[str, Any] = {"method": "crisp", "nm": NM, "block": block, "sparsity": kappa}
        points.append((crisp(block), within_reach(protocol.point(name, run, count, **options))))
    return points


def _baselines(protocol: Protocol, flops: float) -> list[tuple[str, str, float]]:
    """Series, method and FLOPs ratio: CRISP's; at full scale, for OCAP the paper's too."""
    baselines = [(OCAP, "ocap", flops), (CAPNN, "capnn", flops)]
    if protocol.scale == "full":
        baselines.append((PUBLISHED, "ocap", OCAPS_FLOPS))
    return baselines


def _with_work(sweep: Sweep, point: Point, flops: float) -> Point:
    """``point`` at the sparsity that leaves about the FLOPs ratio ``flops``.

    How much work channels take with them depends on which ones go, so it is tried: pruned at once
    and without any training, halving the interval. What is left after real pruning differs a bit.
    """
    at_once = dict.fromkeys(PHASES, 0) | {"iterations": 1}
    low, high = 0.0, MOST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        config = point.config.model_copy(update={"sparsity": middle, **at_once})
        tried = sweep.measure([point.model_copy(update={"config": config})])[0]
        low, high = (middle, high) if tried.flops_ratio > flops else (low, middle)
    config = point.config.model_copy(update={"sparsity": round((low + high) / 2, 4)})
    return point.model_copy(update={"config": config})


def draw(rows: pd.DataFrame) -> Figure:
    """Accuracy above and FLOPs below over the number of user classes, a column a network."""
    means = averaged(measured(rows), lambda row: (row.network, row.series, row.user_classes))
    networks, lines, counts = (list(dict.fromkeys(each)) for each in zip(*means, strict=True))
    figure = Figure(figsize=(2.4 + 2.8 * len(networks), 5.4), layout="constrained")
    grid = figure.subplots(2, len(networks), sharex=True, sharey="row", squeeze=False)
    for column, network in enumerate(networks):
        accuracy, flops = grid[0][column], grid[1][column]
        for number, series in enumerate(lines):
            mine = {key[2]: each for key, each in means.items() if key[:2] == (network, series)}
            look: dict[str, Any] = {
                "marker": MARKERS[number], "color": PALETTE[number], "ms": 4, "label": series,
                "linestyle": "--" if series == DENSE else "-",
            }  # fmt: skip
            top1 = [each.top1 for each in mine.values()]
            accuracy.errorbar(
                list(mine), [mean.value for mean in top1], [mean.error for mean in top1],
                capsize=3, **look,
            )  # fmt: skip
            flops.plot(list(mine), [each.flops_ratio for each in mine.values()], **look)
        panel(accuracy, str(network), "")
        panel(flops, "", "user classes")
        flops.set_xscale("log")
        flops.minorticks_off()
        flops.set_xticks(counts, [str(count) for count in counts])
        flops.set_ylim(0, 1.05)
    grid[0][0].set_ylabel("test accuracy (%)")
    grid[1][0].set_ylabel("FLOPs over dense")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """Differences within runs; the numbers of VGG-16 on ImageNet at full scale alone."""
    found = measured(rows)
    return [
        _against(OVER_OCAP, OCAP, found),
        _against(OVER_CAPNN, CAPNN, found),
        _comparable(found),
        _slight_drop(found),
        *_vgg(found),
    ]


def _crisps(rows: list[Row]) -> list[str]:
    """The series of CRISP, the smallest block first."""
    return [name for name in dict.fromkeys(row.series for row in rows) if name.startswith("CRISP")]


def _against(claim: Claim, other: str, rows: list[Row]) -> Outcome:
    # One class leaves nothing to confuse it with.
    several = [row for row in rows if row.user_classes > 1]
    if not several:
        return unjudged(claim, "nothing with two or more classes was measured")
    own = _crisps(several)[0]
    gain = gains(
        several,
        lambda row: row.series == own,
        lambda row: row.series == other,
        lambda row: row.user_classes,
    )
    means = averaged(several, lambda row: row.series)
    flops = means[own].flops_ratio, means[other].flops_ratio
    remark = (
        f"{own} less {other} at FLOPs ratios of {flops[0]:.2f} and {flops[1]:.2f}, mean over"
        f" networks and two or more classes"
    )
    outcome = judge_difference(claim, gain.values(), remark)
    if outcome.verdict == FOLLOWS and flops[0] > MORE * flops[1]:
        return replace(outcome, verdict=UNJUDGED, remark=f"{outcome.remark}; but with more work")
    return outcome


def _comparable(rows: list[Row]) -> Outcome:
    sparse = [
        row for row in rows
        if row.series in _crisps(rows) and row.sparsity > SPARSE and row.user_classes > 1
    ]  # fmt: skip
    if not sparse:
        why = f"no network was over {SPARSE:.0%} sparse with two or more classes"
        return unjudged(COMPARABLE, why)
    lost = gains(
        [*sparse, *(row for row in rows if row.series == DENSE)],
        lambda row: row.series != DENSE,
        lambda row: row.series == DENSE,
        lambda row: row.user_classes,
    )
    mean = Mean.of(lost.values())
    reached = list(dict.fromkeys(row.network for row in sparse))
    missing = [name for name in dict.fromkeys(row.network for row in rows) if name not in reached]
    remark = f"CRISP less dense fine-tuned, at over {SPARSE:.0%} sparsity, of {', '.join(reached)}"
    if missing:
        remark += f"; {', '.join(missing)} was not that sparse"
    remark += f"; comparable is read as no more than {ERRORS:g} standard errors below"
    if mean.runs < 2:
        return unjudged(COMPARABLE, f"{remark}, and one run has no error", mean.value)
    verdict: Verdict = FOLLOWS if mean.value >= -ERRORS * mean.error else DIFFERS
    if missing and verdict == FOLLOWS:
        verdict = UNJUDGED  # of all three models, as the paper says, this says nothing
    return Outcome(COMPARABLE, verdict, (mean.value,), mean.error, remark)


def _slight_drop(rows: list[Row]) -> Outcome:
    counts = sorted({row.user_classes for row in rows})
    if len(counts) < 2:
        return unjudged(SLIGHT_DROP, "needs two numbers of classes")

    def change(*series: str) -> Collection[float]:
        return gains(
            rows,
            lambda row: row.series in series and row.user_classes == counts[-1],
            lambda row: row.series in series and row.user_classes == counts[0],
            lambda row: row.series,
        ).values()

    own = _crisps(rows)
    said = ", ".join(f"{name.split()[1]} {Mean.of(change(name)).value:+.1f}" for name in own)
    remark = f"accuracy for {counts[-1]} classes less that for {counts[0]}: {said}"
    return judge_difference(SLIGHT_DROP, change(*own), remark)


def _vgg(rows: list[Row]) -> list[Outcome]:
    claims = (VGG_ACCURACY, VGG_FLOPS, OCAP_ACCURACY)
    means = averaged(
        (
            row for row in rows
            if row.scale == "full" and row.network.startswith("vgg16") and row.user_classes == TEN
        ),
        lambda row: row.series,
    )  # fmt: skip
    if not means:
        why = "needs VGG-16 and ten classes at --scale full; other data has another level"
        return [unjudged(claim, why) for claim in claims]
    data, own, published = rows[0].data, means[_crisps(rows)[0]], means[PUBLISHED]
    at = f"{data}, at a FLOPs ratio of {published.flops_ratio:.2f}"
    return [
        judge_number(VGG_ACCURACY, own.top1.value, data, own.top1.error),
        judge_number(VGG_FLOPS, own.flops_ratio, data),
        judge_number(OCAP_ACCURACY, published.top1.value, at, published.top1.error),
    ]


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and accuracy and FLOPs by network, series and number of classes."""
    protocol = protocol_of(scale)
    found = measured(rows)
    means = averaged(found, lambda row: (row.network, row.series, row.user_classes))
    counts = sorted({row.user_classes for row in found})
    cells = {key: f"{each.top1} / {each.flops_ratio:.2f}" for key, each in means.items()}
    series = list(dict.fromkeys(row.series for row in found))
    table = [
        [f"{name}, {line}", *(cells.get((name, line, count), "") for count in counts)]
        for name in protocol.networks
        for line in series
    ]
    own, name = _crisps(found)[0], protocol.networks[0]
    kappas = {
        row.user_classes: row.kappa for row in found if row.series == own and row.network == name
    }
    said = ", ".join(f"{kappa:g} for {count}" for count, kappa in kappas.items())
    first, last = protocol.kappas
    return (
        f"{words_of(protocol)} CRISP is 2:4; kappa falls from {first:g} for one class to {last:g}"
        f" for all, with the logarithm of their number, or is as much as a network can reach"
        f" ({name}: {said}): the paper varies kappa with the number of classes and does"
        f" not say how.\n\n"
        f"FLOPs are multiply-accumulates of all layers, counted in the masks: those with a kept"
        f" weight and an input that is no constant, over the dense network's. So the work that"
        f" OCAP and CAP'NN save in the layer after a pruned channel counts for them. Both prune"
        f" until about the work of {own} is left, are fine-tuned as CRISP is, and"
        f" stand for their papers' ideas, not for their recipes.\n\n"
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
