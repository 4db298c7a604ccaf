"""Energies of designs: Accelergy's for those that ship, and what follows when numbers change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crisp_loop.accelerators import Accelerator, available, load_accelerator
from crisp_loop.accelerators.pricing import AREA, prices
from crisp_loop.core.errors import InputError
from crisp_loop.core.files import dump_yaml, read_yaml
from crisp_loop.mapping.library import fingerprint, shipped_mappings

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/golden/accelergy"
Data = dict[str, Any]


def own(tmp_path: Path, change: Callable[[Data], None], base: str = "dense") -> Path:
    data = read_yaml(ROOT / f"arch/{base}.yaml")
    data["name"] = "own"
    change(data)
    path = tmp_path / "own.yaml"
    path.write_text(dump_yaml(data), encoding="utf-8")
    return path


def level(data: Data, name: str) -> Data:
    return next(each for each in data["levels"] if each["name"] == name)


def energies(design: Accelerator) -> dict[tuple[str, str], float]:
    return {
        (price.component, price.action): price.value
        for price in prices(design)
        if price.action != AREA
    }


def sources(design: Accelerator) -> dict[tuple[str, str], str]:
    return {
        (price.component, price.action): price.source
        for price in prices(design)
        if price.action != AREA
    }


@pytest.mark.parametrize("name", available())
def test_shipped_energies_are_what_accelergy_said(name: str) -> None:
    design = load_accelerator(name)
    recorded = RECORDED / ("dstc" if name in ("dstc", "s2ta") else "dense")
    said = {}
    for table in read_yaml(recorded / "ERT.yaml")["ERT"]["tables"]:
        component = table["name"].replace("[0..63]", "").rsplit(".", 1)[-1]
        for action in table["actions"]:
            said[component, action["name"]] = action["energy"]
    ours = energies(design)
    for place, source in sources(design).items():
        if source == "stated":
            assert place in {("MAC", "mac_gated"), ("MAC", "mac_skipped")}
            continue
        assert source == "exact"
        # Memories to the six digits that CACTI prints; Aladdin's figures are kept to four.
        rounding = 5e-6 if place[0] in ("DRAM", "SMEM", "RF") else 5e-4
        assert ours[place] == pytest.approx(said.pop(place), rel=rounding)
    assert not said


@pytest.mark.parametrize("name", available())
def test_shipped_areas_are_what_accelergy_said(name: str) -> None:
    recorded = RECORDED / ("dstc" if name in ("dstc", "s2ta") else "dense")
    said = {
        table["name"].replace("[0..63]", "").rsplit(".", 1)[-1]: table["area"]
        for table in read_yaml(recorded / "ART.yaml")["ART"]["tables"]
    }
    design = load_accelerator(name)
    assert {part.name: part.area for part in design.components} == pytest.approx(said, rel=1e-5)


@pytest.mark.parametrize("name", available())
def test_shipped_mappings_know_the_designs(name: str) -> None:
    """Their hash holds every energy to the last digit."""
    assert shipped_mappings(load_accelerator(name)) is not None


def test_a_larger_smem_has_the_energies_of_a_larger_sram(tmp_path: Path) -> None:
    def doubled(data: Data) -> None:
        level(data, "SMEM")["depth"] *= 2

    before, now = load_accelerator("dense"), load_accelerator(str(own(tmp_path, doubled)))
    # Accelergy 0.4 of SRAM 16384 x 256 b, 2 banks (tests/golden/accelergy/srams.json).
    changed = {("SMEM", "read"): 164.811, ("SMEM", "write"): 158.234}
    assert energies(now) == energies(before) | changed
    assert now.level("SMEM").area == pytest.approx(1870200 + 111096, rel=1e-5)
    assert fingerprint(now) != fingerprint(before)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (lambda d: level(d, "SMEM").update(banks=4), {"SMEM"}),
        (lambda d: level(d, "SMEM").update(ports=2), {"SMEM"}),
        (lambda d: level(d, "SMEM").update(width=128), {"SMEM"}),
        (lambda d: level(d, "SMEM")["metadata"].update(depth=10922), {"SMEM"}),
        (lambda d: level(d, "RF").update(banks=8), {"RF"}),
        (lambda d: level(d, "RF").update(banking="joint"), {"RF"}),
        (lambda d: level(d, "DRAM").update(dram_type="HBM2"), {"DRAM"}),
        (lambda d: level(d, "DRAM")["metadata"].update(width=32), {"DRAM"}),
        (lambda d: d.update(technology="22nm"), {"SMEM", "RF", "LRF", "MAC"}),
        (lambda d: d["compute"].update(datawidth=16), {"MAC"}),
        (
            lambda d: level(d, "LRF").update(parts={"data": {"class": "reg", "width": 8}}),
            {"LRF"},
        ),
        (
            lambda d: d["compute"].update(actions={"mac_random": ["multiplier.multiply"]}),
            {"MAC"},
        ),
    ],
)
def test_what_changes_is_what_is_touched(
    change: Callable[[Data], None], moved: set[str], tmp_path: Path
) -> None:
    before = energies(load_accelerator("dense"))
    now = energies(load_accelerator(str(own(tmp_path, change))))
    assert before.keys() == now.keys()
    assert {place[0] for place in now if now[place] != before[place]} == moved


def test_stated_energies_stay_and_are_told_as_such(tmp_path: Path) -> None:
    def stated(data: Data) -> None:
        level(data, "SMEM").update(depth=1 << 20, energy={"read": 7, "write": 8})
        level(data, "SMEM")["energy"] |= {"metadata_read": 0.5, "metadata_write": 0.25}
        level(data, "SMEM")["area"] = 12
        level(data, "RF")["energy"] = {"read": 0.125}

    design = load_accelerator(str(own(tmp_path, stated)))
    ours, told = energies(design), sources(design)
    assert (ours["SMEM", "read"], ours["SMEM", "metadata_write"]) == (7, 0.25)
    assert design.level("SMEM").area == 12
    areas = {price.component: price for price in prices(design) if price.action == AREA}
    assert (areas["SMEM"].value, areas["SMEM"].source) == (12, "stated")
    assert (areas["RF"].value, areas["RF"].source) == (4221.44, "exact")
    assert {told["SMEM", action] for action in design.level("SMEM").energy} == {"stated"}
    # One action stated, the other looked up.
    assert (ours["RF", "read"], told["RF", "read"]) == (0.125, "stated")
    assert (ours["RF", "write"], told["RF", "write"]) == (0.524941, "exact")


def test_a_design_that_states_the_same_numbers_is_the_same_to_the_mappings(tmp_path: Path) -> None:
    shipped = load_accelerator("dense")

    def spelled_out(data: Data) -> None:
        data["name"] = "dense"
        for part in (*data["levels"], data["compute"]):
            component = shipped.component(part["name"])
            part.update(energy=component.energy, area=component.area)

    assert fingerprint(load_accelerator(str(own(tmp_path, spelled_out)))) == fingerprint(shipped)


REFUSED = {
    "depth": (
        lambda d: level(d, "SMEM").update(depth=200_000),
        r"levels\.1\.depth: 200000 cannot be used; the 45nm table of SRAMs with 2 banks and 1 ports"
        r" reaches 65536 blocks, for data of SMEM; .*state energy and area",
    ),
    "metadata": (
        lambda d: level(d, "SMEM")["metadata"].update(depth=200_000),
        r"levels\.1\.metadata\.depth: 200000 .*for metadata of SMEM",
    ),
    "store without depth": (
        lambda d: level(d, "SMEM")["metadata"].pop("depth"),
        r"levels\.1\.metadata\.depth: None .*give it a depth",
    ),
    "banks": (
        lambda d: level(d, "SMEM").update(banks=3),
        r"levels\.1\.banks: 3 .*table of SRAMs holds 1, 2, 4, 8, 16, 32",
    ),
    "part": (
        lambda d: level(d, "SMEM").update(
            parts={"data": {"class": "SRAM", "depth": 64, "width": 1024}}
        ),
        r"levels\.1\.parts\.data\.width: 1024 .*reaches 512 bits",
    ),
    "technology": (
        lambda d: d.update(technology="16nm"),
        r"technology: '16nm' .*holds 22nm to 90nm",
    ),
    "datawidth": (
        lambda d: d["compute"].update(datawidth=64),
        r"compute\.datawidth: 128 .*aladdin_adder holds 1 to 64 bits, for adder of MAC",
    ),
    "stated twice": (
        lambda d: level(d, "RF").update(energy={"read": 1}, actions={"read": ["data.read"]}),
        r"levels\.2\.energy\.read: 1.0 .*give one of the two",
    ),
    "unknown part": (
        lambda d: level(d, "RF").update(actions={"read": ["bank.read"]}),
        r"levels\.2\.actions\.read: 'bank' .*among the parts: data",
    ),
    "unknown action": (
        lambda d: level(d, "RF").update(actions={"read": ["data.fetch"]}),
        r"levels\.2\.actions\.read: 'data.fetch' .*data knows read, write",
    ),
    "unknown class": (
        lambda d: level(d, "RF").update(parts={"data": {"class": "flash", "width": 8}}),
        r"levels\.2\.parts\.data",
    ),
    "free text": (
        lambda d: level(d, "RF").update(priced_as="SRAM"),
        r"priced_as.*the known keys: .*parts, actions, energy, area",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_priced_names_file_field_value_and_range(name: str, tmp_path: Path) -> None:
    change, sentence = REFUSED[name]
    path = own(tmp_path, change)
    with pytest.raises(InputError, match=sentence) as caught:
        load_accelerator(str(path))
    assert str(caught.value).startswith(f"{path}: ")
