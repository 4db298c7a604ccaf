"""The formats by name, encoder beside closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crisp_loop.core.pattern import NM
from crisp_loop.formats import accounting
from crisp_loop.formats.base import Array, Bits, BoolArray, Encoded, Facts
from crisp_loop.formats.bitmask import BitmaskMatrix
from crisp_loop.formats.bsr import BSRMatrix
from crisp_loop.formats.coo import COOMatrix
from crisp_loop.formats.csc import CSCMatrix
from crisp_loop.formats.csr import CSRMatrix
from crisp_loop.formats.ellpack import ELLPACKMatrix
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix
from crisp_loop.formats.nvidia24 import Nvidia24Matrix


@dataclass(frozen=True)
class Format:
    """One way to store a masked matrix."""

    title: str
    encode: Callable[[BoolArray, Array, NM, int], Encoded]
    """(mask, weights, N:M, B), S x K both; the pattern is for the formats that need one."""
    bits: Callable[[Facts], Bits]
    """The same bits in closed form."""
    fits: Callable[[NM], bool] = lambda nm: True
    """Whether it can hold the N:M pattern."""


FORMATS: dict[str, Format] = {
    "hybrid": Format("hybrid", HybridMatrix.encode, accounting.hybrid),
    "nm": Format("N:M", lambda mask, w, nm, _: NMMatrix.encode(mask, w, nm), accounting.nm),
    "nvidia24": Format(
        "NVIDIA 2:4",
        lambda mask, w, *_: Nvidia24Matrix.encode(mask, w),
        accounting.nvidia24,
        lambda nm: nm.m == 4 and nm.n <= 2,
    ),
    "bsr": Format(
        "BSR", lambda mask, w, _, block: BSRMatrix.encode(mask, w, block), accounting.bsr
    ),
    "csr": Format("CSR", lambda mask, w, *_: CSRMatrix.encode(mask, w), accounting.csr),
    "csc": Format("CSC", lambda mask, w, *_: CSCMatrix.encode(mask, w), accounting.csc),
    "coo": Format("COO", lambda mask, w, *_: COOMatrix.encode(mask, w), accounting.coo),
    "ellpack": Format(
        "ELLPACK", lambda mask, w, *_: ELLPACKMatrix.encode(mask, w), accounting.ellpack
    ),
    "bitmask": Format(
        "bitmask", lambda mask, w, *_: BitmaskMatrix.encode(mask, w), accounting.bitmask
    ),
}
"""``hybrid``, ``nm`` and ``nvidia24`` hold masks of their pattern, the others any mask."""
