"""The engine that counts gathered inputs by the real block indices, from masks to results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crisp_loop.cli.main import app
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.files import write_json
from crisp_loop.core.gemm import Gemm, Workload
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.core.spec import load_spec
from crisp_loop.cost.run import evaluate_specs
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.run import map_workload
from crisp_loop.specs.run import write_specs

SHAPES = {"small": (64, 288, 16), "wide": (128, 1152, 64), "tall": (512, 128, 49)}
"""Layer to S, K, N."""
BLOCK = 16


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(0)
    draw = Draw(NM(2, 4), BLOCK, 0.8, 0)
    gemms = []
    for name, (rows, columns, n) in SHAPES.items():
        mask = draw.mask(rows, columns, rng)
        gemms.append(Gemm(name, 1, rows, columns, n, sparsity_of(mask, NM(2, 4), BLOCK), 0.6))
    work = Workload("toy", NM(2, 4), BLOCK, 0.8, "drawn", tuple(gemms))
    write_json(root / "workload.json", work)
    map_workload(root / "workload.json", ["dense", "crisp-stc"], root / "mapping")
    write_specs(root / "workload.json", root / "mapping", ["dense", "crisp-stc"], root / "specs")
    return root / "specs"


def price(spec: Path, engine: str) -> Evaluation:
    return evaluate_specs([spec], engine)[0]


def inputs_read(found: Evaluation) -> int:
    return found.level("DRAM").tensors["B"].reads.actual


def held(spec: Path) -> dict[str, int]:
    """Along each dimension, what SMEM holds at once: the factors of all directives but DRAM's."""
    held = dict.fromkeys("RMNQK", 1)
    for directive in load_spec(spec).sections["mapping"]:
        if "factors" in directive and directive["target"] != "DRAM":
            for word in directive["factors"].split():
                held[word[0]] *= int(word[2:])
    return held


@pytest.mark.parametrize("layer", SHAPES)
def test_dram_sends_the_union_of_what_is_resident(run: Path, layer: str) -> None:
    spec = run / "crisp-stc" / layer
    table = json.loads((spec / "gather.json").read_text())["indices"]
    tile = held(spec)
    kept = len(table[0])
    different = sum(
        len({block for row in table[r : r + tile["R"]] for block in row[q : q + tile["Q"]]})
        for r in range(0, len(table), tile["R"])
        for q in range(0, kept, tile["Q"])
    )
    bound, exact = price(spec, "analytic"), price(spec, "analytic-exact")
    sweeps, rest = divmod(inputs_read(bound), len(table) * kept)
    assert rest == 0
    assert inputs_read(exact) == sweeps * different
    assert exact.energy_uJ <= bound.energy_uJ
    assert exact.cycles <= bound.cycles
    if tile["R"] > 1:
        assert inputs_read(exact) < inputs_read(bound)


def test_some_mapping_holds_several_block_rows(run: Path) -> None:
    assert any(held(run / "crisp-stc" / layer)["R"] > 1 for layer in SHAPES)


def test_others_are_priced_alike_and_results_name_the_engine(run: Path) -> None:
    for layer in SHAPES:
        spec = run / "dense" / layer
        assert not (spec / "gather.json").exists()
        bound, exact = price(spec, "analytic"), price(spec, "analytic-exact")
        assert (bound.cycles, bound.energy_uJ) == (exact.cycles, exact.energy_uJ)
        assert (bound.engine, exact.engine) == ("analytic", "analytic-exact")


def test_an_experiment_says_which_engine_it_was(tmp_path: Path) -> None:
    layers = tmp_path / "layers.yaml"
    layers.write_text(
        "- {name: fc, kind: linear, in_channels: 512, out_channels: 128, batch: 16}\n"
    )
    invoke = CliRunner().invoke
    asked = ["--layers", str(layers), "-a", "crisp-stc", "--nm", "2:4", "--block", "16"]
    done = invoke(app, ["specs", *asked, "--sparsity", "0.8", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    spec = tmp_path / "run/specs/crisp-stc/fc"
    manifest = json.loads((tmp_path / "run/specs/manifest.json").read_text())
    files = {entry["spec"]: entry["files"] for entry in manifest["entries"]}
    assert "gather.json" in files["crisp-stc/fc"]
    done = invoke(app, ["cost", str(spec), "--engine", "analytic-exact", "--json"])
    assert json.loads(done.stdout)[0]["engine"] == "analytic-exact"


def test_gathers_that_cannot_be_used(run: Path, tmp_path: Path) -> None:
    source = run / "crisp-stc" / "small"
    for file in source.glob("*.yaml"):
        (tmp_path / file.name).write_text(file.read_text())
    gather = json.loads((source / "gather.json").read_text())
    table = gather["indices"]
    for changed, words in (
        (gather | {"indices": [table[0][1:], *table[1:]]}, "all equally long"),
        (gather | {"indices": table[:-1]}, "the bounds of R and Q"),
        (gather | {"indices": "none"}, "indices"),
        (gather | {"tensor": "C"}, "the tensors are A, B, Z"),
    ):
        (tmp_path / "gather.json").write_text(json.dumps(changed))
        with pytest.raises(CrispLoopError, match=words):
            evaluate_specs([tmp_path], "analytic-exact")
