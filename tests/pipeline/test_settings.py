"""An experiment's arch, batch, columns and profile: what they do to specs, GEMMs and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crisp_loop.accelerators import load_accelerator
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_json, read_yaml
from crisp_loop.core.gemm import Workload
from crisp_loop.core.layers import Layer
from crisp_loop.core.progress import Quiet
from crisp_loop.pipeline.experiment import load_experiment
from crisp_loop.pipeline.run import RunDirectory, map_experiment, run_experiment

DRAWN: dict[str, Any] = {
    "network": "resnet20",
    "masks": "draw",
    "prune": {"nm": "2:4", "block": 16, "sparsity": 0.9},
    "accelerators": ["dense", "dstc"],
    "engine": "analytic",
}


def gemms(tmp_path: Path, name: str, **setting: Any) -> Workload:
    experiment = load_experiment(None, DRAWN | {"accelerators": ["dense"]} | setting)
    map_experiment(experiment, tmp_path / name, Quiet())
    return read_json(RunDirectory(tmp_path / name).workload, Workload, "workload")


def test_changed_fields_reach_the_specs_of_the_designs_they_name(tmp_path: Path) -> None:
    changes = {"SMEM.read_bandwidth": 42, "dstc/SMEM.metadata.depth": 10922}
    experiment = load_experiment(None, DRAWN | {"arch": changes})
    report = run_experiment(experiment, tmp_path)
    text = {
        name: (tmp_path / "specs" / name / "layer1.0.conv1" / "architecture.yaml").read_text()
        for name in ("dense", "dstc")
    }
    assert all("read_bandwidth: 42" in each for each in text.values())
    assert "metadata_storage_depth: 10922" in text["dstc"]
    assert "metadata_storage_depth: 10922" not in text["dense"]
    assert read_yaml(tmp_path / "experiment.yaml")["arch"] == changes
    # The files beside it are whole designs, which can be used again.
    again = load_accelerator(str(tmp_path / "arch" / "dstc.yaml"))
    assert again == load_accelerator(
        "dstc", {"SMEM.read_bandwidth": 42, "SMEM.metadata.depth": 10922}
    )
    # Ratios are over the changed baseline.
    dense = report.results[report.results.accelerator == "dense"]
    assert set(dense.speedup) == {1.0}


def test_a_batch_multiplies_columns_and_columns_pad_them(tmp_path: Path) -> None:
    once = gemms(tmp_path, "once")
    four = gemms(tmp_path, "four", batch=4)
    padded = gemms(tmp_path, "padded", columns=100)
    for before, batched, wide in zip(once.gemms, four.gemms, padded.gemms, strict=True):
        assert batched.N == 4 * before.N
        assert wide.N % 100 == 0
        assert 0 <= wide.N - before.N < 100
        assert before.weight == batched.weight == wide.weight


def test_products_of_activations_are_one_more_for_each_input() -> None:
    product = Layer("attend", "matmul", 192, 192, groups=3, batch=64)
    for inputs in (1, 4):
        many = product.of_inputs(inputs)
        assert (many.groups, many.S // many.groups, many.K, many.N) == (3 * inputs, 64, 64, 64)
        assert many.macs == inputs * product.macs
    linear = Layer("fc", "linear", 64, 10, batch=7)
    assert linear.of_inputs(4).macs == 4 * linear.macs
    assert linear.of_inputs(4).weights == linear.weights


def test_a_profile_gives_layers_a_sparsity_of_their_own(tmp_path: Path) -> None:
    profile = {"layer1.0.*": 0.5, "layer1.*": 0.75}
    work = gemms(tmp_path, "profile", profile=profile, prune={"nm": "2:4", "block": 16})
    found = {gemm.layer: gemm.weight.density for gemm in work.gemms}
    assert found["layer1.0.conv1"] == 0.5
    # 16 x 144 in blocks of 16: 9 block columns, of which 2:4 halves what is kept.
    assert found["layer1.1.conv1"] == pytest.approx(0.25, abs=0.5 * 0.5 / 9 + 1e-9)
    assert found["layer3.1.conv1"] == pytest.approx(0.1, abs=0.5 / 36)


@pytest.mark.parametrize("profile", [{"layer9.*": 0.9}, {"layer1.*": 0.4}])
def test_a_profile_that_cannot_be(tmp_path: Path, profile: dict[str, float]) -> None:
    with pytest.raises(CrispLoopError, match=r"expected (a layer's name|at least 0.5)"):
        gemms(tmp_path, "bad", profile=profile)
