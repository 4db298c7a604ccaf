"""The spec stage: directories, manifest, refusals."""

import json
from pathlib import Path

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_json, write_json
from crisp_loop.core.gemm import Gemm, Workload, dense
from crisp_loop.core.manifest import Manifest
from crisp_loop.core.names import file_name
from crisp_loop.core.pattern import NM
from crisp_loop.core.spec import load_spec
from crisp_loop.mapping.run import map_workload
from crisp_loop.specs.run import write_specs

WORK = Workload(
    model="toy",
    nm=NM(2, 4),
    block=16,
    sparsity=0.0,
    masks="none",
    gemms=(
        Gemm("a.conv", 1, 16, 16, 7, dense(256), 0.6),
        Gemm("../b", 4, 1, 9, 8, dense(36), 0.6),
    ),
)


@pytest.fixture
def mapped(tmp_path: Path) -> Path:
    write_json(tmp_path / "workload.json", WORK)
    map_workload(tmp_path / "workload.json", ["dense", "dstc"], tmp_path / "mapping")
    return tmp_path


def test_each_layer_has_a_directory_that_loads(mapped: Path) -> None:
    manifest = write_specs(
        mapped / "workload.json", mapped / "mapping", ["dense", "dstc"], mapped / "specs"
    )
    assert read_json(mapped / "specs/manifest.json", Manifest) == manifest
    assert [e.spec for e in manifest.entries] == [
        "dense/a.conv", "dense/_b", "dstc/a.conv", "dstc/_b",
    ]  # fmt: skip
    for entry in manifest.entries:
        spec = load_spec(mapped / "specs" / entry.spec)
        instance = spec.sections["problem"]["instance"]
        assert instance["N"] == entry.N + entry.N_padding
        assert instance["R"] * instance["M"] == entry.groups * entry.M
    assert manifest.entries[2].cycle_correction > 1
    assert manifest.entries[0].cycle_correction == 1


def test_an_earlier_runs_specs_do_not_linger(mapped: Path) -> None:
    (mapped / "specs/old").mkdir(parents=True)
    write_specs(mapped / "workload.json", mapped / "mapping", ["dense"], mapped / "specs")
    assert sorted(p.name for p in (mapped / "specs").iterdir()) == ["dense", "manifest.json"]
    assert not list(mapped.glob(".specs*"))


def test_a_failure_leaves_the_earlier_specs(mapped: Path) -> None:
    write_specs(mapped / "workload.json", mapped / "mapping", ["dense"], mapped / "specs")
    (mapped / "mapping/dense.yaml").write_text("{accelerator: dense, arch: x, mappings: {}}")
    with pytest.raises(CrispLoopError, match=r"has no mapping for layer 'a.conv'"):
        write_specs(mapped / "workload.json", mapped / "mapping", ["dense"], mapped / "specs")
    assert json.loads((mapped / "specs/manifest.json").read_text())["entries"]
    assert not list(mapped.glob(".specs*"))


@pytest.mark.parametrize(
    ("layer", "name"),
    [("layer1.0.conv", "layer1.0.conv"), ("../../etc", "_.._etc"), ("..", "layer"), ("a/b", "a_b")],
)
def test_layer_names_stay_inside_the_directory(layer: str, name: str) -> None:
    assert file_name(layer) == name
