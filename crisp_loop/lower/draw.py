"""Draw masks at a given pattern, for networks whose weights are not at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from crisp_loop.core.errors import InputError
from crisp_loop.core.gemm import WeightSparsity, dense
from crisp_loop.core.layers import Layer, LayerTable, roles, unfit
from crisp_loop.core.masks import BoolArray
from crisp_loop.core.pattern import NM, as_fraction, blocks_to_keep


@dataclass(frozen=True)
class Draw:
    """Random masks with the same sparsity in every prunable layer."""

    nm: NM
    block: int
    sparsity: float
    """kappa, for every layer that can be pruned; each rounds to whole blocks."""
    seed: int = 0
    spare_ends: bool = True
    """Whether a network's first convolution and last linear layer stay dense, as pruning leaves
    them; of a list of layers, each is meant."""
    profile: tuple[tuple[str, float], ...] = ()
    """Layers' names, wildcards allowed, with a kappa of their own; the first that fits counts."""

    def for_network(self, table: LayerTable) -> Callable[[Layer], WeightSparsity]:
        """The pattern of each of the network's layers, with drawn blocks.

        The weights inside are not drawn: each group of M holds N, and no design asks which.

        Raises:
            InputError: kappa is below 1 - N/M, what the N:M pattern alone removes.
        """
        spared = self._spared(table)
        rng = np.random.default_rng(self.seed)

        def sparsity(layer: Layer) -> WeightSparsity:
            if reason := spared(layer):
                return dense(layer.S * layer.K, f"stays dense: {reason}")
            weight = self.counted(layer)
            if layer.S % self.block or layer.K % self.block:
                why = f"blocks of {self.block} do not divide {layer.S} x {layer.K}"
                return replace(weight, note=f"{self.nm} alone: {why}")
            if weight.kept_blocks is None:
                return weight
            grid = (layer.S // self.block, layer.K // self.block)
            blocks = _drawn_blocks(grid, weight.kept_blocks, rng)
            return replace(
                weight,
                touched_blocks=len(np.unique(blocks)),
                block_indices=tuple(map(tuple, blocks.tolist())),
            )

        return sparsity

    def counts_for_network(self, table: LayerTable) -> Callable[[Layer], WeightSparsity]:
        """As :meth:`for_network`, with nothing drawn: all but which blocks are kept, and no notes.

        Raises:
            InputError: kappa is below 1 - N/M, what the N:M pattern alone removes.
        """
        spared = self._spared(table)

        def sparsity(layer: Layer) -> WeightSparsity:
            return dense(layer.S * layer.K) if spared(layer) else self.counted(layer)

        return sparsity

    def _spared(self, table: LayerTable) -> Callable[[Layer], str]:
        """Why a layer stays dense; empty for one that gets the pattern."""
        floor = 1 - self.nm.density
        for field, kappa in (("sparsity", self.sparsity), *self.profile):
            if not floor <= as_fraction(kappa) < 1:
                raise InputError(
                    "experiment",
                    field,
                    kappa,
                    f"expected at least {float(floor):g} (what {self.nm} alone removes) and"
                    " below 1",
                )
        names = [layer.name for layer in table.layers]
        for wanted, kappa in self.profile:
            if not any(fnmatchcase(name, wanted) for name in names):
                raise InputError(
                    "experiment", wanted, kappa, f"expected a layer's name, as {names[-1]}"
                )
        ends = roles(table) if self.spare_ends else {}
        return lambda layer: ends.get(layer.name, "") or unfit(layer, self.nm.m)

    def kappa(self, layer: str) -> float:
        """The sparsity that a layer is to have."""
        own = (kappa for wanted, kappa in self.profile if fnmatchcase(layer, wanted))
        return next(own, self.sparsity)

    def counted(self, layer: Layer) -> WeightSparsity:
        """What a mask of a layer counts, without drawing it: all but which blocks are kept.

        A layer that cannot hold the pattern is dense.
        """
        size = layer.S * layer.K
        if unfit(layer, self.nm.m):
            return dense(size)
        nnz = size * self.nm.n // self.nm.m
        grouped = WeightSparsity("nm", nnz, float(self.nm.density), self.nm)
        blocks = layer.K // self.block
        if layer.S % self.block or layer.K % self.block:
            return grouped
        kept = blocks_to_keep(blocks, self.nm, self.kappa(layer.name))
        if kept == blocks:
            return grouped
        nnz = nnz * kept // blocks
        return WeightSparsity("hybrid", nnz, nnz / size, self.nm, self.block, kept)

    def mask(self, rows: int, columns: int, rng: np.random.Generator) -> BoolArray:
        """One mask, bool (rows, columns): N of M in every group, equal blocks a block-row.

        Layers whose sides the block does not divide are N:M only: drawn masks are never padded.
        """
        mask = self._groups(rows * columns // self.nm.m, rng).reshape(rows, columns)
        if rows % self.block or columns % self.block:
            return mask
        grid = (rows // self.block, columns // self.block)
        kept = blocks_to_keep(grid[1], self.nm, self.sparsity)
        alive = np.zeros(grid, dtype=bool)
        np.put_along_axis(alive, _drawn_blocks(grid, kept, rng), True, axis=1)
        tiles = mask.reshape(grid[0], self.block, grid[1], self.block)
        return (tiles & alive[:, None, :, None]).reshape(rows, columns)

    def _groups(self, count: int, rng: np.random.Generator) -> BoolArray:
        """``count`` groups of M with N kept, bool (count, M)."""
        n, m = self.nm.n, self.nm.m
        if comb(m, n) > np.iinfo(np.uint8).max:  # too many patterns to list
            return rng.random((count, m)).argsort(axis=1) < n
        choices = list(combinations(range(m), n))
        patterns = np.zeros((len(choices), m), dtype=bool)
        for row, kept in enumerate(choices):
            patterns[row, list(kept)] = True
        return patterns[rng.integers(len(choices), size=count, dtype=np.uint8)]


def _drawn_blocks(
    grid: tuple[int, int], kept: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """``kept`` of the blocks of each block-row: int64 (block-rows, kept), ascending."""
    chosen = rng.random(grid).argpartition(kept - 1, axis=1)[:, :kept]
    return np.sort(chosen, axis=1)
