"""Hybrid-packed weights times dense activations on a GPU, in Triton (the extra ``gpu``).

One program makes a tile of outputs: it walks the kept blocks of a block-row, loads the input block
that each index names, spreads the N:M groups of the weights to a dense tile in registers, and
multiplies on the tensor cores. Pruned blocks are neither loaded nor multiplied; of kept ones,
N of M weights and their packed offsets are loaded. Triton's language has no 2:4 product, so kept
blocks are *multiplied* densely: blocks save arithmetic and traffic, N:M saves traffic alone.

This module has run in Triton's interpreter (``TRITON_INTERPRET=1``), which checks its results on a
CPU. It has not run on a GPU, so nothing is said of its speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import triton  # pyright: ignore[reportMissingImports] (an optional extra)
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from crisp_loop.core.pattern import NM
from crisp_loop.formats.groups import offset_width
from crisp_loop.formats.hybrid import HybridMatrix


@triton.jit
def _spmm(
    values,
    offsets,
    columns,
    inputs,
    outputs,
    rows,
    inner,
    width,
    kept,
    last_byte,
    BLOCK: tl.constexpr,
    N_OF: tl.constexpr,
    M_OF: tl.constexpr,
    WORD: tl.constexpr,
    TILE_M: tl.constexpr,
    TILE_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    tiles: tl.constexpr = BLOCK // TILE_M
    block_row = tl.program_id(0) // tiles
    row = block_row * BLOCK + tl.program_id(0) % tiles * TILE_M + tl.arange(0, TILE_M)
    n = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
    k = tl.arange(0, BLOCK)
    place = (k % M_OF)[None, :]
    first = row.to(tl.int64)[:, None] * (kept * (BLOCK // M_OF)) + (k // M_OF)[None, :]
    sums = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
    for q in range(kept):
        source = tl.load(columns + block_row * kept + q) * BLOCK + k
        inside = (source < inner)[:, None] & (n < width)[None, :]
        where = source.to(tl.int64)[:, None] * width + n[None, :]
        activations = tl.load(inputs + where, mask=inside, other=0.0)
        group = first + q * (BLOCK // M_OF)
        # A group's offsets are N * WORD <= 8 bits, in one byte or across two.
        bit = group * (N_OF * WORD)
        low = tl.load(offsets + tl.minimum(bit // 8, last_byte)).to(tl.int32)
        high = tl.load(offsets + tl.minimum(bit // 8 + 1, last_byte)).to(tl.int32)
        code = (low | (high << 8)) >> (bit % 8).to(tl.int32)
        weights = tl.zeros((TILE_M, BLOCK), dtype=inputs.dtype.element_ty)
        for i in tl.static_range(N_OF):
            value = tl.load(values + group * N_OF + i)
            own = i if WORD == 0 else (code >> (i * WORD)) & ((1 << WORD) - 1)
            weights = tl.where(place == own, value, weights)
        sums = tl.dot(weights, activations, sums, input_precision=PRECISION)
    into = row.to(tl.int64)[:, None] * width + n[None, :]
    target = (row < rows)[:, None] & (n < width)[None, :]
    tl.store(outputs + into, sums.to(outputs.dtype.element_ty), mask=target)


@dataclass(frozen=True, eq=False)
class GpuHybrid:
    """A :class:`~crisp_loop.formats.hybrid.HybridMatrix` on a device."""

    values: Tensor
    """As packed, flat; float16, bfloat16 or float32."""
    offsets: Tensor
    """As packed, uint8; one byte where N = M leaves none."""
    columns: Tensor
    """int32 (R, K'/B)."""
    shape: tuple[int, int]
    nm: NM
    block: int
    """B: 16, 32 or 64 (a power of two from 16 on)."""

    @classmethod
    def of(
        cls, packed: HybridMatrix, device: str = "cuda", dtype: torch.dtype | None = None
    ) -> GpuHybrid:
        """Copy a packed matrix to a device.

        Args:
            packed: Of floating-point values.
            device: Where to.
            dtype: Type of the values there; their own if None.

        Raises:
            ValueError: a block side that is no power of two from 16 on, a pattern whose offsets
                take more than 8 bits a group, or parts that do not fit each other.
        """
        side, nm = packed.block, packed.nm
        if side < 16 or side & (side - 1):
            raise ValueError(f"blocks of {side}; expected a power of two from 16 on")
        if nm.n * offset_width(nm) > 8:
            raise ValueError(f"{nm}; expected a pattern with offsets of at most 8 bits a group")
        packed.decode()  # checks everything
        values = torch.from_numpy(packed.values.copy()).reshape(-1)
        offsets = torch.from_numpy(packed.offsets.copy())
        return cls(
            values.to(device, dtype or values.dtype),
            (offsets if offsets.numel() else torch.zeros(1, dtype=torch.uint8)).to(device),
            torch.from_numpy(packed.indices()).to(device, torch.int32),
            packed.shape,
            nm,
            side,
        )

    def matmul(
        self, inputs: Tensor, tile: tuple[int, int] = (64, 64), precision: str = "ieee"
    ) -> Tensor:
        """The product with dense inputs, summed in float32.

        Args:
            inputs: (K, N), of the values' type, on their device, contiguous.
            tile: Rows (at most B) and columns of outputs that one program makes; powers of two.
            precision: Of float32 products: ``ieee``, ``tf32`` or ``tf32x3``.

        Returns:
            (S, N), of the inputs' type.

        Raises:
            ValueError: inputs of another shape, type, device or layout.
        """
        rows, inner = self.shape
        fits = inputs.dtype == self.values.dtype and inputs.device == self.values.device
        if inputs.ndim != 2 or len(inputs) != inner or not fits or not inputs.is_contiguous():
            raise ValueError(
                f"expected contiguous inputs {inner} x N of {self.values.dtype} on"
                f" {self.values.device}, not {tuple(inputs.shape)} of {inputs.dtype} on"
                f" {inputs.device}"
            )
        width = inputs.shape[1]
        outputs = torch.empty((rows, width), dtype=inputs.dtype, device=inputs.device)
        tile_m = min(tile[0], self.block)
        grid = (len(self.columns) * (self.block // tile_m), triton.cdiv(width, tile[1]))
        # Constants are given as plain numbers, which Triton's own types do not tell.
        launch = cast(Any, _spmm)[grid]
        launch(
            self.values,
            self.offsets,
            self.columns,
            inputs,
            outputs,
            rows,
            inner,
            width,
            self.columns.shape[1],
            self.offsets.numel() - 1,
            BLOCK=self.block,
            N_OF=self.nm.n,
            M_OF=self.nm.m,
            WORD=offset_width(self.nm),
            TILE_M=tile_m,
            TILE_N=tile[1],
            PRECISION=precision,
        )
        return outputs
