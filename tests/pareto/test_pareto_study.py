"""A trade-off study on the digits, with a short training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.pattern import NM
from crisp_loop.pareto import Pareto, find_pareto, on_front, pareto_request
from crisp_loop.pareto.run import CHOICE, sweep_of
from crisp_loop.pipeline.experiment import load_experiment
from crisp_loop.pipeline.run import run_experiment
from crisp_loop.sweep import SweepOptions

QUICK: dict[str, Any] = {
    "engine": "analytic",
    "prune": {
        "train_epochs": 1, "ste_epochs": 1, "iteration_epochs": 1, "final_epochs": 1,
        "iterations": 1, "samples_per_class": 32, "upper_bound": False,
    },
}  # fmt: skip
ASKED = {
    "nm": ["2:4", "3:4"],
    "block": [16],
    "sparsity": [0.3, 0.8],
    "accelerators": ["crisp-stc", "nvidia-stc"],
    "experiment": QUICK,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pareto, Path]:
    out = tmp_path_factory.mktemp("pareto")
    return find_pareto(pareto_request(ASKED), out, SweepOptions(workers=1)), out


def test_every_possible_choice_is_there(found: tuple[Pareto, Path]) -> None:
    choices = found[0].choices
    told = set(choices[CHOICE].itertuples(index=False, name=None))
    # 2:4 removes half of the weights by itself, so .3 is for 3:4 alone.
    kept = [("2:4", 0.8), ("3:4", 0.3), ("3:4", 0.8)]
    assert told == {
        (design, nm, 16, kappa) for design in ASKED["accelerators"] for nm, kappa in kept
    }
    assert pareto_request(ASKED).left_out == ("2:4 at 0.3",)


def test_figures_are_those_of_the_experiment(found: tuple[Pareto, Path], tmp_path: Path) -> None:
    prune = QUICK["prune"] | {"nm": "2:4", "block": 16, "sparsity": 0.8}
    experiment = load_experiment(None, QUICK | {"prune": prune, "accelerators": ["crisp-stc"]})
    totals = run_experiment(experiment, tmp_path).totals.set_index("accelerator")
    row = found[0].choices.set_index(["accelerator", "nm", "sparsity"]).loc["crisp-stc", "2:4", 0.8]
    assert row["cycles"] == totals.loc["crisp-stc", "cycles"]
    assert row["energy_uJ"] == pytest.approx(totals.loc["crisp-stc", "energy_uJ"])
    assert row["speedup"] == pytest.approx(totals.loc["crisp-stc", "speedup"])
    assert row["edp"] == pytest.approx(1e-6 * row["cycles"] * row["energy_uJ"])
    assert row["edp_gain"] == pytest.approx(row["speedup"] * row["energy_gain"])


def test_fronts_are_each_designs_own_and_of_all(found: tuple[Pareto, Path]) -> None:
    choices = found[0].choices
    for _, mine in choices.groupby("accelerator"):
        assert mine["front"].tolist() == on_front(mine["accuracy"], mine["edp"]).tolist()
    assert choices["best"].tolist() == on_front(choices["accuracy"], choices["edp"]).tolist()
    assert not (choices["best"] & ~choices["front"]).any()


def test_files_say_the_same_and_nothing_is_pruned_twice(found: tuple[Pareto, Path]) -> None:
    result, out = found
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "pareto.csv"), result.choices, check_dtype=False
    )
    assert all(file.stat().st_size > 0 for file in result.files)
    before = {file: file.stat().st_mtime_ns for file in out.rglob("masks.safetensors")}
    assert len(before) == 3
    again = find_pareto(pareto_request(ASKED), out, SweepOptions(workers=1))
    pd.testing.assert_frame_equal(again.choices, result.choices)
    assert before == {file: file.stat().st_mtime_ns for file in out.rglob("masks.safetensors")}


def test_seeds_are_points_of_their_own() -> None:
    request = pareto_request({"nm": ["1:4"], "sparsity": [0.9], "seeds": 3})
    (grid,) = sweep_of(request).grid
    assert grid.settings["seed"] == (0, 1, 2)
    assert list(request.patterns()) == [(NM(1, 4), (0.9,))]
    later = pareto_request({"nm": ["1:4"], "seeds": 2, "experiment": {"prune": {"seed": 7}}})
    assert sweep_of(later).grid[0].settings["seed"] == (7, 8)


def test_changed_designs_are_priced() -> None:
    experiment = {"name": "mine", "accelerators": ["dense"], "arch": {"DRAM.read_bandwidth": 8}}
    sweep = sweep_of(pareto_request({"accelerators": ["dstc"], "experiment": experiment}))
    assert {grid.arch for grid in sweep.grid} == {((("DRAM.read_bandwidth", 8),),)}
    assert {grid.accelerators for grid in sweep.grid} == {("dense", "dstc")}
    assert sweep.name == "pareto"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"nm": ["5:4"]}, "command line: nm.0: '5:4' cannot be used"),
        ({"block": [17]}, "expected sides of 16, 32, 64"),
        ({"sparsity": [1.5]}, "sparsity.0: 1.5 cannot be used"),
        ({"seeds": 0}, "seeds"),
        ({"cost": "beauty"}, "cost"),
        ({"experiment": {"masks": "draw"}}, "pareto: masks: 'draw' cannot be used; accuracy needs"),
        ({"experiment": {"prune": {"seed": "x"}}}, "pareto: prune.seed: 'x' cannot be used"),
        ({"experiment": {"prune": 5}}, "pareto: prune: 5 cannot be used"),
    ],
)
def test_requests_that_cannot_be(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CrispLoopError) as error:
        sweep_of(pareto_request(given))
    assert sentence in str(error.value)


def test_sparsities_that_no_pattern_can_have(tmp_path: Path) -> None:
    with pytest.raises(CrispLoopError, match=r"these sparsities: 1:4 at 0\.5"):
        find_pareto(pareto_request({"nm": ["1:4"], "sparsity": [0.5]}), tmp_path)
