"""The whole stage on the digits, and prune_module on modules of one's own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import read_json
from crisp_loop.core.layers import LayerTable
from crisp_loop.core.masks import load_masks, matrix_view, save_masks, sparsity_of
from crisp_loop.datasets.registry import load
from crisp_loop.datasets.split import user_samples
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.batches import as_batches
from crisp_loop.prune.checkpoints import load_weights, save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.module import prune_module
from crisp_loop.prune.plan import column_weights, plan_layers
from crisp_loop.prune.results import PruneSummary
from crisp_loop.prune.run import prune_network
from crisp_loop.prune.training.finetune import accuracy
from crisp_loop.prune.training.iterate import iterate
from crisp_loop.prune.training.runtime import runtime_of
from crisp_loop.prune.training.task import Task

QUICK = PruneConfig(
    train_epochs=4, ste_epochs=1, iteration_epochs=1, final_epochs=3, train_lr=0.05, seed=1
)
CLASSES = (3, 5, 8)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PruneSummary]:
    out = tmp_path_factory.mktemp("run")
    return out, prune_network("digits-resnet", "digits", CLASSES, QUICK, out)


def test_files_agree_with_each_other(run: tuple[Path, PruneSummary]) -> None:
    out, summary = run
    folder = out / "prune"
    assert read_json(folder / "summary.json", PruneSummary) == summary
    table = read_json(folder / "layers.json", LayerTable)
    assert table == layer_table("digits-resnet")
    masks = load_masks(folder / "masks.safetensors")
    assert (masks.model, str(masks.nm), masks.block) == ("digits-resnet", "2:4", 16)
    weights = load_file(folder / "weights.safetensors")
    assert sorted(weights) == sorted(build("digits-resnet").state_dict())
    zeros = 0
    for report, layer in zip(summary.layers, table.layers, strict=True):
        weight = weights[f"{layer.name}.weight"].numpy()
        if report.form == "dense":
            assert layer.name not in masks.layers
            continue
        mask = masks.layers[layer.name]
        assert mask.shape == weight.shape
        assert not weight[~mask].any()
        found = sparsity_of(matrix_view(mask).astype(np.bool_), masks.nm, masks.block)
        zeros += layer.weights - found.nnz
        assert found.nnz == report.nnz
        if report.kept_blocks is None or report.kept_blocks == report.block_columns:
            assert found.form == "nm"
        else:
            assert found.form == "hybrid"
            assert found.kept_blocks == report.kept_blocks
            # Sparsity of a layer is 1 - K'/K * N/M, exactly.
            assert found.nnz * 2 == layer.S * report.kept_blocks * 16
    assert summary.sparsity == pytest.approx(zeros / summary.prunable_weights)
    assert summary.all_weights == sum(layer.weights for layer in table.layers)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert sum(line["phase"] == "train" for line in lines) == 4
    assert [line["iteration"] for line in lines if line["phase"] == "prune"] == [1, 2, 3]


def test_sparsity_is_within_one_rank_column(run: tuple[Path, PruneSummary]) -> None:
    _, summary = run
    plan = plan_layers(layer_table("digits-resnet"), QUICK)
    column = max(column_weights(layer, QUICK) for layer in plan.of_form("hybrid"))
    for report in summary.iterations:
        over = report.sparsity - report.kappa
        assert -0.5 <= over * summary.prunable_weights < column
    assert summary.iterations[-1].kappa == pytest.approx(0.9)
    assert summary.sparsity == pytest.approx(summary.iterations[-1].sparsity)
    counts = [report.kept for report in summary.iterations]
    for earlier, later in itertools.pairwise(counts):
        assert all(1 <= later[name] <= earlier[name] for name in earlier)


def test_pruned_network_still_works(run: tuple[Path, PruneSummary]) -> None:
    out, summary = run
    assert summary.dense_all_classes.val.top1 > 0.9
    assert summary.pruned.val.top1 > 0.85
    model = build("digits-resnet")
    load_weights(out / "prune" / "weights.safetensors", model, "digits-resnet")
    data = user_samples(load("digits", QUICK.seed).test, CLASSES)
    assert accuracy(model, data, CLASSES) == summary.pruned.test


def comparable(summary: PruneSummary) -> dict[str, Any]:
    return {
        key: value
        for key, value in vars(summary).items()
        if key not in ("seconds", "dense_weights", "sources")
    }


def test_same_again_and_dense_weights_are_reused(
    run: tuple[Path, PruneSummary], tmp_path: Path
) -> None:
    out, summary = run
    first = load_file(out / "prune" / "weights.safetensors")
    state = torch.random.get_rng_state()
    fresh = prune_network("digits-resnet", "digits", CLASSES, QUICK, tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert fresh.dense_weights == "trained"
    reused = prune_network("digits-resnet", "digits", CLASSES, QUICK, tmp_path)
    assert reused.dense_weights == "reused"
    second = load_file(tmp_path / "prune" / "weights.safetensors")
    assert comparable(fresh) == comparable(summary) == comparable(reused)
    assert all(torch.equal(first[key], second[key]) for key in first)
    # A damaged copy is trained again, and other training options are not mixed up with it.
    dense = tmp_path / "prune" / "dense.safetensors"
    dense.write_bytes(dense.read_bytes()[:-100])
    again = prune_network("digits-resnet", "digits", CLASSES, QUICK, tmp_path)
    assert again.dense_weights == "trained"
    assert comparable(again) == comparable(summary)


@pytest.mark.slow
def test_same_in_another_process(run: tuple[Path, PruneSummary], tmp_path: Path) -> None:
    out, _ = run
    code = (
        "import sys; from pathlib import Path\n"
        "from crisp_loop.prune.run import prune_network, PruneConfig\n"
        "config = PruneConfig.model_validate_json(sys.argv[1])\n"
        "prune_network('digits-resnet', 'digits', (3, 5, 8), config, Path(sys.argv[2]))\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code, QUICK.model_dump_json(), str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    for name in ("dense", "weights", "masks"):
        first, second = (load_file(d / "prune" / f"{name}.safetensors") for d in (out, tmp_path))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_weights_of_ones_own(tmp_path: Path, run: tuple[Path, PruneSummary]) -> None:
    out, summary = run
    given = out / "prune" / "dense.safetensors"
    loaded = prune_network("digits-resnet", "digits", CLASSES, QUICK, tmp_path, weights=given)
    assert loaded.dense_weights == str(given)
    assert comparable(loaded) == comparable(summary)


def test_wrong_weights_are_one_sentence(tmp_path: Path) -> None:
    model = build("digits-resnet")
    good = tmp_path / "good.safetensors"
    save_weights(good, model)
    state = load_file(good)
    torch.save(state, tmp_path / "good.pth")
    load_weights(tmp_path / "good.pth", model, "m")
    cases = {
        "missing": (tmp_path / "none.safetensors", "does not exist"),
        "folder": (tmp_path, "is a directory"),
    }
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:1000])
    cases["cut"] = (tmp_path / "cut.safetensors", "not a readable safetensors")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "good.pth").read_bytes()[:1000])
    cases["cut pth"] = (tmp_path / "cut.pth", "not a readable")
    save_file({k: v for k, v in state.items() if k != "fc.bias"}, tmp_path / "less.safetensors")
    cases["less"] = (tmp_path / "less.safetensors", "lacks fc.bias")
    save_file({**state, "more": torch.zeros(1)}, tmp_path / "more.safetensors")
    cases["more"] = (tmp_path / "more.safetensors", "holds more")
    save_file({**state, "fc.bias": torch.zeros(3)}, tmp_path / "shape.safetensors")
    cases["shape"] = (tmp_path / "shape.safetensors", r"\(3,\), but m needs \(10,\)")
    for path, words in cases.values():
        with pytest.raises(CrispLoopError, match=words):
            load_weights(path, model, "m")


@pytest.mark.parametrize(
    ("network", "dataset", "classes", "words"),
    [
        ("alexnet", "digits", (1,), "the known ones are digits-resnet"),
        ("digits-resnet", "mnist", (1,), "the known ones are digits"),
        ("digits-resnet", "digits", (10,), "0 to 9"),
        ("resnet50", "digits", (1,), "input_shape"),
    ],
)
def test_wrong_names_before_any_training(
    network: str, dataset: str, classes: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        prune_network(network, dataset, classes, QUICK, tmp_path)
    assert not list(tmp_path.iterdir())


# ---- modules of one's own ----------------------------------------------------------------


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32), nn.ReLU()).append(
        nn.Linear(32, 3)
    )


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(60, 64, generator=generator), torch.arange(60) % 3


SMALL = PruneConfig(
    sparsity=0.8, ste_epochs=1, iteration_epochs=1, final_epochs=1, iterations=2, weight_decay=0.1
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nm": "1:4", "sparsity": 0.85},
        {"nm": "3:4", "criterion": "mean_abs"},
        {"criterion": "snip"},
        {"criterion": "grasp", "score_norm": "per_param"},
        {"criterion": "synflow"},
        {"method": "blocks", "nm": "4:4", "score_norm": "per_param", "sparsity": 0.6},
        {"score_norm": "mean", "sr_ste_decay": 1e-3},
        {"sparsity": 0.5},
        {"block": 32, "sparsity": 0.7},
    ],
)
def test_module_of_linear_layers(options: dict[str, Any], tmp_path: Path) -> None:
    config = PruneConfig.model_validate({**SMALL.model_dump(), **options})
    model = perceptron()
    kinds = [type(part) for part in model.modules()]
    keys = list(model.state_dict())
    model.eval()
    state = torch.random.get_rng_state()
    masks = prune_module(model, samples(), config)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training
    assert [type(part) for part in model.modules()] == kinds
    assert sorted(model.state_dict()) == sorted(keys)
    assert sorted(masks.layers) == ["0", "2"]
    kept = 0
    for name, mask in masks.layers.items():
        found = sparsity_of(mask, config.nm, config.block)
        assert found.form in ("hybrid", "nm", "dense")
        kept += found.nnz
        assert model.get_parameter(f"{name}.weight")[torch.from_numpy(~mask)].eq(0).all()
    total = 64 * 96 + 96 * 32
    column = 96 * config.block
    assert 0 <= (1 - kept / total) - config.sparsity < column / total
    save_masks(tmp_path / "masks.safetensors", masks)
    assert np.array_equal(load_masks(tmp_path / "masks.safetensors").layers["0"], masks.layers["0"])


def test_block_masks_nest_through_the_real_loop() -> None:
    model = perceptron()
    config = SMALL.model_copy(update={"iterations": 4, "sparsity": 0.85})
    plan = plan_layers(layer_table(model, (64,)), config)
    batches = as_batches(samples(), 20, 0)
    reports = iterate(Task(model, batches, plan, config, runtime_of(model, config), "m")).iterations
    assert [report.iteration for report in reports] == [1, 2, 3, 4]
    assert [report.kappa for report in reports] == pytest.approx([0.5875, 0.675, 0.7625, 0.85])
    for earlier, later in itertools.pairwise(reports):
        assert all(later.kept[n] <= earlier.kept[n] for n in later.kept)


def test_loader_and_tensors_need_no_unshuffled_luck() -> None:
    loader = DataLoader(TensorDataset(*samples()), batch_size=20, shuffle=True)
    first = prune_module(perceptron(), loader, SMALL)  # type: ignore[arg-type]
    second = prune_module(perceptron(), loader, SMALL)  # type: ignore[arg-type]
    for name in first.layers:
        assert np.array_equal(first.layers[name], second.layers[name])


def test_failures_leave_a_plain_module() -> None:
    model = perceptron()
    keys = sorted(model.state_dict())
    with pytest.raises(CrispLoopError, match="NaN or infinite"):
        prune_module(model, samples(), SMALL.model_copy(update={"lr": 1e30}))
    assert sorted(model.state_dict()) == keys
    model.get_parameter("0.weight").data[0, 0] = float("nan")
    with pytest.raises(CrispLoopError, match="cannot be scored"):
        prune_module(model, samples(), SMALL)
    assert sorted(model.state_dict()) == keys
