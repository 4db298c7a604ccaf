"""What a sweep says of a point is what the pipeline says of the same experiment."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweep_cases import where

from crisp_loop.core.files import write_text
from crisp_loop.pipeline import Experiment, run_experiment
from crisp_loop.sweep import Sweep, SweepOptions, read_layers, read_points, run_sweep

SAME = (
    *("M", "K", "N", "N_padding", "weight_density", "activation_density", "cycles_model"),
    *("cycles", "bottleneck", "dram_words", "smem_words", "metadata_bits"),
)
CLOSE = ("energy_uJ", "edp", "utilization")
QUICK = {
    **{"train_epochs": 1, "ste_epochs": 1, "iteration_epochs": 1, "final_epochs": 1},
    **{"iterations": 1, "samples_per_class": 16, "upper_bound": False},
}
"""A pruning of a few seconds."""


def swept(out: Path, **keys: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    summary = run_sweep(Sweep.model_validate(keys), out, SweepOptions(workers=1))
    assert not summary.failures
    return read_points(out), read_layers(out)


def assert_same(
    points: pd.DataFrame, layers: pd.DataFrame, results: pd.DataFrame, totals: pd.DataFrame
) -> None:
    """A row a design: the same figures, layer by layer and in all."""
    for point in points.to_dict("records"):
        own = layers[layers["point"] == point["point"]].reset_index(drop=True)
        said = results[results["accelerator"] == point["accelerator"]].reset_index(drop=True)
        assert list(own["layer"]) == list(said["layer"])
        for column in SAME:
            assert own[column].tolist() == said[column].tolist(), column
        for column in CLOSE:
            assert own[column].tolist() == pytest.approx(said[column].tolist(), rel=1e-12), column
        total = totals[totals["accelerator"] == point["accelerator"]].iloc[0]
        assert point["layers"] == total["layers"]
        for column in ("cycles_model", "cycles", "dram_words", "smem_words", "metadata_bits"):
            assert point[column] == total[column], column
        for column in ("energy_uJ", "edp"):
            assert point[column] == pytest.approx(total[column], rel=1e-12), column


@pytest.mark.parametrize(
    ("engine", "more"),
    [
        ("analytic", {"batch": 2, "columns": 32, "profile": {"layer2*": 0.75}}),
        ("analytic-exact", {"objective": "energy"}),
        pytest.param("analytic", {"network": "vit-tiny-cifar"}, marks=pytest.mark.slow),
    ],
)
def test_a_point_is_an_experiment(engine: str, more: dict[str, Any], tmp_path: Path) -> None:
    shared = {"network": "digits-resnet", "masks": "draw", "engine": engine, **more}
    points, layers = swept(tmp_path / "sweep", experiment=shared, grid={"nm": "1:4", "block": 16})
    assert list(points["accelerator"]) == ["dense", "nvidia-stc", "dstc", "crisp-stc"]
    experiment = Experiment.model_validate({**shared, "prune": {"nm": "1:4", "block": 16}})
    report = run_experiment(experiment, tmp_path / "run")
    assert_same(points, layers, report.results, report.totals)


@pytest.mark.parametrize("mappings", [pytest.param("search", marks=pytest.mark.slow), "keep"])
def test_a_changed_design_is_an_arch_file_of_its_own(mappings: str, tmp_path: Path) -> None:
    """Bandwidths (which share an analysis) and sizes (which do not) alike."""
    shared = {"network": "digits-resnet", "masks": "draw", "engine": "analytic"}
    for index, changes in enumerate(
        (
            {"DRAM.read_bandwidth": 4, "DRAM.write_bandwidth": 2.5},
            {"SMEM.depth": 1024, "SMEM.read_bandwidth": 9, "DRAM.read_bandwidth": 4},
        )
    ):
        arch = tmp_path / "dstc-changed.yaml"
        lines = "".join(f"  {path}: {value}\n" for path, value in changes.items())
        write_text(arch, f"like: dstc\nname: dstc-changed\nset:\n{lines}")
        here = tmp_path / f"{mappings}{index}"
        points, layers = swept(
            here / "sweep",
            experiment=shared,
            mappings=mappings,
            grid={"accelerator": "dstc", "arch": changes, "sparsity": 0.8},
        )
        for path, value in changes.items():
            assert points[path].tolist() == [value]
        experiment = Experiment.model_validate(
            {**shared, "accelerators": [str(arch)], "prune": {"sparsity": 0.8}}
        )
        if mappings == "keep":
            keep_mappings(here / "run", experiment)
        report = run_experiment(experiment, here / "run")
        own = points.assign(accelerator="dstc-changed")
        assert_same(own, layers, report.results, report.totals)


def keep_mappings(run: Path, experiment: Experiment) -> None:
    """Give a run the mappings of the unchanged design, as if they were the changed one's."""
    from crisp_loop.accelerators import load_accelerator
    from crisp_loop.core.mappings import read_mappings, write_mappings
    from crisp_loop.core.progress import Quiet
    from crisp_loop.mapping.library import fingerprint
    from crisp_loop.pipeline.run import map_experiment

    base = experiment.model_copy(update={"accelerators": ("dstc",)})
    map_experiment(base, run, Quiet())
    changed = load_accelerator(experiment.accelerators[0])
    found = read_mappings(run / "mapping" / "dstc.yaml")
    path = run / "mapping" / "dstc-changed.yaml"
    told = {"accelerator": "dstc-changed", "arch": fingerprint(changed)}
    write_mappings(path, found.model_copy(update=told))


@pytest.mark.slow
def test_a_pruned_point_is_an_experiment(tmp_path: Path) -> None:
    shared = {"network": "digits-resnet", "engine": "analytic", "prune": QUICK}
    grid = {"nm": ["1:4", "2:4"], "accelerator": ["dense", "crisp-stc"]}
    points, layers = swept(tmp_path / "sweep", experiment=shared, grid=grid)
    assert len(points) == 4
    for nm in ("1:4", "2:4"):
        own = where(points, "nm", nm)
        experiment = Experiment.model_validate({**shared, "prune": {**QUICK, "nm": nm}})
        report = run_experiment(experiment, tmp_path / nm.replace(":", "of"))
        assert_same(own, layers, report.results, report.totals)
        summary = read_summary(tmp_path / nm.replace(":", "of"))
        assert set(own["accuracy"]) == {summary.pruned.test.top1}
        assert set(own["accuracy_dense"]) == {summary.dense.test.top1}
        assert all(map(math.isnan, own["accuracy_finetuned"]))
        assert set(own["parameters_kept"]) == {summary.parameters_kept}
        assert set(own["user_classes"]) == {"1,4,7"}
        run = tmp_path / "sweep" / own["run"].tolist()[0]
        assert read_summary(run).pruned == summary.pruned
    trained = [
        read_summary(run).dense_weights for run in sorted((tmp_path / "sweep/runs").iterdir())
    ]
    assert sorted(trained) == ["reused", "trained"], "the dense network is trained once"


def read_summary(run: Path) -> Any:
    from crisp_loop.pipeline.run import read_summary

    return read_summary(run)
