"""Fig. 4, right: the metadata of sparse formats. The same comparison as ``crisp-loop formats``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from crisp_loop.core.figures import PALETTE
from crisp_loop.core.progress import Progress
from crisp_loop.pack.compare import CRISP, NM24, SPARSITIES, compare_formats
from crisp_loop.pack.compare import NETWORKS as PAPERS_NETWORKS
from crisp_loop.reproduce.figure import Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_number
from crisp_loop.reproduce.scale import Scale
from crisp_loop.reproduce.style import panel
from crisp_loop.reproduce.text import markdown_table

BLOCKS = (64, 16)
CSR = Claim(
    "roughly 5x more metadata overhead for CSR compared to CRISP",
    "Sec. III-A, last paragraph; Fig. 4, right",
    5, 5, "x", slack=1,
)  # fmt: skip
ELLPACK = Claim(
    "roughly 7x more metadata overhead for ELLPACK compared to CRISP",
    "Sec. III-A, last paragraph; Fig. 4, right",
    7, 7, "x", slack=1,
)  # fmt: skip
_JUDGED = ((CSR, "csr", "same"), (ELLPACK, "ellpack", "unstructured"))


def settings(scale: Scale) -> object:
    """Shapes alone decide the bits, so all scales have the same."""
    return {"networks": PAPERS_NETWORKS, "sparsities": SPARSITIES, "blocks": BLOCKS, "seed": 0}


def measure(scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
    """Bits of every format, by network, block size and sparsity, summed over layers."""
    tables = []
    for block in BLOCKS:
        compared = compare_formats(block=block, progress=progress)
        totals = pd.DataFrame([asdict(total) for total in compared.totals])
        tables.append(totals.assign(nm=str(NM24), block=block))
    return pd.concat(tables, ignore_index=True)


def draw(rows: pd.DataFrame) -> Figure:
    """A panel a network: CSR and ELLPACK over the hybrid format, by sparsity."""
    totals = _totals(rows)
    networks = list(dict.fromkeys(total["model"] for total in totals))
    figure = Figure(figsize=(2.4 + 2.7 * len(networks), 3.6), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        for block, style in zip(BLOCKS, ("-", "--"), strict=True):
            for (claim, name, masks), colour in zip(_JUDGED, (PALETTE[5], PALETTE[4]), strict=True):
                ratios = _ratios(totals, name, masks)
                line = {
                    key[2]: ratio for key, ratio in ratios.items() if key[:2] == (network, block)
                }
                axes.plot(
                    [100 * sparsity for sparsity in line], list(line.values()), style,
                    color=colour, marker="o", markersize=3, label=f"{name.upper()}, B = {block}",
                )  # fmt: skip
                axes.axhline(claim.low or 0, color=colour, lw=0.8, linestyle=":")
        panel(axes, network, "sparsity (%)")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("metadata over the hybrid format's")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, title="dotted: paper")
    return figure


def judge(rows: pd.DataFrame) -> Sequence[Outcome]:
    """The mean over the paper's three networks, and over sparsities, at B = 64."""
    totals = _totals(rows)
    outcomes = []
    for claim, name, masks in _JUDGED:
        each: dict[str, list[float]] = {}
        percent: set[float] = set()
        for (model, block, sparsity), ratio in _ratios(totals, name, masks).items():
            if block == BLOCKS[0]:
                each.setdefault(model, []).append(ratio)
                percent.add(100 * sparsity)
        means = {model: fmean(ratios) for model, ratios in each.items()}
        said = ", ".join(f"{model} {mean:.1f}x" for model, mean in means.items())
        remark = (
            f"mean of the three networks over {min(percent):g} to {max(percent):g} % sparsity at"
            f" B = {BLOCKS[0]} ({said}); the paper names neither network nor sparsity"
        )
        outcomes.append(judge_number(claim, fmean(means.values()), remark))
    return outcomes


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """How bits are counted, and the ratios of each network."""
    totals = _totals(rows)
    columns = [_ratios(totals, name, masks) for _, name, masks in _JUDGED]
    table = [
        [
            total["model"],
            str(total["block"]),
            f"{total['sparsity']:.0%}",
            f"{total['overhead_bits']:,}",
            *(f"{column[_key(total)]:.2f}x" for column in columns),
        ]
        for total in totals
        if total["format"] == CRISP and round(100 * total["sparsity"]) in (50, 70, 80, 90, 95)
    ]
    header = ["network", "block", "sparsity", "hybrid, bits", "CSR", "ELLPACK, unstructured masks"]
    return (
        f"Metadata and pointers in exact bits, {NM24} masks drawn at the pattern, uniform over the"
        f" layers that can be pruned; CSR and ELLPACK hold unstructured masks of as many weights."
        f" No weights are needed, so this is the paper's own scale. `crisp-loop formats` has every"
        f" format and layer.\n\n{markdown_table(header, table)}"
    )


Key = tuple[str, int, float]
"""Network, block, sparsity."""


def _totals(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return rows.to_dict("records")  # type: ignore[return-value]


def _key(total: dict[str, Any]) -> Key:
    return total["model"], total["block"], total["sparsity"]


def _ratios(totals: list[dict[str, Any]], name: str, masks: str) -> dict[Key, float]:
    """Overhead of a format over the hybrid's."""
    mine = (total for total in totals if (total["format"], total["masks"]) == (name, masks))
    return {_key(total): total["overhead_ratio"] for total in mine}


FIGURE = PaperFigure(
    name="fig4",
    title="metadata of sparse formats over the hybrid format's",
    shows=(
        "Bars of the metadata that CSR, ELLPACK and CRISP's format take. The text gives the two"
        " ratios; bar heights, network and sparsity cannot be read from text or caption."
    ),
    claims=(CSR, ELLPACK),
    measure=measure,
    draw=draw,
    judge=judge,
    describe=describe,
    settings=settings,
)
