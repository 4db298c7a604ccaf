"""What the pruning stage reports: ``prune/summary.json``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from crisp_loop.core.layers import LayerTable
from crisp_loop.core.masks import Masks, matrix_view, sparsity_of
from crisp_loop.core.pattern import blocks_over
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.plan import Form, Plan
from crisp_loop.prune.training.finetune import Accuracy
from crisp_loop.prune.training.task import IterationReport

_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_config)
class Scores:
    """Accuracy of one set of weights."""

    val: Accuracy
    """For choosing settings."""
    test: Accuracy
    """For reporting."""


@dataclass(frozen=True, config=_config)
class LayerReport:
    """One conv or linear layer after pruning."""

    name: str
    form: Form
    reason: str
    """Why the layer is not what the method prunes otherwise, or how it is padded; else empty."""
    S: int
    K: int
    nnz: int
    """Weights that the mask keeps; S * K in a dense layer."""
    sparsity: float
    """1 - nnz / (S * K)."""
    block_columns: int | None
    """K/B, rounded up in a padded layer; None unless hybrid."""
    kept_blocks: int | None
    """K'/B, blocks that every block-row keeps; None unless hybrid."""
    K_kept: int | None
    """K', the padding of kept blocks included; None unless hybrid, where ``sparsity`` is
    1 - K'/K * N/M in a layer without padding."""


@dataclass(frozen=True, config=_config)
class Sources:
    """The files that a result depends on, in the state that they had."""

    data: str = ""
    """Of the data set's files; empty if it ships."""
    weights: str = ""
    """SHA-256 of the given weights; empty without any."""
    resize_head: bool = False
    """Whether a new head was allowed."""


@dataclass(frozen=True, config=_config)
class PruneSummary:
    """One run of the pruning stage."""

    network: str
    dataset: str
    user_classes: tuple[int, ...]
    config: PruneConfig
    """Every option, the seed included."""
    samples: int
    """Training samples of the user's classes that scoring and fine-tuning used."""
    dense_all_classes: Scores
    """The dense network as trained, on samples of all classes."""
    dense: Scores
    """The same on samples of the user's classes, as everything below."""
    dense_finetuned: Scores | None
    """The dense network fine-tuned on the user's classes, for as many epochs as the pruned one:
    the upper bound; None where the configuration wants none."""
    pruned: Scores
    sparsity: float
    """Zeros among the weights of the prunable layers: what ``config.sparsity`` asked for."""
    sparsity_all: float
    """Zeros among the weights of all conv and linear layers, stem, depthwise and head included."""
    parameters: int
    """All parameters of the dense network, biases and norms included."""
    parameters_kept: int
    """The same less the zeros."""
    prunable_weights: int
    all_weights: int
    """Weights of all conv and linear layers, biases and norms excluded."""
    macs_ratio: float
    """Multiply-accumulates with non-zero weights over those of the dense network."""
    iterations: tuple[IterationReport, ...]
    layers: tuple[LayerReport, ...]
    """In execution order."""
    dense_weights: str
    """Where the dense weights came from: ``trained``, ``reused``, or the given file, with
    ``, new head`` where the head was started anew and the network trained from there."""
    seconds: dict[str, float]
    """Wall-clock time of each phase."""
    versions: dict[str, str]
    device: str
    """Where it ran, and the precision of training: ``cpu, float32``."""
    sources: Sources = Sources()
    """Which files the result depends on."""


def kept_macs(table: LayerTable, reports: Sequence[LayerReport]) -> int:
    """Multiply-accumulates of one image with a kept weight; ``reports`` in the table's order."""
    return sum(report.nnz * layer.N for report, layer in zip(reports, table.layers, strict=True))


def layer_reports(plan: Plan, masks: Masks) -> tuple[LayerReport, ...]:
    """The report of every layer of ``plan``, counted from the masks themselves."""
    reports: list[LayerReport] = []
    for entry in plan.layers:
        layer = entry.layer
        mask = masks.layers.get(layer.name)
        nnz = layer.weights if mask is None else int(mask.sum())
        columns = kept = None
        if mask is not None and entry.form in ("hybrid", "nm"):
            # Raises where the mask does not hold the pattern.
            found = sparsity_of(matrix_view(mask).astype(np.bool_), masks.nm, masks.block)
            if entry.form == "hybrid":
                columns = blocks_over(layer.K, masks.block)
                kept = columns if found.kept_blocks is None else found.kept_blocks
        reports.append(
            LayerReport(
                name=layer.name,
                form=entry.form,
                reason=entry.reason,
                S=layer.S,
                K=layer.K,
                nnz=nnz,
                sparsity=1 - nnz / layer.weights,
                block_columns=columns,
                kept_blocks=kept,
                K_kept=None if kept is None else kept * masks.block,
            )
        )
    return tuple(reports)
