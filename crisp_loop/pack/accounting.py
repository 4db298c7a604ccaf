"""Metadata bits in closed form: the hybrid format, and the formats it is compared with.

All counts are bits of one S x K matrix, values excluded. The hybrid format pads sides that B does
not divide, and stores the padding of kept blocks; the others store the matrix as it is.
"""

from __future__ import annotations

from crisp_loop.core.pattern import NM, blocks_over
from crisp_loop.pack.bits import width_for
from crisp_loop.pack.hybrid import offset_width


def block_index_bits(rows: int, columns: int, block: int, kept_blocks: int) -> int:
    """S*K'/B^2 words of ceil(log2(K/B)) bits: a block may lie at any of K/B places.

    S/B and K/B are rounded up.
    """
    return blocks_over(rows, block) * kept_blocks * width_for(blocks_over(columns, block))


def offset_bits(rows: int, kept_columns: int, nm: NM) -> int:
    """S*K'*N/M words of ceil(log2 M) bits; in the hybrid format, S is a multiple of B."""
    return rows * (kept_columns // nm.m) * nm.n * offset_width(nm)


def paper_bits(rows: int, kept_columns: int, nm: NM, block: int | None = None) -> int:
    """Block indices and offsets as the paper prints them (section III.A).

    Its block index has floor(log2(K'/B)) bits, which cannot address K/B places, and its offset
    floor(log2 M); :func:`block_index_bits` and :func:`offset_bits` are what storage takes.
    With blocks, S is rounded up to a multiple of B, as in storage.
    """
    if block is not None:
        rows = blocks_over(rows, block) * block
    offsets = rows * (kept_columns // nm.m) * nm.n * _floor_log2(nm.m)
    if block is None or kept_columns == 0:
        return offsets
    kept_blocks = kept_columns // block
    return offsets + rows // block * kept_blocks * _floor_log2(kept_blocks)


def csr_bits(rows: int, columns: int, nnz: int) -> int:
    """A column index a non-zero, and S + 1 row pointers."""
    return nnz * width_for(columns) + (rows + 1) * width_for(nnz + 1)


def csc_bits(rows: int, columns: int, nnz: int) -> int:
    """A row index a non-zero, and K + 1 column pointers."""
    return csr_bits(columns, rows, nnz)


def coo_bits(rows: int, columns: int, nnz: int) -> int:
    """A row and a column index a non-zero."""
    return nnz * (width_for(rows) + width_for(columns))


def ellpack_bits(rows: int, columns: int, longest_row: int) -> int:
    """A column index a slot; every row has as many slots as the longest one."""
    return rows * longest_row * width_for(columns)


def bitmask_bits(rows: int, columns: int) -> int:
    """One bit a weight."""
    return rows * columns


def _floor_log2(value: int) -> int:
    return value.bit_length() - 1
