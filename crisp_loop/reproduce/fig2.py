"""Fig. 2: how sparse class-aware global pruning makes each layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import MUTED, PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce.figure import DIFFERS, FOLLOWS, Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_number
from crisp_loop.reproduce.protocol import protocol_of, settings_of, within_reach
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import panel
from crisp_loop.reproduce.sweep import Sweep
from crisp_loop.reproduce.text import markdown_table, with_error, words_of

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
    tables = []
    runs = [(name, run) for name in protocol.networks for run in range(protocol.seeds)]
    for name, run in progress.track(runs, "Fig. 2: masks", len(runs)):
        options = {"method": "crisp", "nm": "2:4", "block": protocol.blocks[0]}
        point = within_reach(protocol.point(name, run, **options, sparsity=protocol.kappa))
        masks = sweep.masks(point)
        table = pd.DataFrame(
            {
                "layer": list(masks.layers),
                "weights": [mask.size for mask in masks.layers.values()],
                "kept": [int(mask.sum()) for mask in masks.layers.values()],
            }
        )
        labels = {"scale": protocol.scale, "data": protocol.data, "network": name,
                  "nm": str(masks.nm), "block": masks.block, "kappa": point.config.sparsity,
                  "user_classes": protocol.user_classes, "seed": run}  # fmt: skip
        table.insert(0, "position", range(1, len(table) + 1))
        tables.append(table.assign(**labels, sparsity=1 - table["kept"] / table["weights"]))
    return pd.concat(tables, ignore_index=True)


def draw(rows: pd.DataFrame) -> Figure:
    """A panel a network: one bar a layer, in execution order, with the whole network's level."""
    networks = list(dict.fromkeys(rows["network"]))
    figure = Figure(figsize=(2.0 + 2.9 * len(networks), 3.4), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        mean = _by_layer(rows[rows["network"] == network])
        axes.bar(
            mean["position"], mean["percent"], yerr=mean["error"].fillna(0), color=PALETTE[5],
            ecolor=MUTED, capsize=2,
        )  # fmt: skip
        axes.axhline(100 * _overall(rows, network), color=PALETTE[4], linestyle="--", lw=1)
        panel(axes, network, "prunable layer, in execution order")
    panels[0].set_ylim(0, 100)
    panels[0].set_ylabel("sparsity (%); dashed: all layers")
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """The sparsest layer of the first network, and how far apart its layers are."""
    network = rows["network"].iloc[0]
    layers = _by_layer(rows[rows["network"] == network])
    top, low = layers.loc[layers["percent"].idxmax()], layers.loc[layers["percent"].idxmin()]
    where = f"{network} at kappa {rows['kappa'].iloc[0]:g}"
    highest = judge_number(
        EXTREME, top["percent"], f"sparsest layer of {where}: {top['layer']}", top["error"]
    )
    # Layers as even as the global target would let them be differ by nothing.
    apart = top["percent"] - low["percent"] > 2 * (top["error"] + low["error"])
    spread = Outcome(
        UNEVEN,
        FOLLOWS if apart else DIFFERS,
        (low["percent"], top["percent"]),
        None,
        f"least and most sparse layer of {where}: {low['layer']} and {top['layer']}",
    )
    return [highest, spread]


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """The protocol, and each network's least and most sparse layers."""
    protocol = protocol_of(scale)
    table = []
    for network in dict.fromkeys(rows["network"]):
        layers = _by_layer(rows[rows["network"] == network]).sort_values("percent")
        ends = (layers.iloc[0], layers.iloc[-1])
        shown = [f"{end['layer']}: {with_error(end['percent'], end['error'])}" for end in ends]
        over = int((layers["percent"] >= 98.5).sum())
        table.append([
            network, str(len(layers)), f"{100 * _overall(rows, network):.1f}", *shown, str(over),
        ])  # fmt: skip
    header = ["network", "layers", "all (%)", "least (%)", "most (%)", "layers at 98.5 % or more"]
    first = rows.iloc[0]
    return (
        f"{words_of(protocol)} CRISP with {first['nm']} in blocks of {first['block']} at kappa"
        f" {protocol.kappa:g} (or as much as a network can), for {protocol.user_classes} user classes. Sparsity is zeros counted"
        f" in the saved masks; stem, head and depthwise layers are dense and not shown. The paper"
        f" does not say which model and kappa its figure shows.\n\n{markdown_table(header, table)}"
    )


def _by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard error over runs of one network's layers, in percent."""
    groups = rows.groupby(["position", "layer"])["sparsity"]
    table = groups.agg(percent="mean", error="sem").reset_index()
    table[["percent", "error"]] *= 100
    return table


def _overall(rows: pd.DataFrame, network: str) -> float:
    mine = rows[rows["network"] == network]
    return 1 - mine["kept"].sum() / mine["weights"].sum()


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
