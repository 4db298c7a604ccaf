"""The command line: what it prints, and that every mistake is one sentence with exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crisp_loop.cli.main import app
from crisp_loop.core.mappings import read_mappings

GOLDEN = Path(__file__).parents[1] / "golden"
SPEC = GOLDEN / "crisp24-b64-conv4-3x3" / "spec.yaml"
runner = CliRunner()


def crisp(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own, wide enough that nothing wraps."""
    return subprocess.run(
        [sys.executable, "-m", "crisp_loop.cli.main", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "1000"},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["eval", "nowhere.yaml"], "nowhere.yaml: no such experiment file."),
        (["eval", "."], ". is a directory; expected an experiment file."),
        (["eval", "broken.yaml"], "broken.yaml is not valid YAML at line 2, column"),
        (["eval", "text.yaml"], "text.yaml holds no experiment; expected keys such as"),
        (["eval", "-a", "tpu"], "accelerator: 'tpu' is unknown; expected one of dense, nvidia-stc"),
        (["eval", "--nm", "5:4"], "prune.nm: '5:4' cannot be used; expected N:M with 1 <= N <= M"),
        (["eval", "--nm", "two"], "prune.nm: 'two' cannot be used; expected N:M"),
        (["eval", "--sparsity", "0.3", "--nm", "2:4"], "prune.sparsity: 0.3 cannot be used; 2:4"),
        (["eval", "--block", "48"], "prune.block: 48 cannot be used; expected 16, 32, 64"),
        (
            ["eval", "--model", "alexnet"],
            "network: 'alexnet' cannot be used; the known networks are",
        ),
        (
            ["eval", "--engine", "magic"],
            "engine: 'magic' cannot be used; the known engines are auto",
        ),
        (
            ["map", "--objective", "speed"],
            "objective: 'speed' cannot be used; the known objectives are cycles-energy, cycles",
        ),
        (["eval", "--classes", "1,12"], "12"),
        (["reproduce", "fig5"], "figure: 'fig5' cannot be used; expected fig1, fig2, fig3, fig4"),
        (
            ["reproduce", "fig1", "--scale", "big"],
            "--scale: 'big' cannot be used; expected ci, mid",
        ),
        (
            ["reproduce", "fig1", "--scale", "mid"],
            "--scale mid needs --data; expected cifar10:PATH",
        ),
        (["reproduce", "fig1", "--seeds", "0"], "seeds: 0 cannot be used; input should be greater"),
        (
            ["reproduce", "fig4", "--out", "broken.yaml"],
            "--out: broken.yaml is a file; expected a directory",
        ),
        (["eval", "--out", "broken.yaml"], "--out: broken.yaml is a file; expected a directory"),
        (
            ["eval", "unknown.yaml"],
            "unknown.yaml: prune.blok: 'blok' cannot be used; it is unknown",
        ),
        (["cost", "nowhere.yaml"], "nowhere.yaml: no such spec"),
        (["cost", "text.yaml"], "text.yaml holds no sections; expected"),
        (["cost", "empty"], "empty holds no .yaml files"),
        (["cost", str(SPEC), "--engine", "magic"], "engine: 'magic' cannot be used"),
        (["report", "empty"], "empty is no run's directory"),
        (["report", "empty", "--format", "pdf"], "--format: 'pdf' cannot be used; expected one of"),
        (["compare", "empty", "empty"], "empty holds no results.csv; run crisp-loop report on it."),
        (["compare", "a", "b", "-o", "c.pdf"], "--out: 'c.pdf' cannot be used; expected a name"),
        (["layers", "alexnet"], "network: 'alexnet' cannot be used; the known ones are"),
        (["pack", "nowhere", "nowhere"], "nowhere"),
        (["formats", "-m", "alexnet"], "network: 'alexnet' cannot be used; the known ones are"),
        (["formats", "--nm", "5:4"], "--nm: '5:4' cannot be used; expected N:M with 1 <= N <= M"),
        (["formats", "--block", "10"], "block: 10 cannot be used; expected a multiple of 4"),
        (["formats", "-s", "0.4"], "sparsity: 0.4 cannot be used; expected 0.5 (what 2:4 alone"),
        (["formats", "-s", "half"], "--sparsity: 'half' cannot be used; expected numbers"),
        (["formats", "--indivisible", "cut"], "--indivisible: 'cut' cannot be used; expected pad"),
        (["formats", "--masks", "nowhere"], "nowhere does not exist; expected a mask file"),
        (
            ["formats", "--masks", "x", "-B", "16"],
            "it excludes --block",
        ),
        (["formats", "--out", "broken.yaml"], "--out: broken.yaml is a file; expected a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    (tmp_path / "broken.yaml").write_text("[1, 2\n- : {")
    (tmp_path / "text.yaml").write_text("just words")
    (tmp_path / "unknown.yaml").write_text("prune: {blok: 16}")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    done = crisp(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_spec_is_priced_as_timeloop_does() -> None:
    done = crisp("cost", str(SPEC), "--engine", "analytic", "--json")
    (evaluation,) = json.loads(done.stdout)
    expected = json.loads((GOLDEN / "cases.json").read_text())["crisp24-b64-conv4-3x3"]
    assert evaluation["cycles"] == expected["cycles"]
    assert evaluation["energy_uJ"] == pytest.approx(expected["energy_uJ"], rel=1e-5)
    assert [level["name"] for level in evaluation["levels"]] == ["LRF", "RF", "SMEM", "DRAM"]


def test_the_capacity_case_is_refused() -> None:
    done = crisp("cost", str(GOLDEN / "crisp14-b16-conv4-3x3" / "spec.yaml"), "-e", "analytic")
    assert done.returncode == 2
    assert "SMEM" in done.stderr
    assert "313344" in done.stderr
    assert "262144" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "eval",
        "prune",
        "pack",
        "map",
        "specs",
        "cost",
        "report",
        "layers",
        "doctor",
        "formats",
        "compare",
    ],
)
def test_help_teaches(command: str) -> None:
    done = runner.invoke(app, [command, "--help"])
    assert done.exit_code == 0
    assert len(done.output) > 200


def test_layers_are_listed() -> None:
    done = crisp("layers", "resnet50", "--json")
    table = json.loads(done.stdout)
    assert table["parameters"] == 25_557_032
    assert len(table["layers"]) == 54
    listed = crisp("layers").stdout
    assert "resnet20" in listed
    (row,) = [line.split() for line in listed.splitlines() if "resnet50" in line]
    assert row == ["resnet50", "3x224x224", "1,000", "25,557,032"]
    networks = json.loads(crisp("layers", "--json").stdout)
    assert networks[0]["input_shape"] == [1, 8, 8]


def test_doctor_names_the_engines() -> None:
    done = crisp("doctor")
    assert done.returncode == 0
    for name in ("analytic", "timeloop", "docker", "energy tables"):
        assert name in done.stdout


def test_mappings_are_found_explained_and_kept(tmp_path: Path) -> None:
    arguments = ["map", "-m", "resnet20", "-a", "crisp-stc", "--objective", "edp", "--into", "lib"]
    done = crisp(*arguments, "-o", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dense: mappings by edp" in done.stdout
    library = read_mappings(tmp_path / "lib" / "crisp-stc.yaml")
    assert library == read_mappings(tmp_path / "run" / "mapping" / "crisp-stc.yaml")
    assert {mapped.found.objective for mapped in library.mappings.values() if mapped.found} == {
        "edp"
    }
    nests = crisp(*arguments, "-o", "run", "--layer", "layer2.1.conv2", cwd=tmp_path).stdout
    assert "layer2.1.conv2 on crisp-stc:" in nests
    assert "the pace" in nests
    unknown = crisp(*arguments, "-o", "run", "--layer", "layer9", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "layer: 'layer9' is unknown; expected one of conv1, layer1.0.conv1" in unknown.stderr


def test_a_network_is_evaluated_and_reported(tmp_path: Path) -> None:
    done = crisp(
        "eval", "--model", "mobilenetv2", "--nm", "2:4", "--block", "64", "--sparsity", "0.9",
        "--engine", "analytic", "-a", "crisp-stc", "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "crisp-stc" in done.stdout
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 53  # the baseline is added
    again = crisp("report", str(tmp_path))
    assert again.returncode == 0
    from_table = crisp("report", str(tmp_path / "results.csv"), "--no-layers")
    assert from_table.returncode == 0
    assert "crisp-stc" in from_table.stdout
    totals = crisp("report", str(tmp_path), "--format", "csv").stdout.splitlines()
    assert totals[0] == "accelerator,cycles,energy_uJ,speedup,energy_gain"
    assert (
        totals
        == crisp("report", str(tmp_path / "results.csv"), "--format", "csv").stdout.splitlines()
    )
    assert [line.split(",")[0] for line in totals[1:]] == ["dense", "crisp-stc"]
