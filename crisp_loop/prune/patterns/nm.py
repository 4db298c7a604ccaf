"""The matrix view of a weight, and N:M masks in it."""

from __future__ import annotations

import torch
from torch import Tensor

from crisp_loop.core.pattern import NM


def to_matrix(weight: Tensor) -> Tensor:
    """A conv (O, I, kh, kw) or linear (O, I) weight or mask as S x K.

    K is ordered (kh, kw, C_in), C_in innermost, as :func:`crisp_loop.core.masks.matrix_view`.
    """
    if weight.ndim == 4:
        weight = weight.permute(0, 2, 3, 1)
    return weight.reshape(weight.shape[0], -1)


def from_matrix(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of :func:`to_matrix` for a weight of ``shape``."""
    if len(shape) == 4:
        outputs, inputs, height, width = shape
        matrix = matrix.reshape(outputs, height, width, inputs).permute(0, 3, 1, 2)
    return matrix.reshape(shape).contiguous()


def nm_mask(scores: Tensor, nm: NM, out: Tensor | None = None) -> Tensor:
    """True for the N highest scores of every M consecutive input channels.

    Ties: of equal scores the earlier channel is kept.

    Every pair in a group is compared, which for M = 4 is much faster than sorting: 6 comparisons
    over whole columns instead of a sort for every four numbers.

    Args:
        scores: In a weight's layout, (O, I) or (O, I, kh, kw), or a matrix S x K; M divides the
            second dimension. Finite.
        nm: N:M, M at most 128.
        out: Boolean and contiguous: written and returned instead of a new tensor.

    Returns:
        Boolean, shaped as ``scores``, with exactly N kept in every group.
    """
    mask = torch.empty(scores.shape, dtype=torch.bool, device=scores.device) if out is None else out
    rows = rows_at_once(scores)
    for part, kept in zip(scores.split(rows), mask.split(rows), strict=True):
        inner = part[0, 0].numel()
        _keep_best(part.reshape(-1, nm.m, inner), nm, kept.view(-1, nm.m, inner))
    return mask


def rows_at_once(scores: Tensor) -> int:
    """Rows of ``scores`` whose intermediate results stay in a processor's cache."""
    return max(1, _CACHED // max(1, scores[0].numel()))


_CACHED = 2**19
"""Numbers; a power of two between 2**17 and 2**20 makes little difference."""


def _keep_best(groups: Tensor, nm: NM, kept: Tensor) -> None:
    """Write into ``kept`` which N of the M of (groups, M, kernel places) score highest."""
    places = range(nm.m)
    # One byte each: 1 where the earlier of two is ahead, equal scores included.
    ahead = {
        (i, j): (groups[:, i] >= groups[:, j]).view(torch.int8)
        for i in places
        for j in places
        if i < j
    }
    for j in places:
        # Those ahead of j: the earlier ones that are, and the later ones that j is not ahead of.
        balance = torch.full_like(groups[:, j], nm.m - 1 - j, dtype=torch.int8)
        for i in places:
            if i < j:
                balance += ahead[i, j]
            elif i > j:
                balance -= ahead[j, i]
        torch.lt(balance, nm.n, out=kept[:, j])
