"""SRAMs between the rows of the tables.

CACTI takes whole bytes, at least 32 bits of width and 64 blocks a bank, at five technology nodes.
Accelergy's CACTI plug-in scales from there to what was asked (``CactiMemory._interp_size`` and
``_interp_technology`` of its ``cacti_wrapper.py``). The same rules stand here, in the same order
of operations: an SRAM whose macros are in the tables has Accelergy's figures to the last digit.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from math import ceil, exp, log

from crisp_loop.primitives.errors import UnpricedError
from crisp_loop.primitives.schema import SRAM
from crisp_loop.primitives.tables import Figures, Macro, sram_nodes, sram_table

_LEAST_WIDTH = 32
_LEAST_DEPTH = 64
"""Blocks a bank."""
_WIDTH_SHARE = 0.7
"""Share of a narrow macro's dynamic energy that scales with its width."""
_FIXED_SHARE = 0.3
_DEPTH_POWER = 1.56 / 2
"""Power of the depth that a shallow macro's dynamic energy scales with."""


def figures(sram: SRAM, technology: int) -> tuple[Figures, bool]:
    """Figures of ``sram`` at ``technology`` nm, and whether they are the plug-in's own.

    Between two nodes the plug-in mixes them in proportion.

    Raises:
        UnpricedError: the tables do not reach it.
    """
    nodes = sram_nodes()
    upper = nodes[bisect_left(nodes, technology)]
    if upper == technology:
        return _at_node(sram, technology)
    lower = nodes[nodes.index(upper) - 1]
    share = (technology - lower) / (upper - lower)
    (small, small_exact), (large, large_exact) = _at_node(sram, lower), _at_node(sram, upper)
    mixed = (a * (1 - share) + b * share for a, b in zip(small, large, strict=True))
    return Figures(*mixed), small_exact and large_exact


def _at_node(sram: SRAM, node: int) -> tuple[Figures, bool]:
    width = max(8 * ceil(sram.width / 8), _LEAST_WIDTH)
    depth = max(sram.depth, _LEAST_DEPTH * sram.banks)
    said, exact = _macro(Macro(node, depth, width, sram.banks, sram.ports), sram)
    narrow, shallow = sram.width / width, sram.depth / depth
    dynamic = (narrow * _WIDTH_SHARE + _FIXED_SHARE) * shallow**_DEPTH_POWER
    scaled = Figures(
        said.read_pJ * dynamic,
        said.write_pJ * dynamic,
        said.leakage_uW * narrow * shallow,
        said.area_um2 * narrow * shallow,
    )
    return scaled, exact


def _macro(macro: Macro, asked: SRAM) -> tuple[Figures, bool]:
    """The row of ``macro``, or what lies between its neighbours in depth and width."""
    said = sram_table(macro.node).get(macro)
    if said is not None:
        return said, True
    columns = _columns(macro.node, macro.banks, macro.ports)
    if not columns:
        raise _unknown_organisation(macro)
    widths = sorted(columns)
    if not widths[0] <= macro.width <= widths[-1]:
        raise UnpricedError(
            "width", asked.width, f"the {macro.node}nm table of SRAMs reaches {widths[-1]} bits"
        )
    place = bisect_left(widths, macro.width)
    if widths[place] == macro.width:
        return _between_depths(macro, asked), False
    narrow, wide = (
        _between_depths(macro._replace(width=width), asked)
        for width in widths[place - 1 : place + 1]
    )
    return _between(narrow, wide, widths[place - 1], macro.width, widths[place]), False


def _between_depths(macro: Macro, asked: SRAM) -> Figures:
    depths = _columns(macro.node, macro.banks, macro.ports)[macro.width]
    table = sram_table(macro.node)
    if not depths[0] <= macro.depth <= depths[-1]:
        raise UnpricedError(
            "depth",
            asked.depth,
            f"the {macro.node}nm table of SRAMs with {macro.banks} banks and {macro.ports} ports"
            f" reaches {depths[-1]} blocks",
        )
    place = bisect_left(depths, macro.depth)
    if depths[place] == macro.depth:
        return table[macro]
    low, high = depths[place - 1], depths[place]
    return _between(
        table[macro._replace(depth=low)], table[macro._replace(depth=high)], low, macro.depth, high
    )


def _between(lower: Figures, upper: Figures, low: int, at: int, high: int) -> Figures:
    """Linear in the logarithms: figures grow as powers of depth and width."""
    share = log(at / low) / log(high / low)
    mixed = (exp((1 - share) * log(a) + share * log(b)) for a, b in zip(lower, upper, strict=True))
    return Figures(*mixed)


@cache
def _columns(node: int, banks: int, ports: int) -> dict[int, list[int]]:
    """Width to the depths of its rows, in order."""
    columns: dict[int, list[int]] = {}
    for macro in sorted(sram_table(node)):
        if (macro.banks, macro.ports) == (banks, ports):
            columns.setdefault(macro.width, []).append(macro.depth)
    return columns


def _unknown_organisation(macro: Macro) -> UnpricedError:
    table = sram_table(macro.node)
    known = {each.ports for each in table}
    field = "ports"
    if macro.ports in known:
        known = {each.banks for each in table if each.ports == macro.ports}
        field = "banks"
    listed = ", ".join(map(str, sorted(known)))
    return UnpricedError(
        field, getattr(macro, field), f"the {macro.node}nm table of SRAMs holds {listed}"
    )
