"""Uniform block pruning: rank columns across layers (CRISP, Algorithm 1, lines 5 to 10).

A "column" is a rank, not a place: column o of a layer holds the o-th smallest block of every
block-row. Pruning whole columns makes every block-row keep the same number of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.pattern import NM
from crisp_loop.prune import kernels
from crisp_loop.prune.nm import from_matrix, nm_mask, rows_at_once, to_matrix
from crisp_loop.prune.products import Product, Saliency, multiplied

ScoreNorm = Literal["none", "mean", "per_param"]


@dataclass(frozen=True)
class RankColumns:
    """The rank columns of one layer at one iteration."""

    order: Tensor
    """int64, block-rows x block-columns: places of a row's blocks, worst first. The blocks that
    are pruned already come before all others."""
    scores: Tensor
    """float64, one a rank: c_o, the sum of the o-th smallest block score of every row."""
    pruned: int
    """Columns pruned already; their scores are 0."""
    column_weights: int
    """Weights that pruning one more column sets to zero: S * B * N/M."""

    @property
    def columns(self) -> int:
        """Number of rank columns, K/B."""
        return len(self.scores)


def block_scores(saliency: Tensor, block: int, keep: Tensor | None = None) -> Tensor:
    """s_j, the saliency summed over each B x B block (Algorithm 1, line 5).

    Args:
        saliency: In a weight's layout, (O, I) or (O, I, kh, kw), or a matrix S x K.
        block: B, which divides S and K.
        keep: Boolean, shaped as ``saliency``: the weights that count; all when None.

    Returns:
        float64, S/B x K/B; entry (i, j) is the block of rows i*B.. and columns j*B.. of the
        matrix view. A block's rows are summed first, then its columns.
    """
    block_rows = saliency.shape[0] // block
    rows = torch.empty((block_rows, *saliency.shape[1:]), dtype=torch.float64)
    rows = rows.to(saliency.device)
    many = max(1, rows_at_once(saliency) // block)
    for first in range(0, block_rows, many):
        place = slice(first * block, (first + many) * block)
        # A product: filling by a random mask is many times slower.
        part = saliency[place] if keep is None else keep[place].double().mul_(saliency[place])
        grid = part.reshape(-1, block, *part.shape[1:])
        torch.sum(grid, dim=1, dtype=torch.float64, out=rows[first : first + many])
    return _column_sums(rows, block)


def mask_and_score(saliency: Saliency, nm: NM, block: int, out: Tensor) -> Tensor:
    """:func:`~crisp_loop.prune.nm.nm_mask`, then :func:`block_scores` of what it keeps.

    On a CPU one pass over memory does both for a product; all else goes through torch.

    Args:
        saliency: Finite scores of a layer, or their factors, whose gradient may be overwritten.
        nm: N:M.
        block: B, which divides S and K of the matrix view.
        out: Boolean and contiguous, in the weight's layout; the N:M mask is written into it.

    Returns:
        float64, S/B x K/B, as :func:`block_scores`.
    """
    if isinstance(saliency, Product) and _compiled_kernels_serve(saliency):
        shape = (*out.shape[:2], out[0, 0].numel())
        sums = kernels.mask_and_sum(
            saliency.gradient.contiguous().view(shape).numpy(),
            saliency.weight.detach().contiguous().view(shape).numpy(),
            nm.n,
            nm.m,
            block,
            out.view(shape).numpy(),
        )
        return _column_sums(torch.from_numpy(sums).view(-1, *out.shape[1:]), block)
    scores = multiplied(saliency)
    return block_scores(scores, block, nm_mask(scores, nm, out))


def _compiled_kernels_serve(product: Product) -> bool:
    return (
        product.gradient.device.type == "cpu"
        and product.gradient.dtype == torch.float64
        and product.weight.dtype in (torch.float32, torch.float64)
    )


def _column_sums(rows: Tensor, block: int) -> Tensor:
    """Sums over B rows of the matrix view, in the weight's layout, to sums over blocks."""
    return to_matrix(rows).reshape(len(rows), -1, block).sum(dim=2)


def rank_columns(scores: Tensor, kept: Tensor, column_weights: int) -> RankColumns:
    """Sort every block-row and sum over rows rank by rank (lines 6 and 7).

    Args:
        scores: block-rows x block-columns, finite, not negative.
        kept: Boolean of the same shape, False for blocks that are pruned already; every row
            has the same number of them.
        column_weights: As in :class:`RankColumns`.
    """
    # Pruned blocks sort first whatever their score, so masks nest over the iterations.
    keys = scores.double().masked_fill(~kept, -1.0)
    ranked = keys.sort(dim=1, stable=True)
    pruned = int((~kept[0]).sum())
    sums = ranked.values.sum(dim=0)
    sums[:pruned] = 0.0
    return RankColumns(ranked.indices, sums, pruned, column_weights)


def comparable_scores(layer: RankColumns, norm: ScoreNorm) -> Tensor:
    """c_o made comparable between layers; the order inside a layer never changes.

    ``mean`` divides by the layer's mean over all its ranks, the pruned ones counting as 0, so
    that a layer which lost much already is not treated like an untouched one.
    """
    if norm == "mean":
        mean = layer.scores.mean()
        return layer.scores / mean if mean > 0 else layer.scores
    if norm == "per_param":
        return layer.scores / layer.column_weights
    return layer.scores


def choose_columns(
    layers: Mapping[str, RankColumns],
    zeros: int,
    norm: ScoreNorm = "none",
    min_blocks: int = 1,
) -> dict[str, int]:
    """How many rank columns each layer loses (lines 8 and 9): the smallest first, globally.

    Args:
        layers: The layers' columns.
        zeros: Weights that block pruning has to set to zero in total, those of columns pruned
            already included. The budget counts weights, not columns.
        norm: How layers compare.
        min_blocks: Collapse guard: columns that every layer keeps at least.

    Returns:
        Pruned columns of each layer, none fewer than before. Pruning stops with the column that
        reaches ``zeros``.

    Raises:
        CrispLoopError: only ``min_blocks`` columns of each layer are left and ``zeros`` not
            reached.
    """
    chosen = {name: layer.pruned for name, layer in layers.items()}
    done = sum(layer.pruned * layer.column_weights for layer in layers.values())
    candidates = [
        # Rank and position decide between equals, so a column never goes before a lower rank.
        (score, rank, position, name)
        for position, (name, layer) in enumerate(layers.items())
        for rank, score in enumerate(comparable_scores(layer, norm).tolist())
        if layer.pruned <= rank < layer.columns - min_blocks
    ]
    for _, rank, _, name in sorted(candidates):
        if done >= zeros:
            break
        chosen[name] = rank + 1
        done += layers[name].column_weights
    if done < zeros:
        raise CrispLoopError(
            f"Block pruning can remove {done} weights and keep {min_blocks} of the blocks in every"
            f" block-row, but the sparsity asks for {zeros}; lower the sparsity or the block side."
        )
    return chosen


def kept_blocks(layer: RankColumns, pruned: int) -> Tensor:
    """Boolean block-rows x block-columns: each row without its ``pruned`` worst blocks."""
    kept = torch.ones_like(layer.order, dtype=torch.bool)
    return kept.scatter_(1, layer.order[:, :pruned], False)


def write_blocks(kept: Tensor, block: int, mask: Tensor) -> None:
    """Write a mask of blocks into a mask of weights.

    Args:
        kept: Boolean, S/B x K/B, blocks of the matrix view.
        block: B.
        mask: Boolean and contiguous, in a weight's layout or S x K; overwritten.
    """
    # All rows of a block-row are alike: one goes from the matrix view to the weight's layout.
    row = from_matrix(
        kept.repeat_interleave(block, dim=1), torch.Size((len(kept), *mask.shape[1:]))
    )
    mask.view(len(kept), block, *mask.shape[1:]).copy_(row[:, None])
