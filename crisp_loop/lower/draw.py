"""Draw masks at a given pattern, for networks whose weights are not at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from crisp_loop.core.errors import InputError
from crisp_loop.core.gemm import WeightSparsity, dense
from crisp_loop.core.layers import Layer, LayerTable, roles, unfit
from crisp_loop.core.masks import BoolArray, sparsity_of
from crisp_loop.core.pattern import NM, as_fraction, blocks_to_keep


@dataclass(frozen=True)
class Draw:
    """Random masks with the same sparsity in every prunable layer."""

    nm: NM
    block: int
    sparsity: float
    """kappa, for every layer that can be pruned; each rounds to whole blocks."""
    seed: int = 0

    def for_network(self, table: LayerTable) -> Callable[[Layer], WeightSparsity]:
        """The pattern of each of the network's layers, counted from a drawn mask.

        Raises:
            InputError: kappa is below 1 - N/M, what the N:M pattern alone removes.
        """
        floor = 1 - self.nm.density
        if not floor <= as_fraction(self.sparsity) < 1:
            raise InputError(
                "experiment",
                "sparsity",
                self.sparsity,
                f"expected at least {float(floor):g} (what {self.nm} alone removes) and below 1",
            )
        ends = roles(table)
        rng = np.random.default_rng(self.seed)

        def sparsity(layer: Layer) -> WeightSparsity:
            if layer.name in ends or unfit(layer, self.nm.m):
                return dense(layer.weights)
            return sparsity_of(self.mask(layer.S, layer.K, rng), self.nm, self.block)

        return sparsity

    def mask(self, rows: int, columns: int, rng: np.random.Generator) -> BoolArray:
        """One mask, bool (rows, columns): N of M in every group, equal blocks a block-row.

        Layers whose sides the block does not divide are N:M only: drawn masks are never padded.
        """
        choices = list(combinations(range(self.nm.m), self.nm.n))
        patterns = np.zeros((len(choices), self.nm.m), dtype=bool)
        for row, kept in enumerate(choices):
            patterns[row, list(kept)] = True
        drawn = rng.integers(len(choices), size=(rows, columns // self.nm.m), dtype=np.uint8)
        mask = patterns[drawn].reshape(rows, columns)
        if rows % self.block or columns % self.block:
            return mask
        grid = (rows // self.block, columns // self.block)
        kept = blocks_to_keep(grid[1], self.nm, self.sparsity)
        ranks = rng.random(grid).argsort(axis=1).argsort(axis=1)
        alive = (ranks < kept)[:, None, :, None]
        tiles = mask.reshape(grid[0], self.block, grid[1], self.block)
        return (tiles & alive).reshape(rows, columns)
