"""What ``crisp-loop map`` prints: why each mapping wins."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from crisp_loop.cli.tables import plain_table
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.mapping.explain import Explanation


def mapping_table(accelerator: str, explanations: Sequence[Explanation]) -> Table:
    """The mappings of one design as rooflines, one row a different GEMM."""
    memories = tuple(dict.fromkeys(name for each in explanations for name in each.memory_roofs))
    table = plain_table(
        "layers", "cycles", "µJ", "of peak", "arithmetic", *memories, "bound by"
    )  # fmt: skip
    for column in table.columns[1:]:
        column.no_wrap = True
    for each in explanations:
        layer, *same = each.layers
        roofs = [
            f"{each.memory_roofs[name]:,.1f}" if name in each.memory_roofs else "-"
            for name in memories
        ]
        table.add_row(
            Text(f"{layer} +{len(same)}" if same else layer, overflow="fold"),
            f"{each.cycles:,}",
            f"{each.energy_uJ:,.2f}",
            f"{each.utilization:.0%}",
            f"{each.arithmetic_roof:.1f}",
            *roofs,
            each.bottleneck,
        )
    found = [each.found for each in explanations if each.found]
    said = dict.fromkeys(f"{each.objective} ({each.tool} {each.version})" for each in found)
    table.title = f"{accelerator}: mappings by {', '.join(said) or 'hand'}"
    table.caption = (
        "computes a cycle that the arithmetic and each memory allow; the lowest binds\n"
        f"{sum(each.mapspace for each in found):,} mappings compared,"
        f" {sum(each.priced for each in found):,} of them priced"
    )
    return table


def explained(layer: str, explanations: Sequence[Explanation]) -> list[Tree]:
    """One layer on every design: its loop nest, and why it wins in a sentence.

    Raises:
        CrispLoopError: no such layer.
    """
    mine = [each for each in explanations if layer in each.layers]
    if not mine:
        known = dict.fromkeys(name for each in explanations for name in each.layers)
        raise CrispLoopError(f"layer: {layer!r} is unknown; expected one of {', '.join(known)}.")
    return [_nest(layer, each) for each in mine]


def _nest(layer: str, explanation: Explanation) -> Tree:
    title = Text.assemble(
        (layer, "bold"),
        f" on {explanation.accelerator}: {explanation.cycles:,} cycles,"
        f" {explanation.energy_uJ:,.2f} µJ. {_sentence(explanation.why)}",
    )
    root = Tree(title, highlight=False)
    node = root
    for loops in explanation.nest.loops:
        bounds = [f"{dim}={bound}" for dim, bound in reversed(loops.innermost_first())]
        if bounds:
            how = "side by side over" if loops.kind == "spatial" else "for"
            node = node.add(f"{loops.level}: {how} {', '.join(bounds)}", highlight=False)
    node.add("multiply-accumulate", highlight=False)
    return root


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
