"""`set` and load_accelerator's changes: the same design as a file written out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crisp_loop.accelerators import Accelerator, available, load_accelerator
from crisp_loop.accelerators.changes import changed, value_at
from crisp_loop.accelerators.load import read_design
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml, read_yaml

ARCH = Path(__file__).parents[2] / "arch"


def by_hand() -> dict[str, Any]:
    """dstc over dense, and four fields edited where they stand."""
    data = read_yaml(ARCH / "dense.yaml") | read_yaml(ARCH / "dstc.yaml")
    del data["like"]
    data["levels"][0]["read_bandwidth"] = 64
    data["levels"][1]["metadata"]["depth"] = 8192
    data["compute"]["energy"]["mac_gated"] = 0
    data["dataflow"][1]["dims"]["M"] = 4
    return data


CHANGES = {
    "DRAM.read_bandwidth": 64,
    "SMEM.metadata.depth": 8192,
    "MAC.energy.mac_gated": 0,
    "dataflow.1.dims.M": 4,
}


def written(path: Path, data: dict[str, Any]) -> Accelerator:
    path.write_text(dump_yaml(data))
    return load_accelerator(str(path))


def test_set_is_the_file_edited_by_hand(tmp_path: Path) -> None:
    expected = written(tmp_path / "hand.yaml", by_hand())
    assert written(tmp_path / "set.yaml", {"like": "dstc", "set": CHANGES}) == expected
    assert load_accelerator("dstc", CHANGES) == expected
    long = {f"levels.{path}" if path[0] in "DS" else path: v for path, v in CHANGES.items()}
    assert load_accelerator("dstc", long) == expected
    # The store became a table's row of its own: its energies follow from the new depth.
    store, before = expected.level("SMEM"), load_accelerator("dstc").level("SMEM")
    assert store.energy["metadata_read"] > before.energy["metadata_read"]
    assert store.energy["read"] == before.energy["read"]


def test_changes_come_after_set_and_leave_the_shipped_design_alone(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(dump_yaml({"like": "dense", "name": "own", "set": {"SMEM.banks": 4}}))
    before = load_accelerator("dense")
    changed = load_accelerator(str(path), {"SMEM.banks": 1, "RF.read_bandwidth": 8})
    assert changed.level("SMEM").banks == 1
    assert changed.level("RF").read_bandwidth == 8  # a field that the file does not name
    assert load_accelerator("dense") == before


@pytest.mark.parametrize("name", available())
def test_no_changes_change_nothing(name: str) -> None:
    assert load_accelerator(name, {}) == load_accelerator(name)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SMEN.depth": 1}, "set.SMEN.depth: 'SMEN' cannot be used; expected one of name, title"),
        ({"SMEM.dept": 1}, "levels.1.dept: 'dept' cannot be used; it is unknown here"),
        ({"levels.7.depth": 1}, "set.levels.7.depth: '7' cannot be used; expected DRAM, SMEM"),
        ({"SMEM.width.x": 1}, "set.SMEM.width.x: 1 cannot be used; width is a value"),
        ({"SMEM.width.x.y": 1}, "set.SMEM.width.x.y: 'x' cannot be used; what stands before it"),
        ({"dataflow.9": {}}, "set.dataflow.9: '9' cannot be used; expected a number below 6"),
        ({"SMEM.width": 24}, "width / datawidth is 24/8; expected 1, 2, 4"),
        ({"clock": 1}, "clock: 'clock' cannot be used; it is unknown here"),
    ],
)
def test_a_change_that_leads_nowhere(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CrispLoopError) as error:
        load_accelerator("dense", changes)
    assert str(error.value).startswith("arch/dense.yaml: ")
    assert sentence in str(error.value)


def test_set_is_paths_with_values(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("like: dense\nname: own\nset: [1]\n")
    with pytest.raises(CrispLoopError, match=r"own.yaml: set: \[1\] cannot be used"):
        load_accelerator(str(path))


def test_a_path_tells_what_a_file_says() -> None:
    data = read_design("dstc").data
    for path, value in CHANGES.items():
        assert value_at(changed(data, CHANGES, "dstc"), path) == value
        assert value_at(data, path) != value
    assert value_at(data, "levels.SMEM.depth") == value_at(data, "SMEM.depth") == 8192
    for nowhere in ("SMEM.size", "HBM.depth", "dataflow.99.dims", "SMEM.depth.more"):
        assert value_at(data, nowhere) is None


def test_a_design_file_makes_many_designs() -> None:
    file = read_design("dstc")
    made = [file.design(CHANGES), file.design(), file.design({"SMEM.depth": 4096})]
    assert made[0] == load_accelerator("dstc", CHANGES)
    assert made[1] == load_accelerator("dstc"), "changes do not stay in the file"
    assert made[2].level("SMEM").depth == 4096
