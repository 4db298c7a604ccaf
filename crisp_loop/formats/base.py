"""What all formats share: the interface, and counts of bits and of a matrix's non-zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from crisp_loop.core.masks import kept_blocks
from crisp_loop.core.pattern import NM

Array = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.signedinteger[Any]]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Bits:
    """What a matrix takes in one format, in bits; padding of a stream's last byte excluded."""

    values: int
    """The values that are stored, zeros that fill up included."""
    metadata: int
    """Where a value is: indices, offsets, masks."""
    pointers: int = 0
    """Where a row, column or block-row starts in the values."""

    @property
    def overhead(self) -> int:
        """All but the values."""
        return self.metadata + self.pointers

    @property
    def total(self) -> int:
        """Values and overhead."""
        return self.values + self.overhead


class Encoded(Protocol):
    """A matrix in some format."""

    @property
    def shape(self) -> tuple[int, int]:
        """(S, K) of the matrix."""
        ...

    @property
    def bits(self) -> Bits:
        """What is stored, counted from the arrays that hold it."""
        ...

    def decode(self) -> Array:
        """The S x K matrix, in the values' dtype, +0 where nothing is stored.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        ...


@dataclass(frozen=True)
class Facts:
    """What the closed forms need to know of one masked S x K matrix."""

    rows: int
    """S."""
    columns: int
    """K."""
    nnz: int
    """Weights that the mask keeps."""
    longest_row: int
    """Most weights kept in a row."""
    blocks: int
    """B x B blocks that keep anything, in the matrix padded to whole blocks."""
    nm: NM
    block: int
    """B."""
    word: int = 32
    """Bits of a value."""

    @classmethod
    def of(cls, mask: BoolArray, nm: NM, block: int, word: int = 32) -> Facts:
        """Count a mask, bool (S, K)."""
        return cls(
            rows=mask.shape[0],
            columns=mask.shape[1],
            nnz=int(np.count_nonzero(mask)),
            longest_row=int(np.count_nonzero(mask, axis=1).max(initial=0)),
            blocks=int(kept_blocks(mask, block).sum()),
            nm=nm,
            block=block,
            word=word,
        )


def check_pair(mask: BoolArray, weights: Array) -> None:
    """A mask and weights of one shape S x K, neither side 0.

    Raises:
        ValueError: anything else.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2 or mask.shape != weights.shape or not mask.size:
        raise ValueError(
            f"expected a boolean mask and weights of one shape S x K,"
            f" not {mask.dtype} {mask.shape} and {weights.shape}"
        )


def word_bits(values: npt.NDArray[np.generic]) -> int:
    """Bits that all values take."""
    return values.size * values.dtype.itemsize * 8


def zeros_like(values: npt.NDArray[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    """+0 in the values' dtype."""
    return np.zeros(shape, dtype=values.dtype)
