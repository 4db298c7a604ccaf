"""``crisp-loop energy`` without Accelergy, and with a stand-in that gives recorded answers."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crisp_loop.accelerators import available, load_accelerator
from crisp_loop.cli.main import app
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_yaml
from crisp_loop.energy.accelergy import Accelergy
from crisp_loop.energy.run import EnergyReport, price_designs

Fake = Callable[[str], Path]


def asked(name: str = "dense", keep: Path | None = None) -> EnergyReport:
    return price_designs([name], Accelergy.find(), keep)


def test_every_action_and_area_of_every_design_has_a_row() -> None:
    report = price_designs(available())
    assert report.problems == ()
    told = {(row.accelerator, row.component, row.action) for row in report.rows}
    assert len(told) == len(report.rows)
    for name in available():
        for part in load_accelerator(name).components:
            assert {(name, part.name, action) for action in [*part.energy, "area"]} <= told
    assert {row.accelergy for row in report.rows} == {None}


def test_files_hold_the_tables_that_specs_get(tmp_path: Path) -> None:
    report = price_designs(["dstc"], out_dir=tmp_path)
    ert = read_yaml(tmp_path / "dstc/ERT.yaml")["ERT"]["tables"]
    design = load_accelerator("dstc")
    for table, part in zip(ert, design.components, strict=True):
        assert table["name"] == design.path(part.name)
        assert {a["name"]: a["energy"] for a in table["actions"]} == part.energy
    art = read_yaml(tmp_path / "dstc/ART.yaml")["ART"]["tables"]
    assert [table["area"] for table in art] == [part.area for part in design.components]
    with (tmp_path / "energies.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["component"], row["action"], float(row["value"])) for row in rows] == [
        (row.component, row.action, row.value) for row in report.rows
    ]
    classes = {
        each["name"]: each
        for each in read_yaml(tmp_path / "dstc/components.yaml")["compound_components"]["classes"]
    }
    assert set(classes) == {part.class_name for part in design.components}
    assert {file.name for file in report.files} == {
        "energies.csv", "ERT.yaml", "ART.yaml", "accelergy.yaml", "components.yaml",
    }  # fmt: skip


def test_accelergys_figures_stand_beside_ours(fake_accelergy: Fake) -> None:
    fake_accelergy("answer('dense')")
    report = asked()
    assert report.problems == ()
    rows = {(row.component, row.action): row for row in report.rows}
    assert rows["SMEM", "read"].accelergy == 121.679
    assert rows["SMEM", "read"].difference == 0
    assert rows["MAC", "mac_random"].difference == pytest.approx(0.0002, abs=5e-5)
    assert rows["MAC", "mac_gated"].accelergy is None
    assert rows["SMEM", "area"].accelergy == 968190.0


def test_an_answer_is_asked_for_once_and_kept_by_its_inputs(
    fake_accelergy: Fake, tmp_path: Path
) -> None:
    calls = fake_accelergy("answer('dense')")
    keep = tmp_path / "kept"
    assert asked(keep=keep).rows == asked(keep=keep).rows
    assert calls.read_text() == "call\n"
    own = tmp_path / "own.yaml"
    own.write_text("like: dense\nname: own\ntechnology: 65nm\n")
    asked(str(own), keep)
    assert calls.read_text() == "call\ncall\n"
    fake_accelergy("answer('dense')  # another program")
    asked(keep=keep)
    assert calls.read_text() == "call\ncall\ncall\n"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "answer('dense', CactiSRAM='Aladdin_table')",
            r"estimates data of SMEM \(SRAM 8192 x 256 b, 2 banks\) with Aladdin_table, and"
            " CactiSRAM is meant",
        ),
        ("answer('dense', Library='dummy')", "estimates data of LRF .* with dummy, and Library"),
        ("answer('dense', **{'121.679': '0.0'})", "says 0 pJ for read of SMEM .*no estimate"),
        ("answer('dense', **{'121.679': '125.5'})", "says 125.5 pJ for read of SMEM .*121.679"),
        ("answer('dense', metadata_read='md_read')", "has no figure for metadata_read of DRAM"),
        (
            "print('|| AttributeError: Attribute depth must be specified.\\n===='); sys.exit(1)",
            "dense: .*accelergy failed: AttributeError: Attribute depth must be specified",
        ),
        (
            "print('2026-11-21 19:26:18 ERROR       Can not find an energy estimator for X(a=1)')\n"
            "print('2026-11-21 19:26:18 ERROR       | dummy: Not supported.'); sys.exit(1)",
            r"failed: Can not find an energy estimator for X\(a=1\)",
        ),
        ("sys.exit(0)", "failed: it said nothing"),
        ("answer('dense', tables='lists')", "a form that is unknown here; expected version 0.4"),
    ],
)
def test_an_answer_that_is_none_is_told_in_one_sentence(
    body: str, sentence: str, fake_accelergy: Fake
) -> None:
    fake_accelergy(body)
    report = asked()
    assert len(report.rows) > 20
    assert any(
        re.search(sentence, problem) and problem.endswith(".") for problem in report.problems
    ), report.problems


@pytest.mark.usefixtures("no_accelergy")
def test_without_accelergy_the_table_is_there_and_a_check_is_refused() -> None:
    run = CliRunner()
    plain = run.invoke(app, ["energy", "-a", "dense"])
    assert plain.exit_code == 0
    assert "121.679" in plain.output
    assert "difference" not in plain.output
    for option in (["--check"], ["--record", "somewhere"]):
        refused = run.invoke(app, ["energy", *option])
        assert refused.exit_code == 2
        assert "accelergy is not on PATH" in " ".join(refused.output.split())
        assert "Traceback" not in refused.output
    assert run.invoke(app, ["energy", "--offline", "--check"]).exit_code == 2
    with pytest.raises(CrispLoopError, match="tables ship with crisp_loop"):
        Accelergy.find()


def test_a_check_fails_where_accelergy_says_something_else(
    fake_accelergy: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    run = CliRunner()
    fake_accelergy("answer('dense')")
    assert run.invoke(app, ["energy", "-a", "dense", "--check"]).exit_code == 0
    fake_accelergy("answer('dense', **{'121.679': '125.5'})")
    said = run.invoke(app, ["energy", "-a", "dense", "--check"])
    assert said.exit_code == 2
    assert "125.5" in said.output
    assert run.invoke(app, ["energy", "-a", "dense", "--offline"]).exit_code == 0
