"""A machine that runs a mapping: every step of every loop, real masks, real buffers.

It knows nothing of relevance, densities or closed forms. Time is the temporal loops, outermost
first. In each step every instance of every level holds, of every tensor that it keeps, exactly
the elements that the loops inside it can reach from here. When that set changes, it is fetched
anew from the next level that keeps the tensor, where a set that several instances fetch in one
step is read once. Counts are sums over all instances.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop.parse import parse

Element: TypeAlias = tuple[int, ...]
"""Coordinates along the tensor's dimensions, in alphabetical order."""
Tile: TypeAlias = frozenset[Element]
Real: TypeAlias = Callable[[Element], Element | None]
Setting: TypeAlias = tuple[int, ...]
"""A value for every loop, innermost first."""

COMPUTE = -1


@dataclass
class Counts:
    """Traffic of one tensor at one level."""

    reads: int = 0
    fills: int = 0
    updates: int = 0


class Machine:
    """Buffers, their contents, and what went through them."""

    def __init__(self, spec: Spec, real: Mapping[str, Real] | None = None) -> None:
        """``real``: tensor to what a place of it really is: None for a zero, and the same thing
        twice where two places read the same data."""
        design = parse(spec)
        self.tensors = design.problem.tensors
        self.loops = list(zip(design.nest.loops, design.given, strict=True))
        self.ends = (0, *design.nest.ends)
        self.keepers = [
            [level for level, keeps in enumerate(design.nest.keeps) if keeps[tensor]]
            for tensor in range(len(self.tensors))
        ]
        self.real = real or {}
        self.counts: dict[tuple[int, str], Counts] = defaultdict(Counts)
        self.effectual = 0
        """Computes whose operands are all there."""
        self._held: dict[tuple[int, int, Setting], Tile] = {}
        self._seen: dict[tuple[str, int, Setting], set[Element]] = defaultdict(set)
        """Of the output: what was ``loaded`` to an instance, ``computed`` at it, or
        ``returned`` to it, at any time so far."""
        self._tiles: dict[tuple[int, Setting], Tile] = {}

    def run(self) -> Machine:
        """All steps."""
        places = list(self._settings("XY"))
        for time in self._settings("T"):
            for tensor in range(len(self.tensors)):
                for child, parent in zip(
                    [COMPUTE, *self.keepers[tensor]], self.keepers[tensor], strict=False
                ):
                    self._move(tensor, child, parent, time, places)
            for place in places:
                operands = [
                    self._size(tensor, self._tile(tensor, COMPUTE, time, place))
                    for tensor, space in enumerate(self.tensors)
                    if not space.output
                ]
                self.effectual += all(operands)
        for tensor in range(len(self.tensors)):
            for child, parent in zip(self.keepers[tensor], self.keepers[tensor][1:], strict=False):
                self._write_back(tensor, child, parent, {self._at(child, at) for at in places})
        return self

    def _move(
        self, tensor: int, child: int, parent: int, time: Setting, places: list[Setting]
    ) -> None:
        """One step of one tensor between two levels."""
        wanted = {self._at(child, at): self._tile(tensor, child, time, at) for at in places}
        # The arithmetic holds nothing, so each step is new to it.
        new = {
            at: tile for at, tile in wanted.items() if self._held.get((tensor, child, at)) != tile
        }
        self._write_back(tensor, child, parent, set(new))
        sent = {(self._at(parent, at), tile) for at, tile in new.items()}
        name, output = self.tensors[tensor].name, self.tensors[tensor].output
        for at, tile in new.items() if child != COMPUTE else ():
            self._held[tensor, child, at] = tile
            # What an output starts with is 0 and need not come from anywhere.
            known = tile & self._seen["loaded", child, at] if output else tile
            self.counts[child, name].fills += self._size(tensor, known)
            if output:
                self._seen["loaded", child, at] |= tile
        for above, tile in sent:
            if not output:
                self.counts[parent, name].reads += self._size(tensor, tile)
            elif child == COMPUTE:
                known = self._seen["computed", parent, above]
                self.counts[parent, name].reads += len(tile & known)
                self.counts[parent, name].updates += len(tile)
                known |= tile
            else:
                self.counts[parent, name].reads += len(tile & self._seen["returned", parent, above])

    def _write_back(self, tensor: int, child: int, parent: int, leaving: set[Setting]) -> None:
        """Old tiles of the output go up; those of several instances are added on the way."""
        if not self.tensors[tensor].output or child == COMPUTE:
            return
        old = {
            (self._at(parent, at), self._held[tensor, child, at])
            for at in leaving
            if (tensor, child, at) in self._held
        }
        for above, tile in old:
            self.counts[parent, self.tensors[tensor].name].updates += len(tile)
            self._seen["returned", parent, above] |= tile

    def _size(self, tensor: int, tile: Tile) -> int:
        """Different things in a tile, zeros left out."""
        real = self.real.get(self.tensors[tensor].name)
        if real is None:
            return len(tile)
        return len({thing for element in tile if (thing := real(element)) is not None})

    def _settings(self, axes: str) -> Iterator[Setting]:
        """All values of the loops along ``axes``, the outermost varying slowest; others 0."""
        ranges = [range(n) if loop.axis in axes else range(1) for loop, n in reversed(self.loops)]
        return (values[::-1] for values in product(*ranges))

    def _at(self, level: int, place: Setting) -> Setting:
        """The instance of ``level`` at ``place``: the loops inside the level do not matter."""
        end = self.ends[level + 1]
        return (*[0] * end, *place[end:])

    def _tile(self, tensor: int, level: int, time: Setting, place: Setting) -> Tile:
        """What the loops inside ``level`` reach."""
        end = self.ends[level + 1]
        now = tuple(t + p for t, p in zip(time[end:], place[end:], strict=True))
        key = (tensor * len(self.ends) + level, now)
        if key not in self._tiles:
            axes = []
            for dim in sorted(self.tensors[tensor].dims):
                values, stride = [0], 1
                for at, (loop, n) in enumerate(self.loops):
                    if loop.dim == dim:
                        steps = range(n) if at < end else (now[at - end],)
                        values = [value + stride * step for step in steps for value in values]
                        stride *= n
                axes.append(values)
            self._tiles[key] = frozenset(product(*axes))
        return self._tiles[key]
