"""What a level or the compute unit is made of, where the arch file does not say.

| part of | becomes |
| --- | --- |
| DRAM | ``data``: DRAM as wide as the level; its metadata lies in the same chips |
| SRAM level | ``data``: an SRAM of the level's depth, width, banks and ports |
| its metadata store | ``metadata``: an SRAM of the store's depth and width, otherwise alike |
| ... with separate banks | one bank, counted as many times |
| ... of depth 1 | a register |
| compute | ``multiplier`` as wide as an operand, ``adder`` twice as wide |
"""

from __future__ import annotations

from math import ceil

from crisp_loop.accelerators.schema import Compute, Level
from crisp_loop.primitives.schema import DRAM, SRAM, Logic

Parts = dict[str, SRAM | DRAM | Logic]
Actions = dict[str, tuple[str, ...]]


def default_parts(component: Level | Compute) -> Parts:
    """The parts of one instance by the numbers of the component.

    A metadata store without a depth has none: how large it is must be said.
    """
    if isinstance(component, Compute):
        return {
            "multiplier": Logic(class_="aladdin_multiplier", width=component.datawidth),
            "adder": Logic(class_="aladdin_adder", width=2 * component.datawidth),
        }
    store = component.metadata
    if component.kind == "DRAM":
        data = DRAM(type=component.dram_type, width=component.width)
        if store is None or store.width == component.width:
            return {"data": data}
        return {"data": data, "metadata": DRAM(type=component.dram_type, width=store.width)}
    parts: Parts = {}
    if component.depth:
        parts["data"] = _memory(component, component.depth, component.width)
    if store and store.depth:
        parts["metadata"] = _memory(component, store.depth, store.width)
    return parts


def default_actions(component: Level | Compute, parts: Parts) -> Actions:
    """Which actions of ``parts`` each action of the component is.

    Aladdin's tables know no write of a register; its read stands in for it.
    """
    if isinstance(component, Compute):
        return {"mac_random": ("multiplier.multiply", "adder.add")}
    stores = {"": "data"}
    if component.metadata:
        shared = component.kind == "DRAM" and "metadata" not in parts
        stores["metadata_"] = "data" if shared else "metadata"
    actions: Actions = {}
    for prefix, part in stores.items():
        write = "read" if isinstance(parts.get(part), Logic) else "write"
        actions[f"{prefix}read"] = (f"{part}.read",)
        actions[f"{prefix}write"] = (f"{part}.{write}",)
    return actions


def _memory(level: Level, depth: int, width: int) -> SRAM | Logic:
    count, banks = 1, level.banks
    if level.banking == "separate":
        count, banks, depth = level.banks, 1, ceil(depth / level.banks)
    if depth == 1:
        return Logic(class_="aladdin_register", width=width, count=count)
    return SRAM(depth=depth, width=width, banks=banks, ports=level.ports, count=count)
