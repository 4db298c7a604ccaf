"""Bits in closed form: the hybrid format, and the formats it is compared with.

Each function takes the :class:`~crisp_loop.formats.base.Facts` of one S x K matrix and returns the
:class:`~crisp_loop.formats.base.Bits` that the encoder of that name stores. The hybrid format and
BSR pad sides that B does not divide, and store the padding of kept blocks; the others store the
matrix as it is.
"""

from __future__ import annotations

from crisp_loop.core.pattern import NM, blocks_over
from crisp_loop.formats.base import Bits, Facts
from crisp_loop.formats.bits import width_for
from crisp_loop.formats.groups import offset_width


def hybrid(facts: Facts) -> Bits:
    """K'/B block indices a block-row and an offset a value.

    Raises:
        ValueError: block-rows cannot all keep the same number of blocks.
    """
    block_rows = blocks_over(facts.rows, facts.block)
    kept, rest = divmod(facts.blocks, block_rows)
    if rest:
        raise ValueError(f"{facts.blocks} blocks do not make {block_rows} equal block-rows")
    rows = block_rows * facts.block
    values = rows * kept * facts.block // facts.nm.m * facts.nm.n
    metadata = block_index_bits(facts.rows, facts.columns, facts.block, kept)
    metadata += offset_bits(rows, kept * facts.block, facts.nm)
    return Bits(values * facts.word, metadata)


def nm(facts: Facts) -> Bits:
    """An offset a value; N values in every group of the matrix."""
    values = facts.rows * (facts.columns // facts.nm.m) * facts.nm.n
    return Bits(values * facts.word, offset_bits(facts.rows, facts.columns, facts.nm))


def nvidia24(facts: Facts) -> Bits:
    """Half of the values, and 4 bits a group of four in whole words: 16 bits, 32 for 8-bit values.

    Sparse tensor cores hold 2 of 4 wherever they are, blocks that are pruned included.
    """
    word = 32 if facts.word == 8 else 16
    values = facts.rows * (facts.columns // 2)
    return Bits(values * facts.word, facts.rows * blocks_over(facts.columns, word) * word)


def bsr(facts: Facts) -> Bits:
    """B x B values a block, its column, and a pointer a block-row and one more."""
    block_rows, block_columns = (blocks_over(s, facts.block) for s in (facts.rows, facts.columns))
    return Bits(
        facts.blocks * facts.block**2 * facts.word,
        facts.blocks * width_for(block_columns),
        (block_rows + 1) * width_for(facts.blocks + 1),
    )


def csr(facts: Facts) -> Bits:
    """A column index a non-zero, and S + 1 row pointers."""
    return Bits(
        facts.nnz * facts.word,
        facts.nnz * width_for(facts.columns),
        (facts.rows + 1) * width_for(facts.nnz + 1),
    )


def csc(facts: Facts) -> Bits:
    """A row index a non-zero, and K + 1 column pointers."""
    return Bits(
        facts.nnz * facts.word,
        facts.nnz * width_for(facts.rows),
        (facts.columns + 1) * width_for(facts.nnz + 1),
    )


def coo(facts: Facts) -> Bits:
    """A row and a column index a non-zero."""
    return Bits(
        facts.nnz * facts.word, facts.nnz * (width_for(facts.rows) + width_for(facts.columns))
    )


def ellpack(facts: Facts) -> Bits:
    """A value and a column index a slot; every row has as many slots as the longest one."""
    slots = facts.rows * facts.longest_row
    return Bits(slots * facts.word, slots * width_for(facts.columns))


def bitmask(facts: Facts) -> Bits:
    """One bit a weight."""
    return Bits(facts.nnz * facts.word, facts.rows * facts.columns)


def block_index_bits(rows: int, columns: int, block: int, kept_blocks: int) -> int:
    """S*K'/B^2 words of ceil(log2(K/B)) bits: a block may lie at any of K/B places.

    S/B and K/B are rounded up.
    """
    return blocks_over(rows, block) * kept_blocks * width_for(blocks_over(columns, block))


def offset_bits(rows: int, kept_columns: int, nm: NM) -> int:
    """S*K'*N/M words of ceil(log2 M) bits; in the hybrid format, S is a multiple of B."""
    return rows * (kept_columns // nm.m) * nm.n * offset_width(nm)


def paper_bits(rows: int, kept_columns: int, nm: NM, block: int | None = None) -> int:
    """The hybrid format's metadata as the paper prints it (section III.A).

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


def _floor_log2(value: int) -> int:
    return value.bit_length() - 1
