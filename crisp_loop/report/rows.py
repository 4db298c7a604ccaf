"""One row a layer and accelerator: the manifest joined with the evaluations."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from crisp_loop.core.bounded import LARGEST
from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation, Evaluations
from crisp_loop.core.manifest import Manifest, SpecEntry
from crisp_loop.report.lookup import Lookup

COLUMNS = (
    "model",
    "layer",
    "accelerator",
    "n",
    "m",
    "block",
    "weight_density",
    "activation_density",
    "M",
    "K",
    "N",
    "N_padding",
    "cycles_model",
    "cycles",
    "energy_uJ",
    "edp",
    "utilization",
    "bottleneck",
    "dram_words",
    "smem_words",
    "metadata_bits",
    "speedup",
    "energy_gain",
    "engine",
    "engine_version",
    "ert",
    "mapping",
    "spec",
    "rendered_by",
)
"""Columns of ``results.csv``; ``docs/results-table.md`` says what each one means."""

MAYBE_EMPTY = ("block", "dram_words", "smem_words")
"""Whole-number columns that may hold nothing."""

Row = dict[str, object]


def results_table(
    manifest: Manifest, evaluations: Evaluations, manifest_path: Path
) -> pd.DataFrame:
    """The results with the columns of :data:`COLUMNS`, layer by layer.

    Layers, and designs within a layer, keep the manifest's order.

    Args:
        manifest: Which spec stands for which layer.
        evaluations: What the engine said of the specs.
        manifest_path: The manifest's file, which its specs' paths are relative to.

    Raises:
        CrispLoopError: an empty manifest, a spec without an evaluation, a layer that stands
            there twice, or a layer without its baseline.
    """
    if not manifest.entries:
        raise CrispLoopError(f"{manifest_path} lists no specs; there is nothing to report.")
    found = Lookup(evaluations, manifest_path.parent)
    rendered_by = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    rows: dict[tuple[str, str, str], Row] = {}
    for entry in manifest.entries:
        key = (entry.model, entry.layer, entry.accelerator)
        if key in rows:
            raise CrispLoopError(
                f"{manifest_path}: layer {entry.layer} of {entry.model} stands there twice for"
                f" {entry.accelerator}; totals need it once."
            )
        evaluation = found.get(entry.spec)
        if evaluation is None:
            raise CrispLoopError(
                f"{manifest_path}: spec {entry.spec} has no evaluation; run crisp-loop cost on it."
            )
        rows[key] = _row(entry, evaluation) | {"rendered_by": rendered_by}
        for name, value in rows[key].items():
            if isinstance(value, int) and value > LARGEST:
                raise CrispLoopError(
                    f"{manifest_path}: {name} of layer {entry.layer} on {entry.accelerator} is"
                    f" {value:.3g}; expected at most 2^62."
                )
    for (model, layer, _), row in rows.items():
        baseline = rows.get((model, layer, manifest.baseline))
        if baseline is None:
            raise CrispLoopError(
                f"{manifest_path}: layer {layer} of {model} is missing on the baseline"
                f" {manifest.baseline}; its speed-up cannot be told."
            )
        row["speedup"] = _ratio(baseline["cycles"], row["cycles"])
        row["energy_gain"] = _ratio(baseline["energy_uJ"], row["energy_uJ"])
    layers = {key[:2]: i for i, key in reversed(list(enumerate(rows)))}
    ordered = [rows[key] for key in sorted(rows, key=lambda key: layers[key[:2]])]
    frame = pd.DataFrame(ordered, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(MAYBE_EMPTY, "Int64"))


def _row(entry: SpecEntry, evaluation: Evaluation) -> Row:
    once = int(
        corrected_cycles(evaluation.cycles, evaluation.compute.cycles, entry.cycle_correction)
    )
    cycles = once * entry.scale
    energy = evaluation.energy_uJ * entry.scale
    return {
        "model": entry.model,
        "layer": entry.layer,
        "accelerator": entry.accelerator,
        "n": entry.n,
        "m": entry.m,
        "block": entry.block,
        "weight_density": entry.weight_density,
        "activation_density": entry.activation_density,
        "M": entry.M,
        "K": entry.K,
        "N": entry.N,
        "N_padding": entry.N_padding,
        "cycles_model": evaluation.cycles * entry.scale,
        "cycles": cycles,
        "energy_uJ": energy,
        "edp": energy * 1e-6 * cycles,
        "utilization": evaluation.utilization * _ratio(evaluation.cycles, once),
        "bottleneck": _bottleneck(evaluation, once),
        "dram_words": _words(evaluation, "DRAM", entry.scale),
        "smem_words": _words(evaluation, "SMEM", entry.scale),
        "metadata_bits": entry.metadata_bits,
        "engine": evaluation.engine,
        "engine_version": evaluation.engine_version,
        "ert": entry.ert,
        "mapping": entry.mapping,
        "spec": entry.spec_hash,
    }


def _bottleneck(evaluation: Evaluation, cycles: int) -> str:
    return evaluation.compute.name if cycles > evaluation.cycles else evaluation.bottleneck


def _words(evaluation: Evaluation, level: str, scale: int) -> int | None:
    """Data words that cross a level over all its instances; None where there is no such level."""
    found = (stats for stats in evaluation.levels if stats.name == level)
    return next((round(stats.words * scale) for stats in found), None)


def _ratio(baseline: object, value: object) -> float:
    assert isinstance(baseline, int | float)
    assert isinstance(value, int | float)
    return baseline / value if value else math.nan
