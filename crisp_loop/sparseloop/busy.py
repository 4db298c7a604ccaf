"""Products over the loops of a nest: tiles, instances, steps and visits of all mappings at once."""

from __future__ import annotations

from collections.abc import Sequence

from crisp_loop.sparseloop.columns import Ints, choose, plainly
from crisp_loop.sparseloop.nest import Nest


class BusyLoops:
    """The loops of a nest that iterate in at least one mapping of the batch, and their products.

    Most loops of a nest are trivial, and a trivial loop changes no product.
    """

    def __init__(self, nest: Nest, factors: Sequence[Ints]) -> None:
        self._nest = nest
        self.loops = [
            (at, loop, factor)
            for at, (loop, factor) in enumerate(zip(nest.loops, factors, strict=True))
            if not plainly(factor, 1)
        ]

    @property
    def steps(self) -> Ints:
        """Steps in time of one compute unit."""
        steps: Ints = 1
        for _, loop, factor in self.loops:
            if not loop.spatial:
                steps = steps * factor
        return steps

    def instances_above(self, axis: str) -> list[Ints]:
        """[level + 1] instances used along an axis, of the compute and each level."""
        ends = self._nest.ends
        found: list[Ints] = [1] * (len(ends) + 1)
        for _, loop, factor in self.loops:
            if loop.axis == axis:
                for entry in range(loop.level + 1):
                    found[entry] = found[entry] * factor
        return found

    def tiles(self, dims: frozenset[str]) -> list[Ints]:
        """[loop] elements that the loops up to each one walk over."""
        found: list[Ints] = []
        elements: Ints = 1
        for at, loop, factor in self.loops:
            if loop.dim in dims:
                found += [elements] * (at - len(found))
                elements = elements * factor
        return found + [elements] * (len(self._nest.loops) - len(found))

    def scattered(self, dims: frozenset[str]) -> list[Ints]:
        """[level] different parts of a tensor that the instances below hold."""
        parts: list[Ints] = [1] * len(self._nest.ends)
        for _, loop, factor in self.loops:
            if loop.spatial and loop.dim in dims:
                parts[loop.level] = parts[loop.level] * factor
        return parts

    def visits(self, dims: frozenset[str], end: int) -> Ints:
        """Tiles that one instance sees over the run, the loops up to ``end`` inside it.

        The tile stays while only loops run that do not move it: the innermost temporal loops
        above that are not relevant. From the first relevant one on, every iteration is a new tile.
        """
        visits: Ints = 1
        for at, loop, factor in self.loops:
            if at < end or loop.spatial:
                continue
            if loop.dim in dims:
                visits = visits * factor
            else:
                # Without a move so far there is one visit, and it lasts.
                visits = choose(visits > 1, visits * factor, visits)
        return visits
