"""Products over the loops of a nest: tiles, instances, steps and visits of all mappings at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from crisp_loop.sparseloop.arrays import Ints, columns
from crisp_loop.sparseloop.nest import Nest


class BusyLoops:
    """The loops of a nest that iterate in at least one mapping of the batch, and their products.

    Most loops of a nest are trivial, and a trivial loop changes no product.
    """

    def __init__(self, nest: Nest, factors: Ints) -> None:
        self._nest, self._factors = nest, factors
        iterates = np.asarray((factors > 1).any(axis=0))
        self.loops = [(at, loop) for at, loop in enumerate(nest.loops) if iterates[at]]

    @property
    def steps(self) -> Ints:
        """(batch,) steps in time of one compute unit."""
        return self.product(at for at, loop in self.loops if not loop.spatial)

    def product(self, positions: Iterable[int]) -> Ints:
        """(batch,) iterations of some loops together."""
        product = np.ones(len(self._factors), dtype=np.int64)
        for at in positions:
            product = product * self._factors[:, at]
        return product

    def instances_above(self, axis: str) -> Ints:
        """(batch, level + 1): instances used along an axis, of the compute and each level."""
        found = columns(len(self._factors), len(self._nest.ends) + 1)
        for entry, start in enumerate((0, *self._nest.ends)):
            found[:, entry] = self.product(
                at for at, loop in self.loops if at >= start and loop.axis == axis
            )
        return found

    def tiles(self, dims: frozenset[str]) -> Ints:
        """(batch, loop): elements that the loops up to each one walk over."""
        found = columns(len(self._factors), len(self._nest.loops))
        elements, done = np.ones(len(self._factors), dtype=np.int64), 0
        for at, loop in self.loops:
            if loop.dim in dims:
                found[:, done:at] = elements[:, None]
                elements, done = elements * self._factors[:, at], at
        found[:, done:] = elements[:, None]
        return found

    def scattered(self, dims: frozenset[str], level: int) -> Ints:
        """(batch,) different parts of a tensor that the instances below a level hold."""
        here = self._nest.within(level, level)
        return self.product(
            at for at, loop in self.loops if at in here and loop.spatial and loop.dim in dims
        )

    def visits(self, dims: frozenset[str], end: int) -> Ints:
        """(batch,) tiles that one instance sees over the run, the loops up to ``end`` inside it.

        The tile stays while only loops run that do not move it: the innermost temporal loops
        above that are not relevant. From the first relevant one on, every iteration is a new tile.
        """
        visits = np.ones(len(self._factors), dtype=np.int64)
        for at, loop in self.loops:
            if at < end or loop.spatial:
                continue
            if loop.dim in dims:
                visits = visits * self._factors[:, at]
            else:
                # Without a move so far there is one visit, and it lasts.
                visits = np.where(visits > 1, visits * self._factors[:, at], visits)
        return visits
