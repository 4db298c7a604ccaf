"""Tables for the terminal that belong to no stage of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.layers import LayerTable

if TYPE_CHECKING:
    from crisp_loop.cost.doctor import Finding
    from crisp_loop.pack.run import PackSummary
    from crisp_loop.pareto import Pareto
    from crisp_loop.prune.config import PruneConfig
    from crisp_loop.prune.reprune import RepruneSummary
    from crisp_loop.prune.results import PruneSummary


def evaluation_table(evaluations: Sequence[Evaluation]) -> Table:
    """One row a spec."""
    table = plain_table("spec", "cycles", "energy µJ", "utilization", "bottleneck")
    for each in evaluations:
        table.add_row(
            Text(each.spec, overflow="fold"),
            f"{each.cycles:,}",
            f"{each.energy_uJ:,.3f}",
            f"{each.utilization:.1%}",
            each.bottleneck,
        )
    engines = dict.fromkeys(f"{each.engine} {each.engine_version}" for each in evaluations)
    table.caption = f"by {', '.join(engines)}"
    return table


@dataclass(frozen=True)
class NetworkRow:
    """One network that can be named."""

    name: str
    input_shape: tuple[int, int, int]
    """(C, H, W)."""
    classes: int
    """Outputs unless the data has another number of classes."""
    parameters: int


def networks_table(networks: Sequence[NetworkRow]) -> Table:
    """One row a network."""
    table = plain_table("network", "input", "classes", "parameters")
    for each in networks:
        shape = "x".join(map(str, each.input_shape))
        table.add_row(each.name, shape, f"{each.classes:,}", f"{each.parameters:,}")
    return table


def layers_table(layers: LayerTable) -> Table:
    """One row a layer, sums below."""
    table = plain_table("layer", "kind", "kernel", "groups", "S", "K", "N", "weights", "MACs")
    for layer in layers.layers:
        table.add_row(
            layer.name,
            "depthwise" if layer.depthwise else layer.kind,
            "x".join(map(str, layer.kernel)),
            str(layer.groups),
            f"{layer.S:,}",
            f"{layer.K:,}",
            f"{layer.N:,}",
            f"{layer.weights:,}",
            f"{layer.macs:,}",
        )
    table.title = f"{layers.model}: {layers.parameters:,} parameters"
    table.caption = (
        f"{len(layers.layers)} layers, {sum(each.weights for each in layers.layers):,} weights,"
        f" {sum(each.macs for each in layers.layers):,} MACs"
    )
    return table


def pruning_table(summary: PruneSummary) -> Table:
    """Accuracy on the user's classes, and what was pruned."""
    table = plain_table("weights", "all outputs", "among the user's classes")
    for name, scores in (
        ("dense, as trained on all classes", summary.dense),
        ("dense, fine-tuned (upper bound)", summary.dense_finetuned),
        ("pruned", summary.pruned),
    ):
        if scores is not None:
            test = scores.test
            table.add_row(name, f"{test.top1:.1%}", f"{test.top1_among_user_classes:.1%}")
    classes = ", ".join(map(str, summary.user_classes))
    table.title = f"{summary.network} on {summary.dataset}, test accuracy on classes {classes}"
    table.caption = (
        f"{pattern_of(summary.config)}: sparsity {summary.sparsity:.2%}"
        f" of the prunable weights, {summary.sparsity_all:.2%} of all;"
        f" {summary.macs_ratio:.1%} of the multiply-accumulates are left"
    )
    return table


def pattern_of(config: PruneConfig) -> str:
    """What is pruned, in a few words."""
    return {
        "crisp": f"{config.nm} in blocks of {config.block}",
        "blocks": f"blocks of {config.block}",
        "nm": str(config.nm),
        "unstructured": "single weights",
        "channel": "channels by saliency",
        "ocap": "channels as OCAP",
        "capnn": "channels as CAP'NN",
        "dense": "nothing pruned",
    }[config.method]


def reprune_table(summary: RepruneSummary, pruning: PruneSummary) -> Table:
    """What the new mask keeps of the old one, layer by layer."""
    table = plain_table("layer", "weights", "kept", "by chance", "lost", "regrown")
    for change in (*summary.changes, summary.total):
        table.add_row(
            change.layer,
            f"{change.weights:,}",
            f"{change.kept:,}",
            f"{change.kept_by_chance:,.0f}",
            f"{change.lost:,}",
            f"{change.regrown:,}",
        )
    before, now = (
        ", ".join(map(str, each)) for each in (summary.classes_before, summary.classes_now)
    )
    table.title = f"From classes {before} to {now}, starting {summary.start}"
    table.caption = (
        f"test accuracy on classes {now}: {summary.before.test.top1:.1%} before,"
        f" {summary.after.test.top1:.1%} now; {pattern_of(pruning.config)}, sparsity"
        f" {pruning.sparsity:.2%} of the prunable weights"
    )
    return table


def packing_table(summary: PackSummary) -> Table:
    """Bits of the packed layers, in all."""
    table = plain_table("bits", "total")
    for name, column in (
        ("values", "value_bits"),
        ("block indices", "block_index_bits"),
        ("N:M offsets", "offset_bits"),
        ("metadata", "metadata_bits"),
    ):
        table.add_row(name, f"{summary.total(column):,}")
    table.caption = f"{len(summary.layers)} layers; each one: {summary.storage}"
    return table


def pareto_table(found: Pareto) -> Table:
    """The choices on a front."""
    grid = found.front
    table = plain_table(*(head.title for head in grid.heads))
    for row in grid.rows:
        table.add_row(*(cell.shown for cell in row))
    table.caption = f"dense: {found.dense_accuracy:.1%}"
    return table


def doctor_table(findings: Sequence[Finding]) -> Table:
    """One row a finding."""
    table = Table("", "what", "found", "what to do", box=SIMPLE_HEAD)
    for finding in findings:
        mark = Text("yes", style="green") if finding.usable else Text("no", style="yellow")
        table.add_row(mark, finding.name, Text(finding.detail), Text(finding.remedy))
    return table


def plain_table(first: str, *others: str) -> Table:
    """An empty table: names in the first column, figures in the others."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
