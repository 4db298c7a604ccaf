"""Which blocks of an input a pruned layer really reads, and how many tiles of it share.

A compact GEMM gathers its input: block-row r reads, at place q, input block ``indices[r, q]``.
Sparseloop cannot express that two block-rows may want the same block, so it counts each of them;
the indices tell the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as validated_dataclass

from crisp_loop.core.bounded import Count, Rows
from crisp_loop.core.errors import InputError
from crisp_loop.core.files import read_json

Indices = npt.NDArray[np.int64]
GATHER_FILE = "gather.json"
"""Its name in the directory of a spec."""


@dataclass(frozen=True, eq=False)
class Gather:
    """The blocks of one tensor that the block-rows of a compact GEMM read."""

    indices: Indices
    """[R, Q']: at row r, the input blocks that block-row r reads, all different."""
    tensor: str = "B"
    rows: str = "R"
    """Dimension of the problem that counts block-rows."""
    places: str = "Q"
    """Dimension of the problem that counts the kept blocks of a row."""
    _cache: dict[tuple[int, int], int] = field(default_factory=dict, init=False, repr=False)

    def touched(self, rows: int, places: int) -> int:
        """Blocks read by tiles of ``rows`` block-rows x ``places`` places, over all tiles.

        Within a tile a block counts once, however many block-rows want it: the size of the union
        of their indices. Different tiles count it anew.

        Args:
            rows: Divides R.
            places: Divides Q'.

        Returns:
            The sum over the grid of tiles, at most R * Q'; equal to it for ``rows = 1``.
        """
        key = rows, places
        if key not in self._cache:
            self._cache[key] = int(unions(self.indices, rows, places).sum())
        return self._cache[key]


@validated_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GatherFile:
    """A :class:`Gather` as the file ``gather.json`` holds it."""

    indices: Rows[Rows[Count]]
    """A row a block-row, all equally long."""
    tensor: str = "B"
    rows: str = "R"
    places: str = "Q"


def read_gather(path: Path) -> Gather:
    """The gather in ``path``.

    Raises:
        CrispLoopError: an unreadable file, or rows of different lengths.
    """
    found = read_json(path, GatherFile, "gather")
    lengths = {len(row) for row in found.indices}
    if len(lengths) != 1:
        expected = "expected one row a block-row, all equally long"
        raise InputError(path, "indices", sorted(lengths), expected)
    indices = np.array(found.indices, dtype=np.int64)
    return Gather(indices, found.tensor, found.rows, found.places)


def unions(indices: Indices, rows: int, places: int) -> Indices:
    """Different indices in every ``rows`` x ``places`` tile of a table.

    Args:
        indices: [R, Q'].
        rows: Divides R.
        places: Divides Q'.

    Returns:
        int64 [R / rows, Q' / places].

    Raises:
        ValueError: tiles that do not divide the table.
    """
    height, width = indices.shape
    if height % rows or width % places:
        raise ValueError(f"tiles of {rows} x {places} do not divide a table of {height} x {width}")
    tiles = indices.reshape(height // rows, rows, width // places, places).swapaxes(1, 2)
    ordered = np.sort(tiles.reshape(height // rows, width // places, rows * places), axis=2)
    return 1 + np.count_nonzero(np.diff(ordered, axis=2), axis=2).astype(np.int64)
