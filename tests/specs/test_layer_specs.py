"""Specs for a file of layers, from the command line to the engine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crisp_loop import __version__
from crisp_loop.cli.main import app
from crisp_loop.core.files import read_json
from crisp_loop.core.manifest import Manifest
from crisp_loop.core.spec import load_spec
from crisp_loop.cost.preflight import check_spec
from crisp_loop.sparseloop import evaluate
from crisp_loop.specs.run import directory_names

HOSTILE = ["../../x", "/etc/passwd", "{{ 7 * 7 }}", "a ERT: {}", "a_ERT:_{}", "A ERT: {}", ".."]
LAYERS = (
    "\n".join(
        f"- {{name: {json.dumps(name)}, kind: linear, in_channels: 64, out_channels: 32, batch: 8}}"
        for name in HOSTILE
    )
    + """
- {name: up, kind: conv_transpose, in_channels: 64, out_channels: 16, kernel: 2, stride: 2,
   input_size: 4}
- {name: scores, kind: matmul, in_channels: 16, out_channels: 9, batch: 9, groups: 3}
- {name: odd, kind: conv, in_channels: 6, out_channels: 32, kernel: 3, input_size: 6}
"""
)
runner = CliRunner()


def run(*arguments: str) -> tuple[int, str]:
    done = runner.invoke(app, ["specs", *arguments], env={"COLUMNS": "1000"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("written")
    (tmp_path / "layers.yaml").write_text(LAYERS)
    code, said = run(
        "--layers", str(tmp_path / "layers.yaml"), "--accelerator", "crisp-stc,dstc",
        "--nm", "1:4", "--block", "32", "--sparsity", "0.75", "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert code == 0, said
    return tmp_path


def test_one_directory_a_layer_and_design(written: Path) -> None:
    root = written / "out/specs"
    manifest = read_json(root / "manifest.json", Manifest)
    names = [*HOSTILE, *(f"up.phase{y}x{x}" for y in (0, 1) for x in (0, 1)), "scores", "odd"]
    assert [(e.accelerator, e.layer) for e in manifest.entries] == [
        (design, name) for design in ("crisp-stc", "dstc") for name in names
    ]
    directories = [root / entry.spec for entry in manifest.entries]
    assert len(set(directories)) == len(directories)
    for directory, entry in zip(directories, manifest.entries, strict=True):
        assert directory.parent == root / entry.accelerator
        files = {file.name for file in directory.iterdir()}
        assert files >= {"architecture.yaml", "energy.yaml", "problem.yaml", "mapping.yaml"}
        assert entry.files == {
            name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in files
        }
        spec = load_spec(directory)
        check_spec(spec)
        assert evaluate(spec).cycles > 0
    # Nothing was written anywhere else.
    assert {path.name for path in written.iterdir()} == {"layers.yaml", "out"}
    assert {path.name for path in root.iterdir()} == {"manifest.json", "crisp-stc", "dstc"}


def test_the_manifest_holds_inputs_versions_and_notes(written: Path) -> None:
    manifest = read_json(written / "out/specs/manifest.json", Manifest)
    assert manifest.versions["crisp_loop"] == __version__
    layers = hashlib.sha256((written / "layers.yaml").read_bytes()).hexdigest()
    assert manifest.inputs["layers.yaml"] == layers
    assert set(manifest.inputs) >= {"arch/dstc", "mapping/dstc.yaml", "workload.json", "templates"}
    by_layer = {e.layer: e for e in manifest.entries if e.accelerator == "crisp-stc"}
    assert by_layer["scores"].note == "stays dense: a product of activations has no weights"
    assert (by_layer["scores"].groups, by_layer["scores"].activation_density) == (3, 1.0)
    assert by_layer["odd"].note == "stays dense: 6 input channels are not a multiple of 4"
    assert by_layer["up.phase0x0"].note == (
        "1:4 alone: blocks of 32 do not divide 16 x 64"
    )  # fmt: skip
    assert by_layer["../../x"].form == "nm"  # 0.75 is what 1:4 alone removes


def test_the_same_request_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("name,kind,in_channels,out_channels\na,linear,64,32\n")
    for name in ("one", "two"):
        options = ("--accelerator", "crisp-stc", "--out", str(tmp_path / name))
        assert run("--layers", str(tmp_path / "l.csv"), *options)[0] == 0
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 6
    for file in files:
        if (tmp_path / "one" / file).is_file():
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--nm", "5:4"], "nm: '5:4' cannot be used; expected N:M"),
        (["--nm", "4:64"], "expected groups of at most 32"),
        (["--nm", "2:4", "--block", "30"], "block 30 holds no whole groups of 4"),
        (["--nm", "2:4", "--sparsity", "0.3"], "sparsity 0.3 is below 0.5"),
        (["-a", "tpu"], "'tpu' is unknown"),
        (["-a", "crisp-stc", "--nm", "2:8"], "no mode takes layer"),
        (["--model", "resnet50"], "layers come from one place"),
        (["--masks", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    (tmp_path / "l.yaml").write_text(
        "[{name: a, kind: linear, in_channels: 64, out_channels: 32, batch: 8}]"
    )
    out = tmp_path / "out"
    code, said = run("--layers", str(tmp_path / "l.yaml"), "--out", str(out), *arguments)
    assert code == 2
    assert sentence in said
    assert "Traceback" not in said
    assert not (out / "specs").exists()


def test_masks_need_layers() -> None:
    code, said = run("--masks", "m.safetensors")
    assert code == 2
    assert "--masks: masks go with --layers" in said


def test_names_that_become_one_are_told_apart() -> None:
    assert directory_names(["a/b", "a_b", "A_B", "x" * 300, "x" * 301]) == [
        "a_b", "a_b~2", "A_B~3", "x" * 120, "x" * 120 + "~2",
    ]  # fmt: skip
