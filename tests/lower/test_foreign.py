"""Masks that hold no exact pattern: what is approximated, and by how much."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp_loop.accelerators import available, load_accelerator, problem_for
from crisp_loop.core.files import read_json, write_json
from crisp_loop.core.gemm import Gemm, Workload
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.masks import Masks, save_masks, sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.foreign import pattern_of
from crisp_loop.lower.run import lower_network

NM24 = NM(2, 4)


def exact(rows: int = 64, columns: int = 128, block: int = 16) -> np.ndarray:
    return Draw(NM24, block, 0.8).mask(rows, columns, np.random.default_rng(1))


def test_an_exact_mask_has_no_note() -> None:
    mask = exact()
    assert pattern_of(mask, NM24, 16) == sparsity_of(mask, NM24, 16)
    whole = np.ones((8, 8), dtype=bool)
    assert pattern_of(whole, NM24, 16) == sparsity_of(whole, NM24, 16)


def test_uneven_rows_are_priced_as_the_fullest() -> None:
    mask = exact()
    kept = np.asarray(mask.reshape(4, 16, 8, 16).any(axis=(1, 3)))
    first = int(np.flatnonzero(kept[0])[0])
    mask[:16, first * 16 : first * 16 + 16] = False
    found = pattern_of(mask, NM24, 16)
    most = int(kept.sum(axis=1).max())
    assert (found.form, found.kept_blocks, found.nnz) == ("hybrid", most, int(mask.sum()))
    stored, real = 4 * most, 4 * most - 1
    assert f"{most - 1} to {most} blocks of 8" in found.note
    assert f"{stored / real - 1:+.1%} stored blocks" in found.note


def test_a_full_row_leaves_no_block_to_skip() -> None:
    mask = exact()
    mask[:16] = Draw(NM24, 16, 0.5).mask(16, 128, np.random.default_rng(2))
    found = pattern_of(mask, NM24, 16)
    assert found.form == "nm"
    assert "2:4 alone" in found.note


def test_broken_groups_are_counted() -> None:
    mask = Draw(NM24, 16, 0.5).mask(16, 64, np.random.default_rng(0))
    mask[3, 4:8] = True
    mask[9, :3] = True
    mask[9, 3] = False
    found = pattern_of(mask, NM24, 16)
    assert found.form == "unstructured"
    assert found.density == mask.mean()
    assert f"{2 / 256:.2%} of the groups keep more than 2:4, at most 4 of 4" in found.note


def test_empty_slots_are_said() -> None:
    mask = exact()
    row, column = np.argwhere(mask)[0]
    mask[row, column] = False
    found = pattern_of(mask, NM24, 16)
    assert found.form == "hybrid"
    stored = int(found.kept_blocks or 0) * 16 * 64 // 2
    assert found.note == f"{1 / stored:.2%} of the slots of 2:4 hold zeros"


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40), columns=st.integers(1, 48), seed=st.integers(0, 99),
    density=st.floats(0, 1), nm=st.sampled_from(["1:4", "2:4", "4:8"]),
)  # fmt: skip
def test_any_mask_is_held_by_what_it_is_priced_as(
    rows: int, columns: int, seed: int, density: float, nm: str
) -> None:
    """Brute force: what is priced stores at least the mask's weights, and designs take it."""
    mask = np.random.default_rng(seed).random((rows, columns)) < density
    pattern = NM.parse(nm)
    found = pattern_of(mask, pattern, 16)
    if found.form == "dense":
        assert mask.all() or (not mask.any() and "no weight" in found.note)
        return
    assert found.nnz == mask.sum()
    assert found.density == pytest.approx(mask.mean())
    if found.form == "hybrid":
        grid_rows = range(0, rows, 16)
        blocks = [
            sum(bool(mask[r : r + 16, c : c + 16].any()) for c in range(0, columns, 16))
            for r in grid_rows
        ]
        assert max(blocks) == found.kept_blocks
    if found.form in ("hybrid", "nm"):
        groups = [mask[:, c : c + pattern.m].sum(axis=1) for c in range(0, columns, pattern.m)]
        assert max(int(group.max()) for group in groups) <= pattern.n
    for name in available():
        if found.nm in (NM(4, 8), None) and found.form != "unstructured" and name == "crisp-stc":
            continue  # it knows groups of four
        problem_for(load_accelerator(name), Gemm("x", 1, rows, columns, 4, found, 0.6))


def test_the_workload_says_it(tmp_path: Path) -> None:
    layers = (Layer("a", "linear", 128, 64), Layer("b", "conv", 32, 64, (3,), output_size=(9,)))
    write_json(tmp_path / "layers.json", LayerTable("toy", 0, layers))
    foreign = np.random.default_rng(0).random((64, 128)) < 0.3
    one_d = exact(64, 96).reshape(64, 3, 32).transpose(0, 2, 1)  # O, I, kw
    save_masks(tmp_path / "m.safetensors", Masks("toy", NM24, 16, {"a": foreign, "b": one_d}))
    told: list[str] = []

    class Listening:
        def track(self, items, what, total=None):
            return iter(items)

        def note(self, text: str) -> None:
            told.append(text)

    lower_network(
        tmp_path / "layers.json", tmp_path / "m.safetensors", tmp_path, progress=Listening()
    )
    work = read_json(tmp_path / "workload.json", Workload)
    assert [gemm.weight.form for gemm in work.gemms] == ["unstructured", "hybrid"]
    assert told == [f"a: {work.gemms[0].weight.note}."]
    assert work.gemms[1].weight == sparsity_of(exact(64, 96), NM24, 16)
