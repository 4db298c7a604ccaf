"""What a sweep file may say, and which points it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sweep_cases import SMALL, where
from typer.testing import CliRunner

from crisp_loop.cli.main import app
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import write_text
from crisp_loop.sweep import Sweep, SweepOptions, load_sweep, read_points, run_sweep, sweep_state
from crisp_loop.sweep.plan import Plan, plan_sweep

TWENTY = list(range(20))
BOMB = {f"{level}.{field}": TWENTY[:10] for level in ("DRAM", "SMEM", "RF")
        for field in ("depth", "read_bandwidth", "write_bandwidth")}  # fmt: skip
TEN_MILLION = dict.fromkeys(list(BOMB)[:7], TWENTY[:10])
ONE = SweepOptions(workers=1)
EXAMPLES = Path(__file__).parents[2] / "examples"
DRAWN = {"network": "digits-resnet", "masks": "draw", "engine": "analytic"}


def planned(grid: Any, experiment: Any = DRAWN, **keys: Any) -> Plan:
    told = {"experiment": experiment, "grid": grid, **keys}
    return plan_sweep(Sweep.model_validate(told), "s.yaml")


def keys_of(plan: Plan) -> list[str]:
    return [key for part in plan.parts() for key in part.keys]


def test_the_example_is_a_sweep() -> None:
    plan = plan_sweep(load_sweep(EXAMPLES / "sweep.yaml"))
    assert plan.points == 36
    assert plan.sweep.name == "resnet50-bandwidth"


def test_every_combination_is_a_point_in_the_files_order() -> None:
    grid = {"nm": ["1:4", "2:4"], "sparsity": [0.8, 0.9], "accelerator": ["dense", "dstc"]}
    plan = planned(grid)
    rows = [plan.row(*pair) for part in plan.parts() for pair in part.pairs]
    assert [(row["nm"], row["sparsity"], row["accelerator"]) for row in rows] == [
        (nm, sparsity, design)
        for nm in ("1:4", "2:4")
        for sparsity in (0.8, 0.9)
        for design in ("dense", "dstc")
    ]


def test_points_of_several_grids_count_once() -> None:
    one = {"nm": "2:4", "sparsity": [0.8, 0.9], "accelerator": ["dense", "dstc"]}
    other = {"nm": ["1:4", "2:4"], "sparsity": 0.9, "accelerator": ["dstc", "crisp-stc"]}
    plan = planned([one, other, one])
    assert plan.points == 4 + 4 - 1
    assert len(set(keys_of(plan))) == plan.points
    listed = [
        {"sparsity": 0.8, "accelerator": "dense"},
        {"sparsity": 0.9, "accelerator": "dstc", "arch": {"SMEM.depth": 4096}},
    ]
    assert planned(listed).points == 2


def test_arch_is_a_grid_or_a_list() -> None:
    product = {"DRAM.read_bandwidth": [16, 64], "SMEM.depth": [4096, 8192]}
    assert planned({"accelerator": "dense", "arch": product}).points == 4
    listed = [{}, {"DRAM.read_bandwidth": 64, "DRAM.write_bandwidth": 64}]
    plan = planned({"accelerator": "dense", "arch": listed})
    rows = [plan.row(*pair) for part in plan.parts() for pair in part.pairs]
    named = ("DRAM.read_bandwidth", "DRAM.write_bandwidth")
    assert [[row[name] for name in named] for row in rows] == [[32, 32], [64, 64]]


def test_a_change_of_one_design_leaves_the_others() -> None:
    plan = planned({"accelerator": ["dense", "dstc"], "arch": {"dstc/SMEM.depth": [4096, 8192]}})
    rows = [plan.row(*pair) for part in plan.parts() for pair in part.pairs]
    told = [(row["accelerator"], row.get("dstc/SMEM.depth")) for row in rows]
    assert told == [("dense", None), ("dstc", 4096), ("dstc", 8192)]


def test_a_points_key_is_what_decides_it_and_nothing_else(tmp_path: Path) -> None:
    plain = keys_of(planned({"accelerator": "dstc"}))
    stated = {"arch": {"DRAM.read_bandwidth": 32}}
    assert keys_of(planned({"accelerator": "dstc", **stated})) == plain, "as its file says anyway"
    assert keys_of(planned({"accelerator": "dstc"}, mappings="keep", name="other")) == plain
    irrelevant = {**DRAWN, "user_classes": [2, 3], "prune": {"train_epochs": 3, "nm": "2:4"}}
    assert keys_of(planned({"accelerator": "dstc"}, irrelevant)) == plain, "nothing is trained"
    for name in ("here.yaml", "there.yaml"):
        write_text(tmp_path / name, "like: dstc\nname: dstc\ntitle: Mine\n")
        assert keys_of(planned({"accelerator": str(tmp_path / name)})) == plain
    others = [
        keys_of(planned({"accelerator": "dstc", "arch": {"DRAM.read_bandwidth": 33}})),
        keys_of(
            planned({"accelerator": "dstc", "arch": {"DRAM.read_bandwidth": 33}}, mappings="keep")
        ),
        keys_of(planned({"accelerator": "dstc", "seed": 1})),
        keys_of(planned({"accelerator": "dstc", "batch": 2})),
        keys_of(planned({"accelerator": "dstc", "objective": "edp"})),
        keys_of(planned({"accelerator": "dstc", "profile": [{"layer2*": 0.75}]})),
        keys_of(planned({"accelerator": "dense"})),
    ]
    assert len({plain[0], *(key for (key,) in others)}) == 8


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("grid: {block: [16, 48]}", "s.yaml: prune.block: 48 cannot be used; expected 16, 32, 64"),
        ("grid: {accelerator: [dense, tpu]}", "accelerator: 'tpu' is unknown; expected one of"),
        ("grid: {colour: red}", "axis 'colour' is unknown; the known ones are accelerator, arch"),
        ("grid: {block: []}", "axis 'block' has no values; expected at least one"),
        ("grid: {user_classes: [1, 4]}", "s.yaml: user_classes: 1 cannot be used"),
        ("grid: {arch: {SMEM.size: 3}}", "levels.1.size: 'size' cannot be used; it is unknown"),
        ("grid: {arch: {SMEM.depth: [0]}}", "depth"),
        ("grid: {arch: [3]}", "arch holds a value without a path; expected DRAM.read_bandwidth"),
        ("grid: {arch: {tpu/SMEM.depth: 3}}", "changes a design that the sweep lacks"),
        ("grid: {nm: 2:4, sparsity: 0.3}", "2:4 alone prunes 0.5"),
        ("grid: [3]", "expected axes with their values"),
        ("experiment: {accelerators: [dense]}", "is an axis of a sweep; name it in"),
        ("experiment: {network: alexnet}", "the known networks are"),
        ("grids: {}", "'grids' cannot be used; it is unknown here; the known keys: name"),
        ("mappings: guess", "'guess' cannot be used"),
        ("grid: {engine: magic}", "the known engines are"),
        ("- 1", "holds no sweep; expected keys such as name and grid"),
        ("grid: {accelerator: dtsc}", "s.yaml: grid.accelerator: accelerator: 'dtsc' is unknown"),
        ("grid: {arch: {SMEM.dpth: 1}}", "s.yaml: grid.arch: "),
        (
            "grid: {accelerator: dense, arch: {dstc/SMEM.depth: 1}}",
            "s.yaml: grid.arch: dstc/SMEM.depth changes a design that the sweep lacks",
        ),
        (
            "experiment: {masks: /nowhere}",
            "s.yaml: masks: /nowhere does not exist; expected",
        ),
        (f"experiment: {{masks: {1000 * 'x'}}}", "does not exist; expected a mask file"),
        (f"grid: {{arch: {BOMB}}}", "1,000,000,000 combinations are more than 100,000,000"),
        (f"grid: {{arch: {TEN_MILLION}, seed: {TWENTY}}}", "800,000,000 combinations are more"),
    ],
)
def test_what_no_point_can_use_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(CrispLoopError) as caught:
        plan_sweep(load_sweep(tmp_path / "s.yaml"), "s.yaml")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sweeps_beside_each_other_share_points(store: Path, tmp_path: Path) -> None:
    first = Sweep.model_validate(SMALL)
    assert run_sweep(first, tmp_path / "a", ONE).priced == 16
    wider = {**SMALL["grid"], "sparsity": [0.9, 0.95]}
    second = Sweep.model_validate({**SMALL, "grid": wider})
    assert sweep_state(second, tmp_path / "b").known == 8
    summary = run_sweep(second, tmp_path / "b", ONE)
    assert (summary.known, summary.priced) == (8, 8)
    alone = tmp_path / "elsewhere" / "b"
    assert run_sweep(second, alone, ONE).known == 0
    assert read_points(tmp_path / "b").equals(read_points(alone))


def test_a_changed_sweep_keeps_what_both_have(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep(Sweep.model_validate(SMALL), out, ONE)
    before = read_points(out)
    arch = {"DRAM.read_bandwidth": [9, 10], "SMEM.read_bandwidth": 21}
    changed = Sweep.model_validate({**SMALL, "grid": {**SMALL["grid"], "arch": arch}})
    summary = run_sweep(changed, out, ONE)
    assert (summary.points, summary.known, summary.priced) == (16, 8, 8)
    after = read_points(out)
    assert set(after["DRAM.read_bandwidth"]) == {9, 10}
    assert set(after["SMEM.read_bandwidth"]) == {21}
    both = sorted(set(before["point"]) & set(after["point"]))
    assert len(both) == 8
    for column in ("cycles", "energy_uJ"):
        rows = [where(each, "point", *both).sort_values("point") for each in (before, after)]
        assert rows[0][column].tolist() == rows[1][column].tolist()
    assert run_sweep(Sweep.model_validate(SMALL), out, ONE).priced == 0, "nothing was lost"
    assert read_points(out).equals(before)


def asked(query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    return duckdb.connect().execute(query).fetchall()


def test_results_are_for_duckdb(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_sweep(Sweep.model_validate(SMALL), out, ONE)
    query = f"""
        SELECT p.nm, p.sparsity, p."DRAM.read_bandwidth" AS words, d.cycles / p.cycles AS speedup
        FROM '{out}/points/*.parquet' p JOIN '{out}/points/*.parquet' d
        USING (network, nm, block, sparsity, seed, "DRAM.read_bandwidth")
        WHERE p.accelerator = 'crisp-stc' AND d.accelerator = 'dense'
    """
    rows = asked(query)
    assert len(rows) == 8
    assert all(speedup > 1 for *_, speedup in rows)
    summed = asked(
        f"""SELECT count(*) FROM '{out}/points/*.parquet' p JOIN (
            SELECT point, sum(cycles) AS cycles FROM '{out}/layers/*.parquet' GROUP BY point
        ) l USING (point) WHERE p.cycles = l.cycles"""
    )
    assert summed == [(16,)]


def test_on_the_command_line(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    grid = {**SMALL["grid"], "sparsity": [0.6, 0.8]}
    file.write_text(json.dumps({**SMALL, "grid": grid}))
    runner = CliRunner()
    dry = runner.invoke(app, ["sweep", str(file), "--dry-run"])
    assert dry.exit_code == 0
    assert "16 points, 0 known, 16 to be priced" in dry.output
    assert not (tmp_path / "runs").exists()
    ran = runner.invoke(app, ["sweep", str(file), "-j", "1"])
    assert ran.exit_code == 1, ran.output
    assert "16 points, 0 known, 16 priced now, 4 failed" in ran.output
    assert "1:4 alone prunes 0.75" in " ".join(ran.output.split())
    assert len(read_points(Path("runs/mine"))) == 16
    again = runner.invoke(app, ["sweep", str(file), "-j", "1"])
    assert "16 points, 16 known, 0 priced now, 4 failed" in again.output
    for options, sentence in (
        (["nowhere.yaml"], "nowhere.yaml: no such sweep file."),
        ([str(file), "--out", str(file)], "is a file; expected a directory for the results."),
        ([str(file), "--scheduler", "tcp://127.0.0.1:1", "--out", "x"], "cannot be reached"),
    ):
        refused = runner.invoke(app, ["sweep", *options])
        assert refused.exit_code == 2
        assert sentence in " ".join(refused.output.split())
