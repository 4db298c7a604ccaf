"""Two result sets, compared by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from crisp_loop.cli.changes import rows_in_words, settings_in_words
from crisp_loop.cli.main import app
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.report.compare import compare_results, rows_grid, write_comparison
from crisp_loop.report.rows import COLUMNS

runner = CliRunner()


def row(
    layer: str, design: str, cycles: int, energy: float, **changes: object
) -> dict[str, object]:
    """A row over a baseline of 1000 cycles and 10 µJ."""
    known: dict[str, object] = dict.fromkeys(COLUMNS, 1)
    known |= dict.fromkeys(("bottleneck", "engine", "engine_version", "ert", "mapping"), "x")
    known |= {"model": "net", "layer": layer, "accelerator": design, "n": 2, "m": 4}
    known |= {"cycles": cycles, "energy_uJ": energy}
    return known | {"speedup": 1000 / cycles, "energy_gain": 10 / energy} | changes


A = [
    row("one", "dense", 1000, 10.0),
    row("one", "crisp", 100, 2.0, mapping="m1"),
    row("two", "dense", 1000, 10.0),
    row("two", "crisp", 200, 4.0),
    row("three", "crisp", 500, 5.0),
    row("gone", "crisp", 7, 7.0),
]
B = [
    row("new", "dstc", 9, 9.0),
    row("three", "crisp", 505, 5.0, n=1),
    row("two", "crisp", 100, 5.0, n=1),
    row("two", "dense", 1000, 10.0),
    row("one", "dense", 1000, 10.0),
    row("one", "crisp", 100, 0.5, n=1, mapping="m2", block=None),
]


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a", tmp_path / "b.csv"
    paths[0].mkdir()
    pd.DataFrame(A)[list(COLUMNS)].to_csv(paths[0] / "results.csv", index=False)
    pd.DataFrame(B)[list(COLUMNS)].to_csv(paths[1], index=False)
    return paths


def test_rows_by_hand(sets: tuple[Path, Path]) -> None:
    rows = compare_results(*sets).rows
    # A quarter of the energy is further than half the cycles, and that is further than 1 %.
    assert list(zip(rows["layer"], rows["accelerator"], rows["in"], strict=True)) == [
        ("one", "crisp", "both"),
        ("two", "crisp", "both"),
        ("three", "crisp", "both"),
        ("one", "dense", "both"),
        ("two", "dense", "both"),
        ("gone", "crisp", "A"),
        ("new", "dstc", "B"),
    ]
    assert rows["cycles_a"].tolist()[:6] == [100, 200, 500, 1000, 1000, 7]
    assert rows["cycles_b"].tolist()[:5] == [100, 100, 505, 1000, 1000]
    assert rows["cycles_ratio"].tolist()[:5] == [1.0, 0.5, 1.01, 1.0, 1.0]
    assert rows["energy_uJ_ratio"].tolist()[:5] == [0.25, 1.25, 1.0, 1.0, 1.0]
    assert rows["speedup_a"].tolist()[:2] == [10.0, 5.0]
    assert rows["speedup_b"].tolist()[:2] == [10.0, 10.0]
    assert rows["energy_gain_b"].tolist()[:2] == [20.0, 2.0]
    assert rows["cycles_ratio"].isna().tolist()[5:] == [True, True]
    assert rows["differs"].tolist() == [
        "n 2 to 1; block 1 to none; mapping m1 to m2", "n 2 to 1", "n 2 to 1", "", "", "", "",
    ]  # fmt: skip


def test_totals_sum_what_both_have(sets: tuple[Path, Path]) -> None:
    totals = compare_results(*sets).totals.set_index("accelerator")
    assert list(totals.index) == ["dense", "crisp"]
    crisp = totals.loc["crisp"]
    assert crisp["layers"] == 3
    assert (crisp["cycles_a"], crisp["cycles_b"]) == (800, 705)
    assert (crisp["energy_uJ_a"], crisp["energy_uJ_b"]) == (11.0, 10.5)
    assert crisp["cycles_ratio"] == pytest.approx(705 / 800)
    # The three layers' baseline takes 3000 cycles and 30 µJ.
    assert crisp["speedup_a"] == pytest.approx(3000 / 800)
    assert crisp["speedup_b"] == pytest.approx(3000 / 705)
    assert crisp["energy_gain_a"] == pytest.approx(30 / 11)
    assert crisp["energy_gain_b"] == pytest.approx(30 / 10.5)


def test_what_differs_is_counted(sets: tuple[Path, Path]) -> None:
    comparison = compare_results(*sets)
    assert comparison.settings == {
        "n": {("2", "1"): 3},
        "block": {("1", ""): 1},
        "mapping": {("m1", "m2"): 1},
    }
    assert settings_in_words(comparison) == (
        "differ: n in 3 rows (2 to 1); block in 1 row (1 to none); mapping in 1 row (m1 to m2)"
    )


@pytest.mark.parametrize(
    ("tolerance", "shown"),
    [
        (0.0, ["one", "two", "three", "gone", "new"]),
        (0.0099, ["one", "two", "three", "gone", "new"]),
        (0.01, ["one", "two", "gone", "new"]),
        (0.5, ["one", "gone", "new"]),
        (0.75, ["gone", "new"]),
    ],
)
def test_tolerance_hides_what_is_equal(
    sets: tuple[Path, Path], tolerance: float, shown: list[str]
) -> None:
    comparison = compare_results(*sets)
    assert comparison.changed(tolerance)["layer"].tolist() == shown
    said = rows_in_words(comparison, tolerance)
    assert said.startswith("only in A: 1 of crisp; only in B: 1 of dstc; ")
    assert f"{7 - len(shown)} rows change " in said


def test_a_set_equals_itself(sets: tuple[Path, Path]) -> None:
    comparison = compare_results(sets[1], sets[1])
    assert comparison.changed(0).empty
    assert not comparison.settings
    assert (comparison.totals["cycles_ratio"] == 1).all()


def test_swapping_the_sets_inverts_the_ratios(sets: tuple[Path, Path]) -> None:
    there, back = compare_results(*sets), compare_results(*reversed(sets))
    keys = ["layer", "accelerator"]
    merged = there.rows.merge(back.rows, on=keys)
    both = merged[merged["in_x"] == "both"]
    assert len(both) == 5
    for name in ("cycles_ratio", "energy_uJ_ratio"):
        assert (both[f"{name}_x"] * both[f"{name}_y"]).tolist() == pytest.approx([1.0] * 5)
    only = {"both": "both", "A": "B", "B": "A"}
    assert merged["in_x"].map(only).tolist() == merged["in_y"].tolist()


def test_every_format_holds_every_row(sets: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = compare_results(*sets)
    for ending in ("csv", "md", "tex", "html"):
        write_comparison(comparison, tmp_path / f"out.{ending}")
    table = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert [each["layer"] for each in table] == comparison.rows["layer"].tolist()
    assert [each["cycles_ratio"] for each in table][:3] == ["1.0", "0.5", "1.01"]
    assert table[5]["cycles_b"] == ""
    lines = (tmp_path / "out.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == (2 + 2) + (2 + 7)
    assert r"energy\_uJ" not in (tmp_path / "out.tex").read_text()
    assert (tmp_path / "out.tex").read_text().count(r"\begin{tabular}") == 2
    page = (tmp_path / "out.html").read_text()
    assert page.count("<tr>") == 1 + 2 + 1 + 3 + 1 + 7
    assert "https:" not in page


def test_refused_in_one_sentence(sets: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = sets
    other, twice, empty = tmp_path / "other.csv", tmp_path / "twice.csv", tmp_path / "empty"
    pd.read_csv(b).assign(model="alien").to_csv(other, index=False)
    pd.DataFrame([*A, A[1]])[list(COLUMNS)].to_csv(twice, index=False)
    empty.mkdir()
    for first, second, sentence in (
        (a, other, "have no row of one model, layer and accelerator in common"),
        (twice, b, "layer one of net stands there twice for crisp"),
        (a, empty, "holds no results.csv; run crisp-loop report on it"),
        (a, tmp_path / "none", "no such results table"),
    ):
        with pytest.raises(CrispLoopError, match=sentence) as caught:
            compare_results(first, second)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"expected a name that ends in \.csv"):
        write_comparison(compare_results(a, b), tmp_path / "out.docx")
    assert not (tmp_path / "out.docx").exists()


@pytest.mark.parametrize(
    ("energy", "shown"),
    [(10.0, "0%"), (10.000003, "+3e-07"), (9.9953, "-5e-04"), (9.994, "-0.1%"), (25, "+150.0%")],
)
def test_no_change_is_told_from_a_small_one(tmp_path: Path, energy: float, shown: str) -> None:
    for name, value in (("a", 10.0), ("b", energy)):
        table = pd.DataFrame([row("one", "dense", 1000, value)])[list(COLUMNS)]
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    comparison = compare_results(tmp_path / "a.csv", tmp_path / "b.csv")
    grid = rows_grid(comparison.rows)
    (at,) = (i for i, head in enumerate(grid.heads) if head.column == "energy_uJ_ratio")
    assert grid.rows[0][at].shown == shown


def test_the_command(sets: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = map(str, sets)
    out = tmp_path / "changes.csv"
    done = runner.invoke(app, ["compare", a, b, "--tolerance", "0.01", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert len(out.read_text().splitlines()) == 8
    lines = [line.split() for line in done.output.splitlines()]
    assert ["one", "crisp", "100", "100", "0%", "2.00", "0.500", "-75.0%"] in lines
    assert ["two", "crisp", "200", "100", "-50.0%", "4.00", "5.00", "+25.0%"] in lines
    assert not [line for line in lines if line[:1] == ["three"]]
    change = f"{100 * (705 / 800 - 1):+.1f}%"
    assert [line[:4] for line in lines if line[:1] == ["crisp"]] == [
        ["crisp", "800", "705", change]
    ]


def test_the_command_refuses_before_any_work(sets: tuple[Path, Path], tmp_path: Path) -> None:
    for arguments in (
        ["compare", str(sets[0]), str(tmp_path / "none")],
        ["compare", *map(str, sets), "--out", str(tmp_path / "x.pdf")],
        ["compare", *map(str, sets), "--tolerance", "-1"],
    ):
        done = runner.invoke(app, arguments)
        assert done.exit_code == 2, done.output
        assert "Traceback" not in done.output
