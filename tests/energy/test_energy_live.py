"""The installed Accelergy against what ships."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from crisp_loop.accelerators import available, load_accelerator
from crisp_loop.core.files import dump_yaml, read_yaml
from crisp_loop.core.progress import Quiet
from crisp_loop.energy.accelergy import Accelergy
from crisp_loop.energy.cacti import PLUG_IN, Cacti
from crisp_loop.energy.record import _drams, _logic
from crisp_loop.energy.run import price_designs
from crisp_loop.primitives.tables import dram_table, logic_table, sram_nodes, sram_table

pytestmark = [
    pytest.mark.accelergy,
    pytest.mark.skipif(shutil.which("accelergy") is None, reason="accelergy is not on PATH"),
]
ARCH = Path(__file__).parents[2] / "arch"


@pytest.mark.parametrize("name", available())
def test_shipped_designs_have_accelergys_energies_and_areas(name: str) -> None:
    report = price_designs([name], Accelergy.find())
    assert report.problems == ()
    for row in report.rows:
        if row.source == "stated":
            assert row.accelergy is None
        else:
            assert row.accelergy == pytest.approx(row.value, rel=5e-4, abs=1e-12)


def test_an_own_design_has_accelergys_energies(tmp_path: Path) -> None:
    data = read_yaml(ARCH / "dstc.yaml")
    data.update(name="own", technology="32nm", like="dense")
    smem = next(level for level in data["levels"] if level["name"] == "SMEM")
    smem.update(depth=16384, width=128, banks=4, ports=2)
    smem["metadata"]["width"] = 64
    smem["metadata"]["depth"] = 4096
    dram = next(level for level in data["levels"] if level["name"] == "DRAM")
    dram.update(dram_type="HBM2")
    path = tmp_path / "own.yaml"
    path.write_text(dump_yaml(data))
    report = price_designs([str(path)], Accelergy.find())
    assert report.problems == ()
    assert {row.source for row in report.rows} == {"exact", "stated"}
    for row in report.rows:
        if row.accelergy is not None:
            assert row.accelergy == pytest.approx(row.value, rel=5e-4, abs=1e-12)


@pytest.mark.parametrize("node", sram_nodes())
def test_rows_are_what_cacti_says(node: int) -> None:
    cacti = Cacti.beside(Accelergy.find().plug_in(PLUG_IN))
    small = sorted(macro for macro in sram_table(node) if macro.depth <= 8192)
    for macro in random.Random(node).sample(small, 12):
        assert cacti.measure(macro) == sram_table(node)[macro]


@pytest.mark.slow
def test_the_other_tables_are_what_accelergy_says() -> None:
    accelergy = Accelergy.find()
    assert dict(_drams(accelergy)) == dram_table()
    said = {(kind, node, width): tuple(figures) for kind, node, width, *figures in
            _logic(accelergy, Quiet())}  # fmt: skip
    assert said == {place: tuple(figures) for place, figures in logic_table().items()}


def test_parts_of_a_unit_whose_figures_are_stated_are_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    # Accelergy's Aladdin plug-in knows 40 and 45 nm only.
    path.write_text(
        "like: dense\nname: own\ntechnology: 65nm\n"
        "compute:\n  name: MAC\n  mesh: [4, 64]\n"
        "  parts: {multiplier: {class: intmultiplier, width: 8}}\n"
        "  energy: {mac_random: 1.0, mac_gated: 0.0, mac_skipped: 0.0}\n  area: 1.0\n"
    )
    report = price_designs([str(path)], Accelergy.find())
    assert report.problems == ()
    assert load_accelerator(str(path)).compute.parts == {}
