"""Layers whose sides B does not divide, in the packed format and as compact problems."""

from __future__ import annotations

import csv
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from crisp_loop.accelerators import load_accelerator, problem_for
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import write_json
from crisp_loop.core.gemm import Gemm
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.core.masks import Masks, matrix_view, save_masks, sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.formats import accounting
from crisp_loop.formats.bits import width_for
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.lower.run import lower_network
from crisp_loop.pack.container import read_packed
from crisp_loop.pack.run import pack_masks

Mask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def padded(matrix: np.ndarray, block: int) -> np.ndarray:
    return np.pad(matrix, [(0, -side % block) for side in matrix.shape])


def mask_of(
    rng: np.random.Generator, shape: tuple[int, int], nm: NM, block: int, kept: int
) -> Mask:
    """N of M everywhere in ``kept`` blocks of each block-row of the padded grid."""
    groups = rng.random((shape[0], shape[1] // nm.m, nm.m))
    mask = (groups.argsort(axis=2).argsort(axis=2) < nm.n).reshape(shape)
    grid = (-(-shape[0] // block), -(-shape[1] // block))
    alive = rng.random(grid).argsort(axis=1).argsort(axis=1) < kept
    wide = alive.repeat(block, axis=0).repeat(block, axis=1)
    return mask & wide[: shape[0], : shape[1]]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Mask, Matrix, NM, int, int]:
    nm = draw(st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4), NM(2, 8)]))
    block = draw(st.sampled_from([16, 32, 64]))
    shape = (draw(st.integers(1, 100)), nm.m * draw(st.integers(1, 30)))
    kept = draw(st.integers(0, -(-shape[1] // block)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    words = rng.integers(0, 1 << 32, shape, dtype=np.uint32)  # NaNs and -0.0 among them
    words[rng.random(shape) < 0.1] = 0x80000000
    return mask_of(rng, shape, nm, block, kept), words.view(np.float32), nm, block, kept


@settings(deadline=None)
@given(cases())
def test_round_trip_is_bit_exact(case: tuple[Mask, Matrix, NM, int, int]) -> None:
    mask, weights, nm, block, kept = case
    packed = HybridMatrix.encode(mask, weights, nm, block)
    assert (packed.shape, packed.kept_blocks) == (mask.shape, kept)
    decoded = packed.decode()
    masked = np.where(mask, weights.view(np.uint32), np.uint32(0))
    assert decoded.shape == mask.shape
    assert np.array_equal(decoded.view(np.uint32), masked)
    # What is stored is what the padded matrix stores.
    full = HybridMatrix.encode(padded(mask, block), padded(weights, block), nm, block)
    assert packed.values.tobytes() == full.values.tobytes()
    assert packed.values.shape == full.values.shape
    assert np.array_equal(packed.block_indices, full.block_indices)
    assert np.array_equal(packed.offsets, full.offsets)
    assert np.array_equal(full.decode().view(np.uint32), padded(masked, block))


@settings(deadline=None)
@given(cases())
def test_bits_are_those_of_the_padded_grid(case: tuple[Mask, Matrix, NM, int, int]) -> None:
    mask, weights, nm, block, kept = case
    packed = HybridMatrix.encode(mask, weights, nm, block)
    rows, columns = padded(mask, block).shape
    assert packed.grid == (rows // block, columns // block)
    index_bits = rows // block * kept * width_for(columns // block)
    assert packed.block_index_bits == accounting.block_index_bits(*mask.shape, block, kept)
    assert packed.block_index_bits == index_bits
    assert packed.offset_bits == accounting.offset_bits(rows, kept * block, nm)
    assert accounting.paper_bits(*mask.shape, nm, block) == accounting.paper_bits(
        rows, mask.shape[1], nm, block
    )
    found = sparsity_of(mask, nm, block)
    if found.form == "hybrid" and kept and str(nm) in ("1:4", "2:4", "3:4"):
        gemm = Gemm("layer", 1, *mask.shape, 49, found)
        problem = problem_for(load_accelerator("crisp-stc"), gemm)
        assert problem.bounds == {"R": rows // block, "M": block, "N": 49, "Q": kept, "K": block}
        assert problem.index_bits == width_for(columns // block)
        # Hardware loads and computes what is stored.
        assert problem.metadata_bits == packed.block_index_bits + packed.offset_bits
        computes = np.prod(list(problem.bounds.values())) * problem.densities["A"]
        assert computes == packed.values.size * gemm.N
        assert packed.values.size >= found.nnz


@pytest.mark.filterwarnings("ignore:Sparse BSR tensor support")
@settings(deadline=None)
@given(cases())
def test_blocks_are_torchs_of_the_padded_matrix(case: tuple[Mask, Matrix, NM, int, int]) -> None:
    mask, _, nm, block, kept = case
    weights = np.where(mask, 1 + np.arange(mask.size, dtype=np.float32).reshape(mask.shape), 0)
    packed = HybridMatrix.encode(mask, weights, nm, block)
    bsr = torch.from_numpy(padded(weights, block)).to_sparse_bsr((block, block))
    assert bsr.crow_indices().diff().tolist() == [kept] * packed.grid[0]
    assert packed.indices().reshape(-1).tolist() == bsr.col_indices().tolist()
    rows, columns = mask.shape
    assert np.array_equal(packed.decode(), bsr.to_dense().numpy()[:rows, :columns])


@pytest.mark.parametrize(("shape", "kept"), [((20, 44), 2), ((5, 12), 1), ((33, 64), 3)])
def test_the_decoder_printed_in_the_documentation(shape: tuple[int, int], kept: int) -> None:
    document = Path(__file__).parents[2] / "docs" / "formats.md"
    text = document.read_text(encoding="utf-8")
    code = text[text.index("    def words") : text.index("### Other forms")]
    rng = np.random.default_rng(3)
    mask = mask_of(rng, shape, NM(2, 4), 16, kept)
    packed = HybridMatrix.encode(mask, rng.standard_normal(shape, dtype=np.float32), NM(2, 4), 16)
    names = {"np": np, "S": shape[0], "K": shape[1], "B": 16, "M": 4, "ceil_log2": width_for}
    names |= {name: getattr(packed, name) for name in ("values", "block_indices", "offsets")}
    exec(textwrap.dedent(code), names)
    assert names["weight"].tobytes() == packed.decode().tobytes()


# ---- files -------------------------------------------------------------------------------

TABLE = LayerTable(
    "toy",
    0,
    (
        Layer("stem", "conv", 3, 20, (3, 3), output_size=(6, 6)),
        Layer("body", "conv", 20, 24, (3, 3), output_size=(6, 6)),
        Layer("head", "linear", 24, 10),
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights and masks with one padded layer, 24 x 180: 2 x 12 blocks of 16, 5 kept a row."""
    rng = np.random.default_rng(0)
    state = {
        "stem.weight": rng.standard_normal((20, 3, 3, 3), dtype=np.float32),
        "body.weight": rng.standard_normal((24, 20, 3, 3), dtype=np.float32),
        "head.weight": rng.standard_normal((10, 24), dtype=np.float32),
    }
    flat = mask_of(rng, (24, 180), NM(2, 4), 16, 5)
    mask = np.ascontiguousarray(flat.reshape(24, 3, 3, 20).transpose(0, 3, 1, 2))
    assert np.array_equal(matrix_view(mask), flat)
    save_file(state, tmp_path / "weights.safetensors")
    save_masks(tmp_path / "masks.safetensors", Masks("toy", NM(2, 4), 16, {"body": mask}))
    np.savez(tmp_path / "arrays.npz", weight=state["body.weight"], mask=mask)
    return tmp_path


def test_packed_file_and_storage(folder: Path) -> None:
    summary = pack_masks(
        folder / "weights.safetensors", folder / "masks.safetensors", folder / "pack"
    )
    arrays = np.load(folder / "arrays.npz")
    weight, mask = arrays["weight"], arrays["mask"]
    network = read_packed(summary.packed)
    body = next(layer for layer in network.layers if layer.name == "body")
    assert (body.form, body.shape) == ("hybrid", (24, 20, 3, 3))
    assert network.state_dict()["body.weight"].tobytes() == np.where(mask, weight, 0).tobytes()
    with summary.storage.open(newline="") as file:
        row = {row["layer"]: row for row in csv.DictReader(file)}["body"]
    nnz, stored = int(mask.sum()), 2 * 16 * 5 * 16 // 2
    longest = int(np.count_nonzero(matrix_view(mask), axis=1).max())
    expected = {
        "form": "hybrid",
        "S": 24,
        "K": 180,
        "kept_blocks": 5,
        "nnz": nnz,
        "stored_values": stored,
        "dense_bits": 24 * 180 * 32,
        "value_bits": stored * 32,
        "block_index_bits": 2 * 5 * 4,
        "offset_bits": stored * 2,
        "paper_metadata_bits": 2 * 5 * 2 + stored * 2,
        "csr_bits": nnz * 8 + 25 * width_for(nnz + 1),
        "coo_bits": nnz * (5 + 8),
        "ellpack_bits": 24 * longest * 8,
        "bitmask_bits": 24 * 180,
    }
    assert {name: row[name] for name in expected} == {k: str(v) for k, v in expected.items()}


def test_lowering_keeps_true_sides(folder: Path) -> None:
    write_json(folder / "layers.json", TABLE)
    work = lower_network(folder / "layers.json", folder / "masks.safetensors", folder)
    gemm = next(gemm for gemm in work.gemms if gemm.layer == "body")
    mask = np.load(folder / "arrays.npz")["mask"]
    assert (gemm.M, gemm.K, gemm.N) == (24, 180, 36)
    assert (gemm.weight.form, gemm.weight.kept_blocks) == ("hybrid", 5)
    assert (gemm.weight.nnz, gemm.weight.density) == (mask.sum(), mask.mean())
    weights = sum(layer.weights for layer in TABLE.layers)
    assert work.sparsity == pytest.approx(float((~mask).sum() / weights))
    problem = problem_for(load_accelerator("crisp-stc"), gemm)
    assert problem.bounds == {"R": 2, "M": 16, "N": 36, "Q": 5, "K": 16}
    assert problem.index_bits == 4
    others = problem_for(load_accelerator("dstc"), gemm)
    assert (others.bounds["M"], others.bounds["K"]) == (24, 180)
    assert others.densities["A"] == gemm.weight.density


def test_values_in_the_padding_are_damage(folder: Path) -> None:
    matrix = np.ones((20, 44), np.float32)
    packed = HybridMatrix.encode(matrix > 0, matrix, NM(4, 4), 16)
    packed.values[-1, -1, -1, -1] = 1
    with pytest.raises(ValueError, match="values lie beyond 20 x 44"):
        packed.decode()
    uneven = np.zeros((24, 20, 3, 3), np.bool_)
    uneven[:, 0, 0, 0] = True
    uneven[23, 0, 2, 2] = True
    save_masks(folder / "masks.safetensors", Masks("toy", NM(2, 4), 16, {"body": uneven}))
    with pytest.raises(CrispLoopError, match="block-rows 0 and 1 keep 1 and 2 blocks"):
        pack_masks(folder / "weights.safetensors", folder / "masks.safetensors", folder / "pack")
