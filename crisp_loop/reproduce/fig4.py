"""Fig. 4, right: the metadata of sparse formats. The same comparison as ``crisp-loop formats``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

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
    networks = list(dict.fromkeys(rows["model"]))
    figure = Figure(figsize=(2.4 + 2.7 * len(networks), 3.6), layout="constrained")
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    for axes, network in zip(panels, networks, strict=True):
        for block, style in zip(dict.fromkeys(rows["block"]), ("-", "--"), strict=False):
            for (claim, name, masks), colour in zip(_JUDGED, (PALETTE[5], PALETTE[4]), strict=True):
                line = _ratios(rows, name, masks)
                line = line[(line["model"] == network) & (line["block"] == block)]
                label = f"{name.upper()}, B = {block}"
                axes.plot(
                    100 * line["sparsity"], line["overhead_ratio"], style, color=colour,
                    marker="o", markersize=3, label=label,
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
    outcomes = []
    for claim, name, masks in _JUDGED:
        ratios = _ratios(rows, name, masks)
        ratios = ratios[ratios["block"] == BLOCKS[0]]
        each = ratios.groupby("model", sort=False)["overhead_ratio"].mean()
        said = ", ".join(f"{model} {ratio:.1f}x" for model, ratio in each.items())
        percent = 100 * ratios["sparsity"]
        remark = (
            f"mean of the three networks over {percent.min():g} to {percent.max():g} % sparsity at"
            f" B = {BLOCKS[0]} ({said}); the paper names neither network nor sparsity"
        )
        outcomes.append(judge_number(claim, float(each.mean()), remark))
    return outcomes


def describe(rows: pd.DataFrame, scale: Scale) -> str:
    """How bits are counted, and the ratios of each network."""
    lines = [
        "| network | block | sparsity | hybrid, bits | CSR | ELLPACK, unstructured masks |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    keys = ["model", "block", "sparsity"]
    ours = rows[rows["format"] == CRISP].set_index(keys)["overhead_bits"]
    columns = [_ratios(rows, name, masks).set_index(keys)["overhead_ratio"]
               for _, name, masks in _JUDGED]  # fmt: skip
    for key, bits in ours.items():
        model, block, sparsity = key  # type: ignore[misc]
        if round(100 * sparsity) in (50, 70, 80, 90, 95):
            csr, ellpack = (f"{column[key]:.2f}x" for column in columns)
            lines.append(f"| {model} | {block} | {sparsity:.0%} | {bits:,} | {csr} | {ellpack} |")
    return (
        "Metadata and pointers in exact bits, 2:4 masks drawn at the pattern, uniform over the"
        " layers that can be pruned; CSR and ELLPACK hold unstructured masks of as many weights."
        " No weights are needed, so this is the paper's own scale. `crisp-loop formats` has every"
        " format and layer.\n\n" + "\n".join(lines)
    )


def _ratios(rows: pd.DataFrame, name: str, masks: str) -> pd.DataFrame:
    return rows[(rows["format"] == name) & (rows["masks"] == masks)]


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
