import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crisp_loop.core.pattern import NM
from crisp_loop.formats import accounting
from crisp_loop.formats.base import Facts
from crisp_loop.formats.bits import unpack_bits, width_for
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix

Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def strange_weights(rng: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    """Random bit patterns: NaNs with payloads, infinities, -0.0 and subnormals among them."""
    words = rng.integers(0, 1 << 32, shape, dtype=np.uint32)
    words[rng.random(shape) < 0.1] = 0x80000000
    words[rng.random(shape) < 0.05] = 0x7FA12345
    return words.view(np.float32)


def nm_mask(rng: np.random.Generator, rows: int, columns: int, nm: NM, full: bool) -> Mask:
    """A random N:M mask; groups keep exactly N when ``full``, else 0 to N."""
    order = rng.random((rows, columns // nm.m, nm.m)).argsort(axis=2).argsort(axis=2)
    keep = nm.n if full else rng.integers(0, nm.n + 1, (rows, columns // nm.m, 1))
    return (order < keep).reshape(rows, columns)


def hybrid_mask(
    rng: np.random.Generator, grid: tuple[int, int], block: int, kept: int, nm: NM, full: bool
) -> Mask:
    """A mask whose block-rows keep ``kept`` blocks each, none of them empty."""
    rows, columns = grid[0] * block, grid[1] * block
    chosen = rng.random(grid).argsort(axis=1).argsort(axis=1) < kept
    mask = nm_mask(rng, rows, columns, nm, full)
    mask[::block, :: nm.m] |= ~mask.reshape(rows // block, block, -1, nm.m).any(axis=(1, 3))
    for r, c in np.argwhere(chosen):
        tile = mask[r * block : (r + 1) * block, c * block : (c + 1) * block]
        if not tile.any():
            tile[0, 0] = True
    return mask & chosen.repeat(block, axis=0).repeat(block, axis=1)


def masked_bits(mask: Mask, weights: Matrix) -> npt.NDArray[np.uint32]:
    return np.where(mask, weights.view(np.uint32), np.uint32(0))


patterns = st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4), NM(4, 4), NM(2, 8)])


@st.composite
def hybrid_cases(draw: st.DrawFn) -> tuple[Mask, Matrix, NM, int, int]:
    nm = draw(patterns)
    block = draw(st.sampled_from([16, 32, 64]))
    grid = (draw(st.integers(1, 3)), draw(st.integers(1, 7)))
    kept = draw(st.integers(0, grid[1]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = hybrid_mask(rng, grid, block, kept, nm, draw(st.booleans()))
    return mask, strange_weights(rng, mask.shape), nm, block, kept


@settings(max_examples=60, deadline=None)
@given(hybrid_cases())
def test_hybrid_round_trip_is_bit_exact(case: tuple[Mask, Matrix, NM, int, int]) -> None:
    mask, weights, nm, block, kept = case
    packed = HybridMatrix.encode(mask, weights, nm, block)
    assert packed.kept_blocks == kept
    assert packed.values.shape == (mask.shape[0] // block, block, kept * block // nm.m, nm.n)
    decoded = packed.decode()
    assert decoded.dtype == np.float32
    assert (decoded.view(np.uint32) == masked_bits(mask, weights)).all()


@settings(max_examples=60, deadline=None)
@given(hybrid_cases())
def test_hybrid_bits_equal_the_closed_forms(case: tuple[Mask, Matrix, NM, int, int]) -> None:
    mask, weights, nm, block, kept = case
    rows, columns = mask.shape
    packed = HybridMatrix.encode(mask, weights, nm, block)
    index_bits = accounting.block_index_bits(rows, columns, block, kept)
    offset_bits = accounting.offset_bits(rows, kept * block, nm)
    assert packed.block_index_bits == index_bits
    assert packed.offset_bits == offset_bits
    assert packed.block_indices.size == (index_bits + 7) // 8
    assert packed.offsets.size == (offset_bits + 7) // 8
    places = columns // block
    assert index_bits * block**2 == rows * kept * block * (places - 1).bit_length()
    if nm.n < nm.m:
        assert offset_bits * nm.m == rows * kept * block * nm.n * (nm.m - 1).bit_length()


@pytest.mark.filterwarnings("ignore:Sparse BSR tensor support")
@settings(max_examples=40, deadline=None)
@given(hybrid_cases())
def test_block_indices_equal_torch_bsr(case: tuple[Mask, Matrix, NM, int, int]) -> None:
    mask, weights, nm, block, kept = case
    packed = HybridMatrix.encode(mask, weights, nm, block)
    bsr = torch.from_numpy(mask.astype(np.float32)).to_sparse_bsr((block, block))
    assert bsr.crow_indices().diff().tolist() == [kept] * packed.values.shape[0]
    assert packed.indices().reshape(-1).tolist() == bsr.col_indices().tolist()


@settings(max_examples=40, deadline=None)
@given(patterns, st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 2**32 - 1))
def test_nm_round_trip_is_bit_exact(nm: NM, rows: int, groups: int, full: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = nm_mask(rng, rows, groups * nm.m, nm, full)
    weights = strange_weights(rng, mask.shape)
    packed = NMMatrix.encode(mask, weights, nm)
    assert packed.values.shape == (rows, groups, nm.n)
    assert (packed.decode().view(np.uint32) == masked_bits(mask, weights)).all()
    assert packed.offset_bits == accounting.offset_bits(rows, groups * nm.m, nm)


def test_a_small_case_by_hand() -> None:
    mask = np.array([[0, 0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 0, 0, 0]], dtype=np.bool_)
    mask = np.vstack([mask, np.zeros((2, 8), np.bool_)])
    weights = np.arange(1, 33, dtype=np.float32).reshape(4, 8)
    packed = HybridMatrix.encode(mask, weights, NM(2, 4), 4)
    assert packed.kept_blocks == 1
    assert packed.indices().tolist() == [[1]]
    assert packed.block_index_bits == 1
    assert packed.values.tolist() == [[[[6, 7]], [[13, 0]], [[0, 0]], [[0, 0]]]]
    offsets = unpack_bits(packed.offsets, 2, 8).tolist()
    assert offsets == [1, 2, 0, 1, 0, 1, 0, 1]  # short groups take their first masked places


def test_kept_zeros_keep_their_sign_and_masked_weights_become_plus_zero() -> None:
    mask = np.array([[True, False, False, False]])
    weights = np.array([[-0.0, -0.0, np.nan, -1.0]], dtype=np.float32)
    decoded = NMMatrix.encode(mask, weights, NM(2, 4)).decode()
    assert np.signbit(decoded).tolist() == [[True, False, False, False]]
    assert decoded.tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_other_types_of_weight(dtype: type) -> None:
    rng = np.random.default_rng(0)
    mask = hybrid_mask(rng, (2, 3), 16, 2, NM(2, 4), True)
    weights = rng.integers(-100, 100, mask.shape).astype(dtype)
    decoded = HybridMatrix.encode(mask, weights, NM(2, 4), 16).decode()
    assert decoded.dtype == dtype
    assert (decoded == weights * mask).all()


def test_refused_masks() -> None:
    weights = np.ones((32, 32), np.float32)
    uneven = np.zeros((32, 32), np.bool_)
    uneven[0, [0, 16]] = uneven[16, 0] = True
    with pytest.raises(ValueError, match="block-rows 1 and 0 keep 1 and 2 blocks"):
        HybridMatrix.encode(uneven, weights, NM(2, 4), 16)
    with pytest.raises(ValueError, match=r"keeps 4 of 4 weights, more than 2:4"):
        HybridMatrix.encode(np.ones((32, 32), np.bool_), weights, NM(2, 4), 16)
    with pytest.raises(ValueError, match="blocks of 0 do not divide 32 x 32"):
        HybridMatrix.encode(uneven, weights, NM(2, 4), 0)
    with pytest.raises(ValueError, match="no whole groups of 3"):
        HybridMatrix.encode(uneven, weights, NM(2, 3), 16)
    with pytest.raises(ValueError, match="K = 32 holds no whole groups of 3"):
        NMMatrix.encode(uneven, weights, NM(2, 3))
    with pytest.raises(ValueError, match="one shape"):
        NMMatrix.encode(uneven, weights[:1], NM(2, 4))


def test_refused_parts() -> None:
    rng = np.random.default_rng(1)
    mask = hybrid_mask(rng, (2, 5), 16, 3, NM(2, 4), True)
    good = HybridMatrix.encode(mask, strange_weights(rng, mask.shape), NM(2, 4), 16)

    def refused(match: str, **parts: object) -> None:
        with pytest.raises(ValueError, match=match):
            replace(good, **parts).decode()

    refused("block indices do not ascend below 5", block_indices=good.block_indices * 0)
    refused("block indices do not ascend below 5", block_indices=good.block_indices | 0x3)
    refused("take", block_indices=good.block_indices[:-1])
    refused("offsets do not ascend below 4", offsets=good.offsets * 0)
    refused("take", offsets=good.offsets[:-1])
    refused("do not make 2 of 5 blocks", kept_blocks=2)
    refused("K = 81 holds no whole groups of 4", shape=(32, 81))
    refused("values lie beyond 31 x 80", shape=(31, 80))
    with pytest.raises(ValueError, match="has no offsets"):
        replace(NMMatrix.encode(mask[:, :1], mask[:, :1], NM(1, 1)), offsets=good.offsets).decode()
    assert isinstance(good, HybridMatrix)


def test_paper_accounting_cannot_address_the_blocks() -> None:
    # ResNet-50 layer4.0.conv2 at 2:4, B = 64: K = 4608 = 72 blocks, 14 kept.
    rows, columns, block, kept, nm = 512, 4608, 64, 14, NM(2, 4)
    assert accounting.block_index_bits(rows, columns, block, kept) == 8 * 14 * 7
    assert accounting.offset_bits(rows, kept * block, nm) == 512 * 14 * 64 // 2 * 2
    paper = accounting.paper_bits(rows, kept * block, nm, block)
    assert paper == 8 * 14 * 3 + 512 * 14 * 64 // 2 * 2
    assert accounting.paper_bits(rows, block, nm, block) == 512 * 64  # K' = B: no index bits
    assert accounting.paper_bits(rows, 0, nm, block) == 0


def resnet50_prunable() -> list[tuple[int, int]]:
    """(S, K) of the 52 block-prunable conv layers of ResNet-50 (all but the stem)."""
    shapes, inner = [], 64
    for planes, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(blocks):
            shapes += [(planes, inner), (planes, planes * 9), (planes * 4, planes)]
            if i == 0:
                shapes.append((planes * 4, inner))
            inner = planes * 4
    return shapes


@pytest.mark.parametrize("sparsity", [0.6, 0.7, 0.8, 0.9])
def test_csr_costs_over_five_times_the_metadata_on_resnet50(sparsity: float) -> None:
    """The design notes' (and, roughly, the paper's Fig. 4) claim, by the closed forms."""
    nm, block = NM(2, 4), 16
    hybrid = csr = 0
    shapes = resnet50_prunable()
    assert len(shapes) == 52
    for rows, columns in shapes:
        kept = max(1, round((1 - sparsity) * 2 * columns / block))
        hybrid += accounting.block_index_bits(rows, columns, block, kept)
        hybrid += accounting.offset_bits(rows, kept * block, nm)
        facts = Facts(rows, columns, rows * kept * block // 2, 0, 0, nm, block)
        csr += accounting.csr(facts).overhead
    assert 5.0 < csr / hybrid < 5.8


def test_width_of_one_block_column_is_zero() -> None:
    assert width_for(1) == 0
    packed = HybridMatrix.encode(
        np.ones((16, 16), np.bool_), np.ones((16, 16), np.float32), NM(4, 4), 16
    )
    assert packed.block_index_bits == packed.offset_bits == 0
    assert (packed.decode() == 1).all()


@pytest.mark.parametrize(("columns", "kept"), [(5, 3), (1, 1), (4, 4)])
def test_the_decoder_printed_in_the_documentation(columns: int, kept: int) -> None:
    document = Path(__file__).parents[2] / "docs" / "formats.md"
    text = document.read_text(encoding="utf-8")
    code = text[text.index("    def words") : text.index("### Other forms")]
    rng = np.random.default_rng(3)
    mask = hybrid_mask(rng, (2, columns), 16, kept, NM(2, 4), False)
    packed = HybridMatrix.encode(mask, strange_weights(rng, mask.shape), NM(2, 4), 16)
    names = {"np": np, "S": 32, "K": columns * 16, "B": 16, "M": 4, "ceil_log2": width_for}
    names |= {name: getattr(packed, name) for name in ("values", "block_indices", "offsets")}
    exec(textwrap.dedent(code), names)
    assert names["weight"].tobytes() == packed.decode().tobytes()
