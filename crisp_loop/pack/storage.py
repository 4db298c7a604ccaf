"""``storage.csv``: what each layer takes in bits, beside what other formats would take."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from crisp_loop.core.files import write_text
from crisp_loop.core.gemm import WeightSparsity
from crisp_loop.formats import accounting
from crisp_loop.formats.base import BoolArray, Facts
from crisp_loop.formats.registry import FORMATS
from crisp_loop.pack.container import PackedLayer

_OTHERS = ("csr", "csc", "coo", "ellpack", "bitmask")


@dataclass(frozen=True, kw_only=True)
class LayerStorage:
    """One row of ``storage.csv``; all ``_bits`` are exact and leave out padding to bytes."""

    layer: str
    form: str
    """``dense``, ``nm`` or ``hybrid``."""
    S: int
    K: int
    nm: str
    """N:M; empty for dense."""
    block: int | None
    """B; None unless hybrid."""
    kept_blocks: int | None
    """K'/B, the same in every block-row; None unless hybrid."""
    nnz: int
    """Weights that the mask keeps."""
    stored_values: int
    """Values stored: nnz and the zeros that fill groups with fewer than N weights, padding of kept
    blocks included."""
    dense_bits: int
    """The dense layer: S * K weights."""
    value_bits: int
    block_index_bits: int
    offset_bits: int
    metadata_bits: int
    """block_index_bits + offset_bits."""
    paper_metadata_bits: int
    """The same by the paper's formula, whose block index has floor(log2(K'/B)) bits."""
    csr_bits: int
    """Metadata that CSR needs for the same mask; 0 for a dense layer, as in all that follow."""
    csc_bits: int
    coo_bits: int
    ellpack_bits: int
    bitmask_bits: int


def storage_of(layer: PackedLayer, sparsity: WeightSparsity, mask: BoolArray) -> LayerStorage:
    """Count one layer's bits.

    Args:
        layer: The packed layer.
        sparsity: The pattern of its mask.
        mask: S x K, True where kept.
    """
    rows, columns = mask.shape
    stored = layer.stored
    values = stored if isinstance(stored, np.ndarray) else stored.values
    word = values.dtype.itemsize * 8
    index_bits = offset_bits = paper = 0
    others = dict.fromkeys((f"{name}_bits" for name in _OTHERS), 0)
    if not isinstance(stored, np.ndarray):
        index_bits, offset_bits = stored.block_index_bits, stored.offset_bits
        kept = columns
        if sparsity.block is not None and sparsity.kept_blocks is not None:
            kept = sparsity.kept_blocks * sparsity.block
        paper = accounting.paper_bits(rows, kept, stored.nm, sparsity.block)
        facts = Facts.of(mask, stored.nm, sparsity.block or 1, word)
        others = {f"{name}_bits": FORMATS[name].bits(facts).overhead for name in _OTHERS}
    return LayerStorage(
        layer=layer.name,
        form=layer.form,
        S=rows,
        K=columns,
        nm="" if sparsity.nm is None else str(sparsity.nm),
        block=sparsity.block,
        kept_blocks=sparsity.kept_blocks,
        nnz=sparsity.nnz,
        stored_values=values.size,
        dense_bits=rows * columns * word,
        value_bits=values.size * word,
        block_index_bits=index_bits,
        offset_bits=offset_bits,
        metadata_bits=index_bits + offset_bits,
        paper_metadata_bits=paper,
        **others,
    )


def write_storage(path: Path, layers: list[LayerStorage]) -> None:
    """Write the table atomically, one row a layer."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(LayerStorage))
    writer.writerows(astuple(layer) for layer in layers)
    write_text(path, text.getvalue())
