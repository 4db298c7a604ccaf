"""A design copied from an arch file: what follows by itself, and what is refused with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crisp_loop.accelerators import Accelerator, load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import dump_yaml, parse_yaml, read_yaml
from crisp_loop.core.gemm import Gemm
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec
from crisp_loop.cost.preflight import check_spec
from crisp_loop.cost.timeloop import Timeloop
from crisp_loop.lower.draw import Draw
from crisp_loop.mapping.search import best_mapping
from crisp_loop.render import render_spec
from crisp_loop.sparseloop import evaluate

ARCH = Path(__file__).parents[2] / "arch"
Data = dict[str, Any]


def level(data: Data, name: str) -> Data:
    return next(each for each in data["levels"] if each["name"] == name)


def slot(data: Data, name: str, kind: str) -> Data:
    return next(e for e in data["dataflow"] if (e["level"], e["kind"]) == (name, kind))


def bigger_smem(data: Data) -> None:
    level(data, "SMEM")["depth"] *= 4


def eight_cores(data: Data) -> None:
    next(node for node in data["tree"] if node["name"] == "Subpartition")["count"] = 8
    for part in (level(data, "RF"), level(data, "LRF"), data["compute"]):
        part["mesh"] = [part["mesh"][0], 2 * part["mesh"][1]]
    slot(data, "SMEM", "spatial").update(dims={"R": 8, "M": 8, "N": 8}, total=8)


def bandwidth(data: Data) -> None:
    level(data, "SMEM").update(read_bandwidth=42, write_bandwidth=42)


def words_of_16_bits(data: Data) -> None:
    for part in (*data["levels"], data["compute"]):
        part["datawidth"] = 16
    for name in ("RF", "LRF"):
        level(data, name)["width"] = 16


def groups_of_8(data: Data) -> None:
    for mode in data["modes"]:
        if "patterns" in mode["accepts"]:
            mode["accepts"]["patterns"] = ["1:8", "2:8", "4:8"]


def copied(tmp_path: Path, change: Callable[[Data], None], base: str = "crisp-stc") -> Path:
    """A user's own arch file: the shipped one written out in full, and changed."""
    data = read_yaml(ARCH / f"{base}.yaml")
    if "like" in data:
        data = read_yaml(ARCH / f"{data.pop('like')}.yaml") | data
    data["name"] = "own"
    change(data)
    path = tmp_path / "own.yaml"
    path.write_text(dump_yaml(data))
    return path


def hybrid(pattern: str) -> Gemm:
    nm = NM.parse(pattern)
    mask = Draw(nm, 32, 0.9).mask(64, 640, np.random.default_rng(0))
    return Gemm("layer", 1, 64, 640, 96, sparsity_of(mask, nm, 32), 0.6)


def spec_of(design: Accelerator, gemm: Gemm) -> Spec:
    problem = problem_for(design, gemm)
    nest = best_mapping(design, problem).nest
    sections: Data = {}
    for file, text in render_spec(design, problem.padded(nest.bound("N")), nest).items():
        sections |= parse_yaml(text, file)
    return Spec(design.name, sections)


CHANGES = {
    "bigger SMEM": (bigger_smem, "2:4"),
    "8 cores": (eight_cores, "2:4"),
    "bandwidth": (bandwidth, "1:4"),
    "16-bit words": (words_of_16_bits, "2:4"),
    "groups of 8": (groups_of_8, "2:8"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_with_other_numbers_works(name: str, tmp_path: Path) -> None:
    change, pattern = CHANGES[name]
    design = load_accelerator(str(copied(tmp_path, change)))
    spec = spec_of(design, hybrid(pattern))
    check_spec(spec)
    said = evaluate(spec)
    before = evaluate(spec_of(load_accelerator("crisp-stc"), hybrid("2:4"))).cycles
    if name == "8 cores":
        assert said.cycles <= before
    if name == "16-bit words":
        text = dump_yaml(spec.sections["architecture"])
        assert text.count("datawidth: 16") == 5
    if name == "groups of 8":
        ranks = spec.sections["sparse_optimizations"]["targets"][1]["representation_format"]
        assert ranks["data_spaces"][0]["ranks"][-1]["metadata_word_bits"] == 3
        # 4 lanes take 2 of 8 from 16 candidates, a quarter of the kept blocks' weights.
        gemm = hybrid(pattern)
        assert problem_for(design, gemm).lanes(4) == 16
    if shutil.which("timeloop-model"):
        (theirs,) = Timeloop(workers=1).evaluate([spec], Quiet())
        assert theirs.cycles == said.cycles
        assert theirs.energy_uJ == pytest.approx(said.energy_uJ, rel=1e-3)


def forgotten_mesh(data: Data) -> None:
    eight_cores(data)
    level(data, "LRF")["mesh"] = [4, 64]


def forgotten_slot(data: Data) -> None:
    eight_cores(data)
    slot(data, "SMEM", "spatial").update(total=4)


def no_metadata_store(data: Data) -> None:
    del level(data, "LRF")["metadata"]


def other_rule(data: Data) -> None:
    for mode in data["modes"]:
        for form in mode.get("formats", ()):
            form["rule"] = "huffman"


def mixed_features(data: Data) -> None:
    data["modes"][0]["actions"][1]["type"] = "skipping"


def five_of_eight(data: Data) -> None:
    for mode in data["modes"]:
        if "patterns" in mode["accepts"]:
            mode["accepts"]["patterns"] = ["5:8"]


REFUSED = {
    "odd block": (
        lambda d: level(d, "SMEM").update(width=384), r"width / datawidth is 384/8; expected 1, 2",
    ),
    "mesh": (forgotten_mesh, "mesh of LRF has 256 instances, but the counts in tree make 512"),
    "slot": (forgotten_slot, "dataflow.2 spreads over 4 instances of RF, and SMEM has 8 below it"),
    "metadata": (no_metadata_store, "mode hybrid: LRF has no metadata store"),
    "mixed": (mixed_features, "RF has both skipping_spatial and skipping"),
    "unpriced": (lambda d: d["compute"]["energy"].pop("mac_gated"), "mac_gated lacks a price"),
    "unknown key": (lambda d: level(d, "RF").update(dpeth=3), "dpeth.*the known keys"),
    "no dense mode": (lambda d: d["modes"].pop(), "modes lack one that accepts dense weights"),
    "name": (lambda d: d.update(name="a: b"), "name"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_copy_that_contradicts_itself_is_refused(name: str, tmp_path: Path) -> None:
    change, sentence = REFUSED[name]
    path = copied(tmp_path, change)
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        load_accelerator(str(path))
    assert str(path) in str(caught.value)


def test_a_rule_without_a_template_is_named(tmp_path: Path) -> None:
    design = load_accelerator(str(copied(tmp_path, other_rule)))
    with pytest.raises(CrispLoopError, match=r"formats/huffman.yaml.jinja2 is missing; .*offsets"):
        spec_of(design, hybrid("2:4"))


def test_more_candidates_than_lanes_are_refused(tmp_path: Path) -> None:
    design = load_accelerator(str(copied(tmp_path, five_of_eight)))
    with pytest.raises(CrispLoopError, match="candidates of 5:8 in 4 lanes; expected at least 5"):
        problem_for(design, hybrid("5:8"))


def test_hypergeometric_densities_are_one_word_in_the_arch_file(tmp_path: Path) -> None:
    def change(data: Data) -> None:
        data["modes"][0]["distribution"] = "hypergeometric"

    design = load_accelerator(str(copied(tmp_path, change, "dstc")))
    nm = NM(2, 4)
    mask = Draw(nm, 16, 0.9).mask(32, 160, np.random.default_rng(0))
    gemm = Gemm("small", 1, 32, 160, 16, sparsity_of(mask, nm, 16), 0.6)
    spec = spec_of(design, gemm)
    densities = spec.sections["problem"]["instance"]["densities"]
    assert densities["A"] == {"distribution": "hypergeometric", "density": mask.mean()}
    assert evaluate(spec).cycles > 0
