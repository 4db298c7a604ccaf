"""GEMMs with density models: what lowering hands to the mapper and the templates."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from crisp_loop.core.bounded import Count, Rows, Share, Size
from crisp_loop.core.names import Label, Name
from crisp_loop.core.pattern import NM, blocks_over


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WeightSparsity:
    """How the weights of one layer are sparse, counted from its mask.

    ``dense``: no zeros. ``nm``: N:M over the whole matrix. ``hybrid``: N:M inside the
    ``kept_blocks`` B x B blocks that every block-row keeps (K' = kept_blocks * block). Where B does
    not divide a side, blocks are those of the matrix padded with zeros; ``nnz`` and ``density``
    count the matrix alone. ``unstructured``: zeros anywhere, with nothing but their number known.
    """

    form: Literal["dense", "nm", "hybrid", "unstructured"]
    nnz: Count
    """Weights kept, exactly."""
    density: Share
    """nnz / (S * K)."""
    nm: NM | None = None
    block: Size | None = None
    """B; None unless hybrid."""
    kept_blocks: Count | None = None
    """K'/B, equal for all block-rows; None unless hybrid."""
    touched_blocks: Count | None = None
    """Distinct input blocks that any block-row reads (the union of indices); None unless hybrid."""
    block_indices: Rows[Rows[Count]] | None = None
    """A row a block-row: the input blocks that it reads, ascending; None unless hybrid, or where
    block-rows keep different numbers of them."""
    note: str = ""
    """Why a layer stayed dense, or what of its mask was approximated and by how much; empty where
    this is exactly what was asked for."""

    def __post_init__(self) -> None:
        needed = {"nm": ("nm",), "hybrid": ("nm", "block", "kept_blocks")}.get(self.form, ())
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"weights of form {self.form} need {name}")


def dense(weights: int, note: str = "") -> WeightSparsity:
    """A layer of ``weights`` weights without zeros."""
    return WeightSparsity(form="dense", nnz=weights, density=1.0, note=note)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Gemm:
    """One layer as Z[S, N] = A[S, K] * B[K, N], ``groups`` times.

    A is the weights; in a product of activations it is the first of them, and dense.
    """

    layer: Name
    groups: Size
    M: Size
    """Rows of A per group: S / groups."""
    K: Size
    N: Size
    """P * Q * batch."""
    weight: WeightSparsity
    activation_density: Share = 1.0
    """Share of non-zero activations, used by designs that skip them."""

    def __post_init__(self) -> None:
        if not self.weight.density or not self.activation_density:
            raise ValueError("a layer without any weight or activation has nothing to compute")
        indices = self.weight.block_indices
        blocks = blocks_over(self.K, self.weight.block or 1)
        if indices and any(row and max(row) >= blocks for row in indices):
            raise ValueError(f"block_indices name blocks beyond the {blocks} of K = {self.K}")

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates over all groups."""
        return self.groups * self.M * self.K * self.N


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Workload:
    """The GEMMs of one network under one pattern."""

    model: Label
    nm: NM
    block: Size
    sparsity: Share
    """Sparsity over the weights of all conv and linear layers, exactly."""
    masks: str
    """Where the masks came from: a file's name, or ``drawn (seed N)``."""
    gemms: Rows[Gemm]
