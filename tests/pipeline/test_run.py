"""The whole flow on real digits, with a short training."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crisp_loop.core.masks import load_masks, matrix_view, sparsity_of
from crisp_loop.core.progress import Quiet
from crisp_loop.lower.run import lower_network
from crisp_loop.pipeline.experiment import Experiment, load_experiment
from crisp_loop.pipeline.run import (
    RunDirectory,
    obtain_masks,
    read_summary,
    run_experiment,
    write_operations,
)

QUICK = {
    "prune": {
        "train_epochs": 1,
        "ste_epochs": 1,
        "iteration_epochs": 1,
        "final_epochs": 1,
        "iterations": 2,
        "samples_per_class": 32,
    },
    "engine": "analytic",
}


@pytest.fixture(scope="module")
def experiment() -> Experiment:
    return load_experiment(None, QUICK)


@pytest.fixture(scope="module")
def run(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    root = tmp_path_factory.mktemp("run")
    run_experiment(experiment, root)
    return RunDirectory(root)


def test_every_stage_leaves_its_files(run: RunDirectory) -> None:
    for file in (
        run.experiment, run.layers, run.weights, run.masks, run.summary, run.workload,
        run.pack / "packed.safetensors", run.pack / "storage.csv", run.mapping / "dstc.yaml",
        run.manifest, run.evaluations, run.root / "results.csv", run.root / "totals.csv",
        run.root / "speedup.svg", run.root / "speedup.png", run.root / "report.html",
        run.root / "totals.md", run.root / "totals.tex",
    ):  # fmt: skip
        assert file.stat().st_size > 0, file


def test_the_page_tells_of_the_pruning(run: RunDirectory) -> None:
    page = (run.root / "report.html").read_text(encoding="utf-8")
    summary = read_summary(run.root)
    assert f"<b>{summary.pruned.test.top1:.1%}</b>" in page
    assert f"{summary.sparsity_all:.1%} of all" in page
    masks = load_masks(run.masks)
    assert page.count("<img ") == sum(
        sparsity_of(matrix_view(mask).astype(np.bool_), masks.nm, masks.block).form == "hybrid"
        for mask in masks.layers.values()
    )


def test_results_follow_from_the_masks(run: RunDirectory) -> None:
    results = pd.read_csv(run.root / "results.csv").set_index(["accelerator", "layer"])
    masks = load_masks(run.masks)
    for name, mask in masks.layers.items():
        row = results.loc[("crisp-stc", name)]
        assert row["weight_density"] == pytest.approx(mask.mean())
    evaluations = {
        Path(e["spec"]).relative_to(run.specs).as_posix(): e
        for e in json.loads(run.evaluations.read_text())["evaluations"]
    }
    gemms = {g["layer"]: g for g in json.loads(run.workload.read_text())["gemms"]}
    for name in masks.layers:
        said = evaluations[f"crisp-stc/{name}"]
        padding = results.loc[("crisp-stc", name), "N_padding"]
        # computes == nnz * N: the compact form loses and invents nothing
        assert said["compute"]["actual"] == masks.layers[name].sum() * (gemms[name]["N"] + padding)
    assert (results.loc["dense", "speedup"] == 1).all()
    # equal up to the mapper's tolerance: a design may trade 1 % of the cycles for energy
    assert (results.loc["crisp-stc", "speedup"] > 0.98).all()


def test_a_second_run_goes_on_from_the_masks(experiment: Experiment, run: RunDirectory) -> None:
    before = {f: f.read_bytes() for f in (run.masks, run.weights, run.root / "results.csv")}
    stamp = run.masks.stat().st_mtime_ns
    run_experiment(experiment, run.root)
    assert run.masks.stat().st_mtime_ns == stamp
    assert {f: f.read_bytes() for f in before} == before


def test_a_run_elsewhere_gives_the_same(
    experiment: Experiment, run: RunDirectory, tmp_path: Path
) -> None:
    run_experiment(experiment, tmp_path)
    again = RunDirectory(tmp_path)
    for file in ("prune/masks.safetensors", "prune/weights.safetensors", "results.csv"):
        assert (again.root / file).read_bytes() == (run.root / file).read_bytes(), file


def test_a_spoilt_summary_means_pruning_anew(experiment: Experiment, run: RunDirectory) -> None:
    stamp = run.masks.stat().st_mtime_ns
    run.summary.write_text("{}")
    run_experiment(experiment, run.root)
    assert run.masks.stat().st_mtime_ns != stamp


def test_attention_is_lowered_too(tmp_path: Path) -> None:
    """A pruned vision transformer: sizes as the data has them, attention's products between."""
    rng = np.random.default_rng(0)
    for label in "ab":
        folder = tmp_path / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    quick = dict.fromkeys(("train_epochs", "ste_epochs", "iteration_epochs", "final_epochs"), 0)
    few = {"iterations": 1, "samples_per_class": 2, "upper_bound": False, "block": 16}
    experiment = Experiment.model_validate(
        {"network": "vit-tiny-cifar", "data": f"folder:{tmp_path / 'pictures'}",
         "user_classes": [0, 1], "masks": "prune", "prune": quick | few | {"sparsity": 0.8}}
    )  # fmt: skip
    run = RunDirectory(tmp_path / "run")
    masks = obtain_masks(experiment, run, Quiet())
    write_operations(experiment.network, run)
    lower_network(run.operations, masks, run.workload.parent)
    gemms = {each["layer"]: each for each in json.loads(run.workload.read_text())["gemms"]}
    tokens, heads, width = 65, 3, 64
    sizes = sorted((g["groups"], g["M"] * g["K"] * g["N"]) for g in gemms.values()
                   if g["groups"] == heads)  # fmt: skip
    assert sizes == [(heads, tokens * tokens * width)] * 12
    pruned = json.loads(run.layers.read_text())["layers"]
    assert [gemms[layer["name"]]["M"] for layer in pruned] == [x["out_channels"] for x in pruned]
    assert gemms[pruned[-1]["name"]]["M"] == 2
    assert len(gemms) == len(pruned) + 12
