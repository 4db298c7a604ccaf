"""Every format: exact round trips, bits in closed form, and other libraries' arrays as oracles."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.sparse
import torch
from format_cases import (
    Mask,
    Matrix,
    any_cases,
    hybrid_cases,
    hybrid_mask,
    masked,
    strange_weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.sparse import _semi_structured_conversions as cutlass

from crisp_loop.core.masks import kept_blocks
from crisp_loop.core.pattern import NM
from crisp_loop.formats import groups
from crisp_loop.formats.base import Encoded, Facts
from crisp_loop.formats.bits import unpack_bits, width_for
from crisp_loop.formats.bsr import BSRMatrix
from crisp_loop.formats.csc import CSCMatrix
from crisp_loop.formats.csr import CSRMatrix
from crisp_loop.formats.ellpack import ELLPACKMatrix
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix
from crisp_loop.formats.nvidia24 import Nvidia24Matrix
from crisp_loop.formats.registry import FORMATS

PATTERNED = ("hybrid", "nm", "nvidia24")
FREE = tuple(name for name in FORMATS if name not in PATTERNED)


def stored_bits(encoded: Encoded) -> tuple[int, int]:
    """Bytes of the values, and of all other arrays, times 8."""
    arrays = {f.name: getattr(encoded, f.name) for f in fields(encoded)}  # type: ignore[arg-type]
    found = {name: a.nbytes * 8 for name, a in arrays.items() if isinstance(a, np.ndarray)}
    return found.pop("values"), sum(found.values())


def check(name: str, mask: Mask, weights: Matrix, nm: NM, block: int) -> None:
    """Round trip, closed form, and streams as long as the bits say."""
    encoded = FORMATS[name].encode(mask, weights, nm, block)
    decoded = encoded.decode()
    assert decoded.dtype == weights.dtype
    assert decoded.shape == encoded.shape == mask.shape
    assert decoded.tobytes() == masked(mask, weights)
    facts = Facts.of(mask, nm, block, weights.dtype.itemsize * 8)
    assert encoded.bits == FORMATS[name].bits(facts)
    values, others = stored_bits(encoded)
    assert values == encoded.bits.values
    assert 0 <= others - encoded.bits.overhead < 16  # two streams, each padded to a byte
    assert encoded.bits.total == encoded.bits.values + encoded.bits.overhead


@pytest.mark.parametrize("name", FREE)
@settings(max_examples=40, deadline=None)
@given(any_cases(), st.sampled_from([1, 3, 8, 16]))
def test_any_mask(name: str, case: tuple[Mask, Matrix], block: int) -> None:
    check(name, *case, NM(1, 1), block)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None)
@given(hybrid_cases())
def test_hybrid_masks(name: str, case: tuple[Mask, Matrix, NM, int]) -> None:
    mask, weights, nm, block = case
    if FORMATS[name].fits(nm):
        check(name, mask, weights, nm, block)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint16, np.complex128])
@pytest.mark.parametrize("name", FORMATS)
def test_weights_of_other_types(name: str, dtype: type) -> None:
    rng = np.random.default_rng(1)
    mask = hybrid_mask(rng, (30, 56), NM(2, 4), 16, 2)
    check(name, mask, strange_weights(rng, mask.shape, dtype), NM(2, 4), 16)  # type: ignore[arg-type]


# ---- compiled kernels beside numpy ---------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(hybrid_cases(), st.sampled_from([np.int8, np.float16, np.float32, np.float64]))
def test_kernels_do_what_numpy_does(case: tuple[Mask, Matrix, NM, int], dtype: type) -> None:
    mask, _, nm, block = case
    rng = np.random.default_rng(int(mask.sum()))
    weights = strange_weights(rng, mask.shape, dtype)
    grid = groups.block_grid(mask, block)
    assert np.array_equal(grid, kept_blocks(mask, block))
    indices = np.nonzero(grid)[1].reshape(len(grid), -1)
    sides = (block, block)
    assert groups._compiled(nm, weights)
    values, offsets = groups.pack_groups(mask, weights, indices, sides, nm)
    expected_values, expected_offsets = groups._pack_numpy(mask, weights, indices, sides, nm)
    assert values.shape == expected_values.shape
    assert values.tobytes() == expected_values.tobytes()
    assert offsets.tobytes() == expected_offsets.tobytes()
    decoded = groups.unpack_groups(values, offsets, indices, sides, nm, mask.shape)  # type: ignore[arg-type]
    assert decoded.tobytes() == masked(mask, weights)
    unpacked = groups._unpack_numpy(values, offsets, indices, sides, nm, mask.shape)  # type: ignore[arg-type]
    assert unpacked.tobytes() == masked(mask, weights)
    used = np.full(mask.shape, 7, dtype=dtype)
    groups.unpack_groups(values, offsets, indices, sides, nm, mask.shape, used)  # type: ignore[arg-type]
    assert used.tobytes() == masked(mask, weights)


@settings(max_examples=60, deadline=None)
@given(hybrid_cases(), st.integers(0, 2**32 - 1))
def test_damaged_streams_are_refused_by_both_paths_alike(
    case: tuple[Mask, Matrix, NM, int], seed: int
) -> None:
    mask, weights, nm, block = case
    rng = np.random.default_rng(seed)
    packed = HybridMatrix.encode(mask, weights, nm, block)
    offsets, values = packed.offsets.copy(), packed.values.copy()
    spare = packed.offset_bits % 8
    if offsets.size:
        offsets[rng.integers(offsets.size)] ^= 1 << rng.integers(spare if spare else 8)
    if values.size:
        values.reshape(-1)[rng.integers(values.size)] = -0.0
    arguments = (values, offsets, packed.indices(), (block, block), nm, mask.shape)

    def outcome(unpack: object) -> bytes | str:
        try:
            return unpack(*arguments).tobytes()  # type: ignore[operator]
        except ValueError as error:
            return str(error)

    assert outcome(groups.unpack_groups) == outcome(groups._unpack_numpy)


@pytest.mark.parametrize("nm", [NM(2, 4), NM(1, 8), NM(2, 16)])
def test_a_group_that_keeps_too_many_is_found(nm: NM) -> None:
    rng = np.random.default_rng(2)
    mask = hybrid_mask(rng, (32, 64), nm, 32, 2)
    group = mask[17].reshape(-1, nm.m)[1]
    group[: nm.n + 1] = True
    message = rf"keeps {group.sum()} of {nm.m} weights, more than {nm}"
    with pytest.raises(ValueError, match=message):
        HybridMatrix.encode(mask, mask.astype(np.float32), nm, 32)


def test_groups_of_sixteen_go_through_numpy() -> None:
    rng = np.random.default_rng(3)
    mask = hybrid_mask(rng, (40, 96), NM(3, 16), 32, 2, full=False)
    check("hybrid", mask, strange_weights(rng, mask.shape), NM(3, 16), 32)  # type: ignore[arg-type]
    check("nm", mask, strange_weights(rng, mask.shape), NM(3, 16), 32)  # type: ignore[arg-type]


def test_slices_and_transposed_weights_are_packed_too() -> None:
    rng = np.random.default_rng(4)
    mask = hybrid_mask(rng, (33, 65), NM(1, 1), 16, 5)
    weights = strange_weights(rng, (65, 33)).T
    for cut in (slice(1, None), slice(1, 64)):
        part = mask[1:, cut][:, : (mask[1:, cut].shape[1] // 4) * 4]
        own = weights[1:, cut][:, : part.shape[1]]
        pattern = np.tile([True, False, True, False], part.shape[1] // 4)
        encoded = NMMatrix.encode(part & pattern, own, NM(2, 4))
        assert encoded.decode().tobytes() == masked(part & pattern, own)


def test_decoding_into_an_array_that_does_not_fit() -> None:
    mask = np.ones((16, 16), np.bool_)
    packed = HybridMatrix.encode(mask, mask.astype(np.float32), NM(4, 4), 16)
    for out in (np.ones((16, 8), np.float32), np.ones((16, 16)), np.ones((16, 32))[:, ::2]):
        with pytest.raises(ValueError, match=r"C-contiguous float32 array shaped \(16, 16\)"):
            packed.decode(out)


# ---- other libraries -----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(any_cases())
def test_csr_and_csc_are_scipys(case: tuple[Mask, Matrix]) -> None:
    mask, _ = case
    weights = np.where(mask, 1 + np.arange(mask.size, dtype=np.float32).reshape(mask.shape), 0)
    rows, columns = mask.shape
    csr, csc = CSRMatrix.encode(mask, weights), CSCMatrix.encode(mask, weights)
    by_row, by_column = scipy.sparse.csr_array(weights), scipy.sparse.csc_array(weights)
    count = by_row.nnz
    assert csr.values.tolist() == by_row.data.tolist()
    assert csc.values.tolist() == by_column.data.tolist()
    pointer = width_for(count + 1)
    for stream, width, theirs in (
        (csr.column_indices, width_for(columns), by_row.indices),
        (csr.row_pointers, pointer, by_row.indptr),
        (csc.row_indices, width_for(rows), by_column.indices),
        (csc.column_pointers, pointer, by_column.indptr),
    ):
        assert unpack_bits(stream, width, len(theirs)).tolist() == theirs.tolist()


@pytest.mark.filterwarnings("ignore:Sparse BSR tensor support")
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_bsr_is_torchs_and_scipys(block_rows: int, block_columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = rng.random((block_rows, block_columns)) < 0.5
    mask = grid.repeat(8, axis=0).repeat(8, axis=1)
    weights = np.where(mask, rng.standard_normal(mask.shape, dtype=np.float32), 0)
    ours = BSRMatrix.encode(mask, weights, 8)
    torchs = torch.from_numpy(weights).to_sparse_bsr((8, 8))
    scipys = scipy.sparse.bsr_array(weights, blocksize=(8, 8))
    pointers = unpack_bits(ours.row_pointers, width_for(len(ours.values) + 1), block_rows + 1)
    indices = unpack_bits(ours.column_indices, width_for(block_columns), len(ours.values))
    assert ours.values.tobytes() == torchs.values().numpy().tobytes()
    assert pointers.tolist() == torchs.crow_indices().tolist() == scipys.indptr.tolist()
    assert indices.tolist() == torchs.col_indices().tolist() == scipys.indices.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.int8])
@pytest.mark.parametrize("full", [True, False])
def test_nvidia_layout_is_torchs(dtype: torch.dtype, full: bool) -> None:
    """The conversion that torch runs for CUTLASS's kernels, which takes CPU tensors too."""
    rng = np.random.default_rng(5)
    mask = hybrid_mask(rng, (64, 256), NM(2, 4), 32, 8, full)
    weights = torch.from_numpy(rng.integers(1, 100, mask.shape)).to(dtype)
    dense = torch.where(torch.from_numpy(mask), weights, 0)
    ours = Nvidia24Matrix.encode(mask, weights.numpy())
    values, words = cutlass.sparse_semi_structured_from_dense_cutlass(dense)
    assert ours.values.tobytes() == values.numpy().tobytes()
    assert ours.reordered().tobytes() == words.numpy().tobytes()
    assert not np.array_equal(ours.reordered(), ours.words)
    back = cutlass.sparse_semi_structured_to_dense_cutlass(
        torch.from_numpy(ours.values),
        torch.from_numpy(ours.reordered().view(words.numpy().dtype)),
    )
    assert torch.equal(back, dense)


def test_nvidia_words_by_hand() -> None:
    """The first value's place in the lower two bits, the first group in the lowest four."""
    mask = np.zeros((1, 20), np.bool_)
    mask[0, [1, 3, 4, 5, 10, 11, 12, 15, 17, 18]] = True
    weights = np.arange(20, dtype=np.float16)[None]
    encoded = Nvidia24Matrix.encode(mask, weights)
    assert encoded.values.tolist() == [[1, 3, 4, 5, 10, 11, 12, 15, 17, 18]]
    groups_ = [0b1101, 0b0100, 0b1110, 0b1100]
    assert encoded.words.tolist() == [
        [sum(code << 4 * i for i, code in enumerate(groups_)), 0b1001 | 0x4440]
    ]
    assert encoded.bits.metadata == 32
    with pytest.raises(ValueError, match="cannot be reordered"):
        encoded.reordered()
    with pytest.raises(ValueError, match="more than 2 of 4"):
        Nvidia24Matrix.encode(mask | True, weights)
    with pytest.raises(ValueError, match="no whole groups of 4"):
        Nvidia24Matrix.encode(mask[:, :6], weights[:, :6])


def test_ellpack_slots_by_hand() -> None:
    mask = np.array([[0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]], np.bool_)
    weights = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    encoded = ELLPACKMatrix.encode(mask, weights)
    assert encoded.values.tolist() == [[2, 4], [7, 0], [0, 0]]
    assert unpack_bits(encoded.column_indices, 2, 6).tolist() == [1, 3, 2, 2, 0, 0]


# ---- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_masks_that_do_not_fit_the_weights(name: str) -> None:
    for mask, weights in (
        (np.ones((4, 8), np.bool_), np.ones((8, 4), np.float32)),
        (np.ones((4, 8), np.uint8), np.ones((4, 8), np.float32)),
        (np.ones((0, 8), np.bool_), np.ones((0, 8), np.float32)),
    ):
        with pytest.raises(ValueError, match="one shape"):
            FORMATS[name].encode(mask, weights, NM(4, 4), 4)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_shortened_parts_are_refused(name: str) -> None:
    rng = np.random.default_rng(6)
    mask = hybrid_mask(rng, (48, 64), NM(2, 4), 16, 3)
    good = FORMATS[name].encode(mask, strange_weights(rng, mask.shape), NM(2, 4), 16)
    tried = 0
    for field in fields(good):  # type: ignore[arg-type]
        part = getattr(good, field.name)
        if isinstance(part, np.ndarray):
            tried += 1
            with pytest.raises(ValueError, match=r".+"):
                replace(good, **{field.name: part[:-1]}).decode()  # type: ignore[type-var]
    assert tried >= 2


@pytest.mark.parametrize(
    ("name", "part", "sentence"),
    [
        ("csr", "row_pointers", "pointers do not ascend"),
        ("csr", "column_indices", "indices do not ascend"),
        ("csc", "row_indices", "indices do not ascend"),
        ("bsr", "column_indices", "indices do not ascend"),
        ("coo", "row_indices", "places do not ascend"),
        ("ellpack", "column_indices", "slots that repeat a column hold values"),
        ("bitmask", "bitmap", "values for 0 places"),
        ("nvidia24", "words", "places in a group do not ascend"),
    ],
)
def test_zeroed_parts_are_refused(name: str, part: str, sentence: str) -> None:
    rng = np.random.default_rng(7)
    mask = hybrid_mask(rng, (48, 64), NM(2, 4), 16, 3)
    good = FORMATS[name].encode(mask, strange_weights(rng, mask.shape), NM(2, 4), 16)
    with pytest.raises(ValueError, match=sentence):
        replace(good, **{part: getattr(good, part) * 0}).decode()  # type: ignore[type-var]
