"""The tables and what lies between their rows, against answers that Accelergy gave."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp_loop.energy import plan
from crisp_loop.primitives import DRAM, SRAM, Logic, UnpricedError, look_up
from crisp_loop.primitives.schema import DramType, LogicClass
from crisp_loop.primitives.tables import (
    Macro,
    dram_table,
    logic_table,
    sram_nodes,
    sram_table,
)

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden/accelergy/srams.json").read_text(encoding="utf-8")
)
"""What Accelergy said, see tests/energy/record_golden.py."""


def name(row: dict[str, Any]) -> str:
    return f"{row['node']}nm-" + "x".join(map(str, row["sram"].values()))


def errors(row: dict[str, Any]) -> dict[str, float]:
    quote = look_up(SRAM(**row["sram"]), row["node"])
    said = {
        "read_pJ": quote.energy_pJ["read"],
        "write_pJ": quote.energy_pJ["write"],
        "leakage_uW": quote.leakage_uW,
        "area_um2": quote.area_um2,
    }
    return {field: abs(value / row[field] - 1) for field, value in said.items()}


@pytest.mark.parametrize("row", [row for row in RECORDED if row["exact"]], ids=name)
def test_rows_and_the_plug_ins_own_scaling_are_accelergys_answer(row: dict[str, Any]) -> None:
    assert look_up(SRAM(**row["sram"]), row["node"]).source == "exact"
    # Both have six digits, and the scaled ones are rounded twice.
    assert max(errors(row).values()) < 1e-5


def test_srams_between_the_rows_are_near_accelergys_answer() -> None:
    between = [row for row in RECORDED if not row["exact"]]
    for row in between:
        assert look_up(SRAM(**row["sram"]), row["node"]).source == "interpolated"
    found = [errors(row) for row in between]
    for field in found[0]:
        assert mean(each[field] for each in found) < 0.06
        assert max(each[field] for each in found) < 0.35


@given(st.integers(64, 65536), st.sampled_from((32, 64, 256)), st.sampled_from((1, 2)))
def test_a_figure_between_two_rows_lies_between_theirs(depth: int, width: int, ports: int) -> None:
    column = sorted(
        macro.depth
        for macro in sram_table(45)
        if (macro.width, macro.banks, macro.ports) == (width, 1, ports)
    )
    below = max(each for each in column if each <= depth)
    above = min(each for each in column if each >= depth)
    quote = look_up(SRAM(depth=depth, width=width, ports=ports), 45)
    ends = [sram_table(45)[Macro(45, each, width, 1, ports)] for each in (below, above)]
    for value, field in (
        (quote.energy_pJ["read"], "read_pJ"),
        (quote.energy_pJ["write"], "write_pJ"),
        (quote.area_um2, "area_um2"),
    ):
        lowest, highest = sorted(getattr(end, field) for end in ends)
        assert lowest * (1 - 1e-5) <= value <= highest * (1 + 1e-5)


def test_a_quarter_of_the_width_costs_what_the_plug_in_says() -> None:
    whole, narrow = (look_up(SRAM(depth=256, width=width), 45) for width in (32, 8))
    for action in ("read", "write"):
        assert narrow.energy_pJ[action] == pytest.approx(0.475 * whole.energy_pJ[action], rel=1e-5)
    assert narrow.area_um2 == pytest.approx(whole.area_um2 / 4, rel=1e-5)


@pytest.mark.parametrize("kind", dram_table())
def test_dram_costs_the_same_a_bit(kind: DramType) -> None:
    said = look_up(DRAM(type=kind, width=64), 45).energy_pJ
    assert said["read"] == said["write"] == pytest.approx(64 * dram_table()[kind])
    assert look_up(DRAM(type="LPDDR4", width=64), 7).energy_pJ["read"] == 512.0


@pytest.mark.parametrize(
    ("kind", "action", "energy"),
    [
        # Library: 40 nm, 32 b; registers and adders scale with the width, multipliers with its
        # cube; times 1.26524 from 40 to 45 nm. Aladdin: 40 nm as it is, multipliers by the square.
        ("aladdin_register", "read", 0.009 * 8 * 1.26524),
        ("aladdin_adder", "add", 0.21 / 4 * 1.26524),
        ("aladdin_multiplier", "multiply", 12.68 / 64 * 1.26524),
        ("reg", "read", 0.009 * 8),
        ("intadder", "add", 0.21 / 4),
        ("intmultiplier", "multiply", 12.68 / 16),
    ],
)
def test_logic_of_8_bits(kind: LogicClass, action: str, energy: float) -> None:
    said = look_up(Logic(class_=kind, width=8), 45)
    assert said.energy_pJ == {action: pytest.approx(energy, rel=1e-3)}
    assert said.area_um2 > 0


@pytest.mark.parametrize(
    ("primitive", "node", "field", "value", "expected"),
    [
        (SRAM(depth=65537, width=256), 45, "depth", 65537, "reaches 65536 blocks"),
        (SRAM(depth=1 << 20, width=40), 45, "depth", 1 << 20, "reaches 65536 blocks"),
        (SRAM(depth=8192, width=520), 45, "width", 520, "reaches 512 bits"),
        (SRAM(depth=8192, width=256, banks=3), 45, "banks", 3, "holds 1, 2, 4, 8, 16, 32"),
        (SRAM(depth=8192, width=256, ports=4), 45, "ports", 4, "holds 1, 2"),
        (SRAM(depth=8192, width=256), 16, "technology", "16nm", "holds 22nm to 90nm"),
        (SRAM(depth=8192, width=256), 91, "technology", "91nm", "holds 22nm to 90nm"),
        (Logic(class_="reg", width=8), 65, "technology", "65nm", "holds 40nm, 45nm"),
        (Logic(class_="aladdin_adder", width=65), 45, "width", 65, "holds 1 to 64 bits"),
    ],
)
def test_what_the_tables_do_not_reach_is_refused_with_their_range(
    primitive: SRAM | Logic, node: int, field: str, value: object, expected: str
) -> None:
    with pytest.raises(UnpricedError) as caught:
        look_up(primitive, node)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert expected in caught.value.expected


def test_the_tables_hold_what_is_planned() -> None:
    assert sram_nodes() == tuple(sorted(plan.SRAM_AXES))
    rows = {macro for node in sram_nodes() for macro in sram_table(node)}
    assert rows == set(plan.macros())
    assert set(dram_table()) == {dram.type for dram in plan.drams()}
    assert set(logic_table()) == {(part.class_, node, part.width) for node, part in plan.logic()}


@pytest.mark.parametrize("node", sram_nodes())
def test_twice_the_depth_has_more_area_and_leaks_more(node: int) -> None:
    """A shifted column would show. CACTI's own steps go down, too, but not over an octave."""
    table = sram_table(node)
    compared = 0
    for macro, small in table.items():
        large = table.get(macro._replace(depth=2 * macro.depth))
        if large is not None:
            assert small.area_um2 < large.area_um2
            assert small.leakage_uW < large.leakage_uW
            compared += 1
    assert compared > len(table) / 2
