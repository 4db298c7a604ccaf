"""Fig. 2: how sparse class-aware global pruning makes each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import MUTED, PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import ERRORS, judge_number, unjudged
from crisp_loop.reproduce.protocol import protocol_of, settings_of, within_reach
from crisp_loop.reproduce.rows import Mean
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, words_of

EXTREME = Claim(
    "specific layers can benefit from more aggressive pruning (~99 %) compared to others",
    "Sec. I, par. 4; Fig. 2",
    99, 99, "%", slack=1,
)  # fmt: skip
UNEVEN = Claim(
    "pruning ratios differ from layer to layer, which a fixed ratio a layer does not allow",
    "Sec. I, par. 4; Fig. 2",
    unit="%",
)  # fmt: skip


def measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    """Zeros in each mask that CRISP leaves, layer by layer."""
    protocol = protocol_of(scale)
    sweep = Sweep(out, progress)
    rows: list[LayerRow] = []
    runs = [(name, run) for name in protocol.networks for run in range(protocol.seeds)]
    for name, run in progress.track(runs, "Fig. 2: masks", len(runs)):
        options = {"method": "crisp", "nm": "2:4", "block": protocol.blocks[0]}
        point = within_reach(protocol.point(name, run, **options, sparsity=protocol.kappa))
        masks = sweep.masks(point)
        for position, (layer, mask) in enumerate(masks.layers.items(), start=1):
            kept = int(mask.sum())
            row = LayerRow(
                scale=protocol.scale,
                data=protocol.data,
                network=name,
                nm=str(masks.nm),
                block=masks.block,
                kappa=point.config.sparsity,
                user_classes=point.user_classes,
                seed=run,
                position=position,
                layer=layer,
                weights=mask.size,
                kept=kept,
                sparsity=1 - kept / mask.size,
            )
            rows.append(row)
    return pd.DataFrame([asdict(row) for row in rows])


@dataclass(frozen=True)
class LayerRow:
    """One row of ``fig2.csv``: one layer of one pruned network."""

    scale: str
    data: str
    network: str
    nm: str
    block: int
    kappa: float
    user_classes: int
    seed: int
    position: int
    """In the order of execution, from 1."""
    layer: str
    weights: int
    kept: int
    sparsity: float
    """Share of zeros in the layer's mask."""


def draw(rows: pd.DataFrame) -> Figure:
    """A panel a network: one bar a layer, in execution order, with the whole network's level."""
    networks = _by_network(rows)
    figure = Figure(figsize=(2.0 + 2.9 * len(networks), 3.4), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, (network, found) in zip(panels, networks.items(), strict=True):
        means = list(_by_layer(found).values())
        axes.bar(
            range(1, len(means) + 1), [mean.value for mean in means],
            yerr=[0 if math.isnan(mean.error) else mean.error for mean in means],
            color=PALETTE[5], ecolor=MUTED, capsize=2,
        )  # fmt: skip
        axes.axhline(_overall(found), color=PALETTE[4], linestyle="--", lw=1)
        panel(axes, network, "prunable layer, in execution order")
    panels[0].set_ylim(0, 100)
    panels[0].set_ylabel("sparsity (%); dashed: all layers")
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """The sparsest layer of the first network, and how far apart its layers are."""
    network, found = next(iter(_by_network(rows).items()))
    (low, least), *_, (high, most) = _ordered(found)
    where = f"{network} at kappa {found[0].kappa:g}"
    error = None if math.isnan(most.error) else most.error
    highest = judge_number(EXTREME, most.value, f"sparsest layer of {where}: {high}", error)
    remark = f"least and most sparse layer of {where}: {low} and {high}"
    ends = (least.value, most.value)
    if error is None:
        return [highest, unjudged(UNEVEN, f"{remark}; one run has no error", *ends)]
    apart = most.value - least.value > ERRORS * (least.error + most.error)
    return [highest, Outcome(UNEVEN, FOLLOWS if apart else DIFFERS, ends, None, remark)]


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and each network's least and most sparse layers."""
    protocol = protocol_of(scale)
    table = []
    for network, found in _by_network(rows).items():
        layers = _ordered(found)
        ends = [f"{layer}: {mean}" for layer, mean in (layers[0], layers[-1])]
        over = sum(mean.value >= 99 - EXTREME.slack for _, mean in layers)
        whole = f"{_overall(found):.1f}"
        table.append([network, f"{found[0].kappa:g}", str(len(layers)), whole, *ends, str(over)])
    header = ["network", "kappa", "layers", "all (%)", "least (%)", "most (%)", "98 % or more"]
    first = measured_layers(rows)[0]
    return (
        f"{words_of(protocol)} CRISP with {first.nm} in blocks of {first.block} at kappa"
        f" {protocol.kappa:g}, or as much as a network can reach, for {protocol.user_classes} user"
        f" classes. Sparsity is zeros counted in the saved masks; stem, head and depthwise layers"
        f" are dense and not shown. The paper does not say which model and kappa its figure"
        f" shows.\n\n{markdown_table(header, table)}"
    )


def measured_layers(table: pd.DataFrame) -> list[LayerRow]:
    """The rows of a table that :func:`measure` returned."""
    records: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return [LayerRow(**record) for record in records]


def _by_network(table: pd.DataFrame) -> dict[str, list[LayerRow]]:
    networks: dict[str, list[LayerRow]] = {}
    for row in measured_layers(table):
        networks.setdefault(row.network, []).append(row)
    return networks


def _by_layer(rows: list[LayerRow]) -> dict[str, Mean]:
    """Sparsity of one network's layers in percent, over runs, in execution order."""
    layers: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: row.position):
        layers.setdefault(row.layer, []).append(100 * row.sparsity)
    return {layer: Mean.of(values) for layer, values in layers.items()}


def _ordered(rows: list[LayerRow]) -> list[tuple[str, Mean]]:
    """Layers, the least sparse first."""
    return sorted(_by_layer(rows).items(), key=lambda layer: layer[1].value)


def _overall(rows: list[LayerRow]) -> float:
    """Sparsity of all layers together, in percent."""
    return 100 * (1 - sum(row.kept for row in rows) / sum(row.weights for row in rows))


FIGURE = PaperFigure(
    name="fig2",
    title="layer-wise sparsity after class-aware global pruning",
    shows=(
        "The sparsity of each layer of a model. Layers and heights cannot be read from text or"
        " caption; the text says that some layers reach about 99 %."
    ),
    claims=(EXTREME, UNEVEN),
    measure=measure,
    draw=draw,
    judge=judge,
    describe=describe,
    settings=settings_of,
)
