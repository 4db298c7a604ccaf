"""What a primitive costs, from the shipped tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from crisp_loop.primitives.errors import UnpricedError
from crisp_loop.primitives.schema import DRAM, SRAM, Logic
from crisp_loop.primitives.sram import figures
from crisp_loop.primitives.tables import dram_table, logic_table, sram_nodes

Source = Literal["exact", "interpolated"]


@dataclass(frozen=True)
class Quote:
    """The figures of one primitive."""

    energy_pJ: Mapping[str, float]
    """pJ an action of one copy."""
    area_um2: float
    """um^2 of one copy."""
    leakage_uW: float
    """uW of one copy."""
    source: Source
    """``exact``: Accelergy's own answer; ``interpolated``: between answers to its neighbours."""


def look_up(primitive: SRAM | DRAM | Logic, technology: int) -> Quote:
    """The figures of ``primitive``.

    Args:
        primitive: What to price; its ``count`` is left to the caller.
        technology: Node in nm.

    Raises:
        UnpricedError: the tables do not reach it.
    """
    if isinstance(primitive, SRAM):
        return _sram(primitive, technology)
    if isinstance(primitive, DRAM):
        energy = _six_digits(dram_table()[primitive.type] * primitive.width)
        return Quote({"read": energy, "write": energy}, 0.0, 0.0, "exact")
    return _logic(primitive, technology)


def _sram(primitive: SRAM, technology: int) -> Quote:
    nodes = sram_nodes()
    if not nodes[0] <= technology <= nodes[-1]:
        raise UnpricedError(
            "technology",
            f"{technology}nm",
            f"the table of SRAMs holds {nodes[0]}nm to {nodes[-1]}nm",
        )
    said, exact = figures(primitive, technology)
    return Quote(
        {"read": _six_digits(said.read_pJ), "write": _six_digits(said.write_pJ)},
        _six_digits(said.area_um2),
        _six_digits(said.leakage_uW),
        "exact" if exact else "interpolated",
    )


def _logic(primitive: Logic, technology: int) -> Quote:
    table = logic_table()
    kind = primitive.class_
    nodes = _logic_nodes(kind)
    if technology not in nodes:
        known = ", ".join(f"{node}nm" for node in nodes)
        raise UnpricedError("technology", f"{technology}nm", f"the table of {kind} holds {known}")
    said = table.get((kind, technology, primitive.width))
    if said is None:
        widths = [width for each, node, width in table if (each, node) == (kind, technology)]
        raise UnpricedError(
            "width",
            primitive.width,
            f"the table of {kind} holds {min(widths)} to {max(widths)} bits",
        )
    return Quote(
        dict.fromkeys(primitive.actions, said.energy_pJ),
        said.area_um2,
        said.leakage_uW,
        "exact",
    )


@cache
def _logic_nodes(kind: str) -> tuple[int, ...]:
    """The nodes that the table of logic holds for a kind."""
    return tuple(sorted({node for each, node, _ in logic_table() if each == kind}))


def _six_digits(value: float) -> float:
    """Six significant digits, as Accelergy prints its own tables."""
    return float(f"{value:.6g}")
