"""Masks that hold no exact pattern, as the nearest pattern that holds them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from crisp_loop.core.gemm import WeightSparsity, dense
from crisp_loop.core.masks import BoolArray, kept_blocks, sparsity_of, touched_blocks
from crisp_loop.core.pattern import NM


def pattern_of(mask: BoolArray, nm: NM, block: int) -> WeightSparsity:
    """The pattern of a layer's mask, or the nearest one, with a note on what that changes.

    * A mask that is uniform but keeps fewer weights than N in some groups is priced as N:M: the
      slots are there, filled with zeros.
    * Block-rows that keep different numbers of blocks are priced as the fullest of them: uniform
      rows are what the hardware walks, and the others are padded.
    * Where a group keeps more than N weights, nothing is known but how many zeros there are.

    ``nnz`` and ``density`` are always the mask's own; only what is stored is approximated.

    Args:
        mask: S x K (a :func:`crisp_loop.core.masks.matrix_view`), True where kept.
        nm: The pattern that the mask is said to hold.
        block: B, the block side that it is said to have.
    """
    if not mask.any():
        return dense(mask.size, "the mask keeps no weight; priced as dense")
    try:
        return _with_slots(sparsity_of(mask, nm, block), mask)
    except ValueError as error:
        reason = str(error)
    columns = mask.shape[1]
    density = float(mask.mean())
    if columns % nm.m:
        return _unstructured(mask, f"{reason}; priced as unstructured")
    counts = mask.reshape(-1, nm.m).sum(axis=1)
    if counts.max() > nm.n:
        broken = float((counts > nm.n).mean())
        return _unstructured(
            mask,
            f"{broken:.2%} of the groups keep more than {nm}, at most {counts.max()} of {nm.m};"
            f" priced as unstructured at density {density:.4g}",
        )
    kept = kept_blocks(mask, block)
    per_row = kept.sum(axis=1)
    most, mean = int(per_row.max()), float(per_row.mean())
    if most == kept.shape[1]:
        form = WeightSparsity(form="nm", nnz=int(mask.sum()), density=density, nm=nm)
        what = f"some keeps all, so priced as {nm} alone"
    else:
        form = WeightSparsity(
            form="hybrid",
            nnz=int(mask.sum()),
            density=density,
            nm=nm,
            block=block,
            kept_blocks=most,
            touched_blocks=int(touched_blocks(kept, len(kept))[0]),
        )
        what = f"priced as {most} in each"
    more = most / mean - 1
    return replace(
        form,
        note=f"block-rows keep {per_row.min()} to {most} blocks of {kept.shape[1]}, {mean:.4g} on"
        f" average; {what}, {more:+.1%} stored blocks",
    )


def _with_slots(weight: WeightSparsity, mask: BoolArray) -> WeightSparsity:
    """An exact pattern, with a note if zeros fill some of its slots."""
    if weight.nm is None:
        return weight
    stored = mask.size
    if weight.form == "hybrid":
        assert weight.block is not None
        assert weight.kept_blocks is not None
        # Of blocks at a padded edge, the weights that are there.
        kept = np.kron(kept_blocks(mask, weight.block), np.ones((weight.block,) * 2, dtype=bool))
        stored = int(kept[: mask.shape[0], : mask.shape[1]].sum())
    empty = 1 - float(weight.nnz / (stored * weight.nm.density))
    if empty <= 0:
        return weight
    return replace(weight, note=f"{empty:.2%} of the slots of {weight.nm} hold zeros")


def _unstructured(mask: BoolArray, note: str) -> WeightSparsity:
    return WeightSparsity(
        form="unstructured", nnz=int(np.count_nonzero(mask)), density=float(mask.mean()), note=note
    )
