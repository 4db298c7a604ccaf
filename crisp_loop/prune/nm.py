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


def nm_mask(scores: Tensor, nm: NM) -> Tensor:
    """True for the N highest scores of every M consecutive columns of a row.

    Args:
        scores: S x K, M divides K. Of equal scores the earlier column is kept.
        nm: N:M.

    Returns:
        Boolean, S x K, with exactly N kept in every group.
    """
    rows, columns = scores.shape
    groups = scores.reshape(rows, columns // nm.m, nm.m)
    best = groups.sort(dim=2, descending=True, stable=True).indices[..., : nm.n]
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, best, True)
    return mask.reshape(rows, columns)
