"""The report as one HTML page: what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crisp_loop.core.evaluation import Evaluation, Evaluations
from crisp_loop.core.manifest import Manifest, SpecEntry
from crisp_loop.report import numbers
from crisp_loop.report.background import Background
from crisp_loop.report.grid import (
    CYCLES,
    DESIGN,
    DRAM_WORDS,
    EDP,
    ENERGY,
    ENERGY_GAIN,
    METADATA,
    SMEM_WORDS,
    SPEEDUP,
    Grid,
    Head,
    grid_of,
)
from crisp_loop.report.lookup import Lookup
from crisp_loop.report.page.bars import BarsFigure, bars_figure
from crisp_loop.report.page.blocks import mask_pictures
from crisp_loop.report.page.colours import BLUE, Key, design_keys, level_keys
from crisp_loop.report.page.energy import (
    ARITHMETIC,
    Energies,
    EnergyFigure,
    energy_figures,
    memories_of,
)
from crisp_loop.report.page.roofline import Roofline, all_traffic, rooflines
from crisp_loop.report.page.template import fill
from crisp_loop.report.rows import COLUMNS

LAYER_HEADS = (
    Head("layer", "layer", number=False),
    CYCLES,
    SPEEDUP,
    ENERGY,
    ENERGY_GAIN,
    Head("bottleneck", "bottleneck", number=False, about="what sets the cycles"),
    Head("utilization", "utilization", numbers.share, about="of the multipliers"),
    Head("weight_density", "density", numbers.share, about="non-zero weights"),
    Head("n", "n", about="N of N:M"),
    Head("m", "m", about="M of N:M"),
    Head("block", "block", about="side of a block; empty without a block pattern"),
    Head("M", "M", numbers.count, about="rows of the weights, a group"),
    Head("K", "K", numbers.count, about="columns of the weights, a group"),
    Head("N", "N", numbers.count, about="columns of the activations"),
    Head("N_padding", "padding of N", numbers.count, about="columns added for the mapping"),
    Head("activation_density", "activations", numbers.share, about="non-zero activations assumed"),
    EDP,
    DRAM_WORDS,
    SMEM_WORDS,
    METADATA,
    Head("cycles_model", "cycles (model)", numbers.count, about="without corrections"),
    Head("mapping", "mapping", number=False, about="hash of the mapping"),
)
"""Columns of the layers' tables; what ``results.csv`` has beyond them is told once a page."""

ALL_TOTAL_HEADS = (
    DESIGN,
    CYCLES,
    SPEEDUP,
    Head("speedup_geomean", "geomean", numbers.times, about="of the layers' speed-ups"),
    ENERGY,
    ENERGY_GAIN,
    Head("energy_gain_geomean", "geomean", numbers.times, about="of the layers' energy gains"),
    EDP,
    DRAM_WORDS,
    SMEM_WORDS,
    METADATA,
    Head("layers", "layers", numbers.count),
    Head("cycles_model", "cycles (model)", numbers.count, about="without corrections"),
)

_MOST_VALUES = 6
"""How many values of a column the provenance lists before it counts them."""


def render_page(
    results: pd.DataFrame,
    totals: pd.DataFrame,
    manifest: Manifest,
    said: Evaluations,
    folder: Path,
    background: Background,
) -> str:
    """The page's text; equal inputs make equal text.

    Args:
        results: The results table.
        totals: Its totals.
        manifest: What the results table was made from, as ``said``.
        said: What the engine said of the specs.
        folder: The manifest's directory, which holds the specs; the rooflines need them, and leave
            out what is not there.
        background: What else is known of the run.
    """
    models = [
        _model_part(model, results, totals, manifest, said, folder)
        for model in dict.fromkeys(results["model"])
    ]
    workload = background.workload
    return fill(
        "page.html.jinja2",
        title=", ".join(part.model for part in models),
        models=models,
        baseline=manifest.baseline,
        background=background,
        masks=mask_pictures(workload) if workload else None,
        provenance=_provenance(results, manifest),
        engines=list(dict.fromkeys(results["engine"])),
    )


@dataclass(frozen=True)
class LayersTable:
    """One design's layers."""

    design: str
    grid: Grid


@dataclass(frozen=True)
class Winner:
    """The fastest design."""

    design: str
    speedup: float
    energy_gain: float


@dataclass(frozen=True)
class ModelPart:
    """What the page shows of one network."""

    model: str
    winner: Winner | None
    """None where there is only the baseline."""
    totals: Grid
    bars: BarsFigure
    rooflines: tuple[Roofline, ...]
    left_out: tuple[str, ...]
    """Specs that the rooflines lack."""
    designs: tuple[Key, ...]
    energies: tuple[EnergyFigure, EnergyFigure]
    layers: tuple[LayersTable, ...]


def _model_part(
    model: str,
    results: pd.DataFrame,
    totals: pd.DataFrame,
    manifest: Manifest,
    said: Evaluations,
    folder: Path,
) -> ModelPart:
    mine = results.loc[results["model"] == model]
    priced = _priced(model, mine, manifest, Lookup(said, folder))
    evaluations = [evaluation for _, evaluation, _ in priced]
    memories = memories_of(evaluations)
    bottlenecks = level_keys(memories, ARITHMETIC)
    for name in dict.fromkeys(each.compute.name for each in evaluations):
        bottlenecks[name] = Key(f"{name} ({ARITHMETIC})", BLUE, 0)
    designs = design_keys(list(dict.fromkeys(mine["accelerator"])), manifest.baseline)
    energies = {name: Energies() for name in designs}
    for entry, evaluation, _ in priced:
        energies[entry.accelerator].add(evaluation, entry.scale)
    traffic, left_out = all_traffic(priced, folder)
    sums = totals.loc[totals["model"] == model]
    return ModelPart(
        model=model,
        winner=_winner(sums, manifest.baseline),
        totals=grid_of(sums, ALL_TOTAL_HEADS),
        bars=bars_figure(mine, bottlenecks),
        rooflines=rooflines(traffic, designs),
        left_out=tuple(left_out),
        designs=tuple(designs.values()),
        energies=energy_figures(energies, memories),
        layers=tuple(
            LayersTable(name, grid_of(mine.loc[mine["accelerator"] == name], LAYER_HEADS))
            for name in designs
        ),
    )


def _priced(
    model: str, results: pd.DataFrame, manifest: Manifest, lookup: Lookup
) -> list[tuple[SpecEntry, Evaluation, int]]:
    """The model's entries with their evaluations and the cycles of one run of their specs."""
    rows = results[["layer", "accelerator", "cycles"]].to_numpy(dtype=object)
    cycles = {(layer, design): int(each) for layer, design, each in rows}
    found = []
    for entry in manifest.entries:
        evaluation = lookup.get(entry.spec)
        if entry.model == model and evaluation is not None:
            once = cycles[entry.layer, entry.accelerator] // entry.scale
            found.append((entry, evaluation, once))
    return found


def _winner(totals: pd.DataFrame, baseline: str) -> Winner | None:
    others = totals.loc[totals["accelerator"] != baseline].to_dict("records")
    if not others:
        return None
    best = max(others, key=lambda row: row["speedup"])
    return Winner(str(best["accelerator"]), float(best["speedup"]), float(best["energy_gain"]))


def _provenance(results: pd.DataFrame, manifest: Manifest) -> list[tuple[str, list[str]]]:
    """What decided the results: what and its values."""
    shown = {head.column for head in LAYER_HEADS} | {"model", "accelerator"}
    facts: list[tuple[str, Sequence[str]]] = []
    for column in COLUMNS:
        if column not in shown:
            facts.append((column, [str(value) for value in results[column].dropna().unique()]))
    facts += [(f"version of {name}", [value]) for name, value in manifest.versions.items()]
    facts += [(f"SHA-256 of {name}", [value]) for name, value in manifest.inputs.items()]
    return [
        (what, list(values[:_MOST_VALUES]) + _more(len(values) - _MOST_VALUES))
        for what, values in facts
    ]


def _more(count: int) -> list[str]:
    return [f"and {count} more, in results.csv"] if count > 0 else []
