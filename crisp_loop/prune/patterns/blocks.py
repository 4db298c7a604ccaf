"""Uniform block pruning: rank columns across layers (CRISP, Algorithm 1, lines 5 to 10).

A "column" is a rank, not a place: column o of a layer holds the o-th smallest block of every
block-row. Pruning whole columns makes every block-row keep the same number of blocks.

Where B does not divide S or K, the matrix view counts as filled up with zeros at its end: the last
block-row and block-column hold fewer weights. Scores and masks have no room for the padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.pattern import NM, blocks_over
from crisp_loop.prune.patterns import kernels
from crisp_loop.prune.patterns.nm import from_matrix, nm_mask, rows_at_once, to_matrix
from crisp_loop.prune.scores.products import Product, Saliency, multiplied

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
    column_weights: Tensor
    """int64, one a rank: weights that the column holds after N:M pruning, those of every row's
    o-th block. S * B * N/M in all columns, but for a padded layer."""

    @property
    def columns(self) -> int:
        """Number of rank columns, ceil(K/B)."""
        return len(self.scores)


def block_scores(saliency: Tensor, block: int, keep: Tensor | None = None) -> Tensor:
    """s_j, the saliency summed over each B x B block (Algorithm 1, line 5).

    Args:
        saliency: In a weight's layout, (O, I) or (O, I, kh, kw), or a matrix S x K.
        block: B.
        keep: Boolean, shaped as ``saliency``: the weights that count; all when None.

    Returns:
        float64, ceil(S/B) x ceil(K/B); entry (i, j) is the block of rows i*B.. and columns j*B..
        of the matrix view. A block's rows are summed first, then its columns.
    """
    block_rows = blocks_over(saliency.shape[0], block)
    rows = torch.empty((block_rows, *saliency.shape[1:]), dtype=torch.float64)
    rows = rows.to(saliency.device)
    many = max(1, rows_at_once(saliency) // block)
    for first in range(0, block_rows, many):
        place = slice(first * block, (first + many) * block)
        # A product: filling by a random mask is many times slower.
        part = saliency[place] if keep is None else keep[place].double().mul_(saliency[place])
        if missing := -len(part) % block:
            part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
        grid = part.reshape(-1, block, *part.shape[1:])
        torch.sum(grid, dim=1, dtype=torch.float64, out=rows[first : first + many])
    return _column_sums(rows, block)


def mask_and_score(saliency: Saliency, nm: NM, block: int, out: Tensor) -> Tensor:
    """:func:`~crisp_loop.prune.patterns.nm.nm_mask`, then :func:`block_scores` of what it keeps.

    On a CPU one pass over memory does both for a product; all else goes through torch.

    Args:
        saliency: Finite scores of a layer, or their factors, whose gradient may be overwritten.
        nm: N:M.
        block: B.
        out: Boolean and contiguous, in the weight's layout; the N:M mask is written into it.

    Returns:
        float64, ceil(S/B) x ceil(K/B), as :func:`block_scores`.
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
    matrix = to_matrix(rows)
    if missing := -matrix.shape[1] % block:
        matrix = pad(matrix, (0, missing))
    return matrix.reshape(len(rows), -1, block).sum(dim=2)


def weights_in_blocks(rows: int, columns: int, block: int, nm: NM) -> Tensor:
    """int64, ceil(S/B) x ceil(K/B): the weights that each block holds after N:M pruning.

    Args:
        rows: S.
        columns: K, which M divides.
        block: B, which M divides.
        nm: N:M.
    """
    # What is left of each side where a block begins: B or more but for the last one.
    heights = np.minimum(np.arange(rows, 0, -block), block)
    widths = np.minimum(np.arange(columns, 0, -block), block)
    return torch.from_numpy(np.outer(heights, widths * nm.n // nm.m))


def rank_columns(scores: Tensor, kept: Tensor, block_weights: Tensor) -> RankColumns:
    """Sort every block-row and sum over rows rank by rank (lines 6 and 7).

    Args:
        scores: block-rows x block-columns, finite, not negative.
        kept: Boolean of the same shape, False for blocks that are pruned already; every row
            has the same number of them.
        block_weights: int64, broadcastable to ``scores``: weights of each block that N:M pruning
            leaves, as :func:`weights_in_blocks` counts.
    """
    # Pruned blocks sort first whatever their score, so masks nest over the iterations.
    keys = scores.double().masked_fill(~kept, -1.0)
    ranked = keys.sort(dim=1, stable=True)
    pruned = int((~kept[0]).sum())
    sums = ranked.values.sum(dim=0)
    sums[:pruned] = 0.0
    weights = block_weights.to(scores.device).expand_as(scores).gather(1, ranked.indices)
    return RankColumns(ranked.indices, sums, pruned, weights.sum(dim=0))


def comparable_scores(layer: RankColumns, norm: ScoreNorm) -> Tensor:
    """c_o made comparable between layers.

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
        norm: How layers compare. The order of columns inside a layer never changes: one that
            looks worse than those before it goes right after them.
        min_blocks: Collapse guard: columns that every layer keeps at least.

    Returns:
        Pruned columns of each layer, none fewer than before. Pruning stops with the column that
        reaches ``zeros``.

    Raises:
        CrispLoopError: only ``min_blocks`` columns of each layer are left and ``zeros`` not
            reached.
    """
    chosen = {name: layer.pruned for name, layer in layers.items()}
    weights = {name: layer.column_weights.tolist() for name, layer in layers.items()}
    done = sum(sum(weights[name][:pruned]) for name, pruned in chosen.items())
    candidates = [
        # Scores made ascending, and rank and position deciding between equals: a column never
        # goes before a lower rank.
        (score, rank, position, name)
        for position, (name, layer) in enumerate(layers.items())
        for rank, score in enumerate(accumulate(comparable_scores(layer, norm).tolist(), max))
        if layer.pruned <= rank < layer.columns - min_blocks
    ]
    for _, rank, _, name in sorted(candidates):
        if done >= zeros:
            break
        chosen[name] = rank + 1
        done += weights[name][rank]
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
        kept: Boolean, ceil(S/B) x ceil(K/B), blocks of the matrix view.
        block: B.
        mask: Boolean and contiguous, in a weight's layout or S x K; overwritten.
    """
    # All rows of a block-row are alike: one goes from the matrix view to the weight's layout.
    columns = mask[0].numel()
    row = from_matrix(
        kept.repeat_interleave(block, dim=1)[:, :columns],
        torch.Size((len(kept), *mask.shape[1:])),
    )
    whole = len(mask) // block
    mask[: whole * block].view(whole, block, *mask.shape[1:]).copy_(row[:whole, None])
    if whole < len(kept):
        mask[whole * block :] = row[whole:]
