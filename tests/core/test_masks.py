"""Masks: matrix view, recognition of patterns, the file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.masks import (
    Masks,
    kept_blocks,
    load_masks,
    matrix_view,
    save_masks,
    sparsity_of,
)
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw


def drawn(rows: int = 64, columns: int = 96, block: int = 16, kappa: float = 0.8) -> np.ndarray:
    return Draw(NM(2, 4), block, kappa).mask(rows, columns, np.random.default_rng(0))


def test_matrix_view_puts_input_channels_innermost() -> None:
    weight = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    view = matrix_view(weight)
    assert view.shape == (2, 12)
    for o, i, y, x in np.ndindex(weight.shape):
        assert view[o, (y * 2 + x) * 3 + i] == weight[o, i, y, x]


def test_a_hybrid_mask_is_recognised() -> None:
    found = sparsity_of(drawn(), NM(2, 4), 16)
    assert found.form == "hybrid"
    assert found.kept_blocks == 2  # 6 * 0.2 * 2 = 2.4
    assert found.density == 2 / 6 * 0.5


def test_nm_only_and_dense_masks_are_recognised() -> None:
    assert sparsity_of(drawn(kappa=0.5), NM(2, 4), 16).form == "nm"
    assert sparsity_of(np.ones((4, 4), dtype=bool), NM(2, 4), 16).form == "dense"


def test_broken_patterns_say_where() -> None:
    mask = drawn()
    group = int(np.flatnonzero(mask[5])[0]) // 4
    mask[5, group * 4 : group * 4 + 3] = True
    with pytest.raises(ValueError, match=f"row 5, columns {group * 4} to"):
        sparsity_of(mask, NM(2, 4), 16)
    uneven = drawn()
    block = int(np.flatnonzero(uneven.reshape(4, 16, 6, 16)[2].max(axis=(0, 2)))[0])
    uneven[32:48, block * 16 : block * 16 + 16] = False
    with pytest.raises(ValueError, match="block-rows 2 and 0 keep 1 and 2 blocks"):
        sparsity_of(uneven, NM(2, 4), 16)


@given(
    rows=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 9),
    block=st.sampled_from([1, 2, 3, 16, 32, 64, 16_000_000]),
)  # fmt: skip
def test_kept_blocks_reach_beyond_the_mask(rows: int, columns: int, block: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.05
    kept = kept_blocks(mask, block)
    assert kept.shape == (-(-rows // block), -(-columns // block))
    expected = np.zeros_like(kept)
    for row, column in np.argwhere(mask):
        expected[row // block, column // block] = True
    assert np.array_equal(kept, expected)


def test_the_file_round_trips(tmp_path: Path) -> None:
    mask = drawn().reshape(64, 24, 2, 2)
    save_masks(tmp_path / "m.safetensors", Masks("net", NM(2, 4), 16, {"conv": mask}))
    back = load_masks(tmp_path / "m.safetensors")
    assert (back.model, back.nm, back.block) == ("net", NM(2, 4), 16)
    assert np.array_equal(back.layers["conv"], mask)


def test_equal_masks_give_equal_bytes(tmp_path: Path) -> None:
    masks = Masks("net", NM(2, 4), 16, {"b": drawn(), "a": drawn()})
    files = [tmp_path / f"{i}.safetensors" for i in range(5)]
    for file in files:
        save_masks(file, masks)
    assert len({file.read_bytes() for file in files}) == 1


def test_foreign_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"a": np.ones((2, 2), dtype=bool)}, path)
    with pytest.raises(CrispLoopError, match=r"expected crisp_loop\.masks in the file"):
        load_masks(path)
    save_masks(path, Masks("net", NM(2, 4), 16, {"conv": drawn()}))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CrispLoopError, match="not a readable safetensors file"):
        load_masks(path)
    with pytest.raises(CrispLoopError, match="is a directory"):
        load_masks(tmp_path)


def test_booleans_of_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    save_masks(path, Masks("net", NM(2, 4), 16, {"a": np.ones((4, 4), dtype=bool)}))
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"\x02")
    with pytest.raises(CrispLoopError, match="a: 2 cannot be used; expected booleans, bytes of 0"):
        load_masks(path)
