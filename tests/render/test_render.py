"""Rendered sections: what Sparseloop wants, checked without it."""

import numpy as np
import pytest
from jinja2 import UndefinedError

from crisp_loop.accelerators import available, load_accelerator, problem_for
from crisp_loop.core.files import parse_yaml
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.loops import LoopNest
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.render import render_spec
from crisp_loop.render.spec import tensor_axes


def hybrid(pattern: str = "2:4", block: int = 64) -> Gemm:
    nm = NM.parse(pattern)
    mask = Draw(nm, block, 0.9).mask(256, 2304, np.random.default_rng(0))
    return Gemm("conv4", 1, 256, 2304, 256, sparsity_of(mask, nm, block), 0.6)


CRISP_NEST = LoopNest.parse(
    [
        "DRAM temporal R4 N4 order KNMRQ",
        "SMEM temporal Q7 order QNMKR",
        "SMEM spatial M4 order QNMKR",
        "RF temporal K8 order KQMNR",
        "RF spatial M16 K8 order KQMNR",
        "LRF temporal N64 order KQMNR",
    ]
)


def sections(design: str, gemm: Gemm, nest: LoopNest) -> dict:
    accelerator = load_accelerator(design)
    texts = render_spec(accelerator, problem_for(accelerator, gemm), nest)
    parsed = {}
    for name, text in texts.items():
        parsed |= parse_yaml(text, name)
    return parsed


def ranks(spec: dict, level: str, tensor: str = "A") -> list[dict]:
    targets = {t["name"]: t for t in spec["sparse_optimizations"]["targets"]}
    spaces = targets[level]["representation_format"]["data_spaces"]
    return next(s["ranks"] for s in spaces if s["name"] == tensor)


def test_crisp_holds_block_indices_over_offsets() -> None:
    spec = sections("crisp-stc", hybrid(), CRISP_NEST)
    # A's loops below SMEM, innermost first: K8, M16, K8, M4, Q7
    assert [(r["format"], r.get("metadata_word_bits")) for r in ranks(spec, "SMEM")] == [
        ("CP", 6), ("CP", 0), ("CP", 0), ("CP", 0), ("CP", 2),
    ]  # fmt: skip
    assert [r["format"] for r in ranks(spec, "DRAM")] == ["UOP", "CP", "CP", "CP", "CP", "CP"]
    assert [(r["format"], r["metadata_word_bits"]) for r in ranks(spec, "LRF")] == [("CP", 2)]
    assert spec["problem"]["instance"]["densities"]["A"] == {
        "distribution": "fixed_structured", "density": 0.5,
    }  # fmt: skip
    assert [["R"]] in spec["problem"]["shape"]["data_spaces"][1]["projection"]


@pytest.mark.parametrize("name", available())
def test_energy_tables_name_every_component(name: str) -> None:
    accelerator = load_accelerator(name)
    gemm = Gemm("toy", 1, 64, 64, 64, dense(4096), 0.6)
    spec = sections(name, gemm, _trivial(name))
    tables = {
        t["name"]: {a["name"]: a["energy"] for a in t["actions"]} for t in spec["ERT"]["tables"]
    }
    assert set(tables) == {accelerator.path(n.name) for n in accelerator.levels} | {
        accelerator.path(accelerator.compute.name)
    }
    assert tables["system.DRAM"]["metadata_read"] == 512.0
    assert {t["name"] for t in spec["ART"]["tables"]} == set(tables)


def _trivial(name: str) -> LoopNest:
    slots = load_accelerator(name).dataflow
    return LoopNest.parse([f"{s.level} {s.kind} - order {s.orders[0]}" for s in slots])


@pytest.mark.parametrize("name", available())
def test_a_compressed_rank_never_stands_above_an_uncompressed_one(name: str) -> None:
    rng = np.random.default_rng(0)
    accelerator = load_accelerator(name)
    gemm = hybrid()
    problem = problem_for(accelerator, gemm)
    from crisp_loop.mapping.space import mapspace

    space = mapspace(accelerator, problem)
    orders = tuple(slot.orders[-1] for slot in space.slots)
    for i in rng.permutation(len(space))[:40]:
        spec = sections(name, gemm, space.nest(int(i), orders))
        if "sparse_optimizations" not in spec:
            continue
        for target in spec["sparse_optimizations"]["targets"]:
            for data in target.get("representation_format", {}).get("data_spaces", []):
                formats = [rank["format"] for rank in data["ranks"]]
                compressed = [kind != "UOP" for kind in formats]
                assert compressed == sorted(compressed), formats
                assert compressed[-1]


@pytest.mark.parametrize("name", available())
def test_there_is_a_rank_for_each_loop_over_the_tensor(name: str) -> None:
    accelerator = load_accelerator(name)
    problem = problem_for(accelerator, hybrid())
    if not problem.mode.formats:
        pytest.skip("a dense mode has no formats")
    from crisp_loop.mapping.space import mapspace

    space = mapspace(accelerator, problem)
    nest = space.nest(len(space) // 2, tuple(slot.orders[0] for slot in space.slots))
    spec = sections(name, hybrid(), nest)
    for form in problem.mode.formats:
        loops = [
            dim
            for slot in nest.loops
            for dim, _ in slot.innermost_first()
            if dim in tensor_axes(problem)[form.tensor]
        ]
        assert len(ranks(spec, "DRAM", form.tensor)) == len(loops)


def test_a_template_with_an_unknown_name_fails_instead_of_rendering_nothing() -> None:
    from crisp_loop.render.spec import _environment

    with pytest.raises(UndefinedError):
        _environment().from_string("{{ nobody }}").render()
