"""Small pictures of masks: which blocks of each layer are kept."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from crisp_loop.core.gemm import Gemm, Workload
from crisp_loop.core.pattern import blocks_over
from crisp_loop.report.page.colours import BLUE

_HIGH, _WIDE = 96, 288
"""Pixels that a picture should not exceed, while a block is a pixel at least."""


@dataclass(frozen=True)
class MaskPicture:
    """One layer's blocks, a pixel a block."""

    layer: str
    data: str
    """The PNG file as a data address."""
    rows: int
    columns: int
    kept: int
    """Blocks that every block-row keeps."""
    density: float
    """Weights kept, 0 to 1."""
    pixels: int
    """Side of a block on the screen."""


@dataclass(frozen=True)
class MaskPictures:
    """The block-pruned layers of a network."""

    block: int
    nm: str
    pictures: tuple[MaskPicture, ...]
    others: tuple[str, ...]
    """Layers without a block pattern."""


def mask_pictures(workload: Workload) -> MaskPictures:
    """A picture for each layer whose workload says which blocks are kept."""
    shown = [gemm for gemm in workload.gemms if gemm.weight.block_indices]
    return MaskPictures(
        block=workload.block,
        nm=str(workload.nm),
        pictures=tuple(_picture(gemm) for gemm in shown),
        others=tuple(gemm.layer for gemm in workload.gemms if not gemm.weight.block_indices),
    )


def grid_of_blocks(gemm: Gemm) -> npt.NDArray[np.bool_]:
    """Which blocks of a hybrid layer are kept, bool (block-rows, K / B rounded up)."""
    indices, block = gemm.weight.block_indices, gemm.weight.block
    assert indices is not None
    assert block is not None
    kept = np.zeros((len(indices), blocks_over(gemm.K, block)), dtype=np.bool_)
    for row, columns in enumerate(indices):
        kept[row, list(columns)] = True
    return kept


def _picture(gemm: Gemm) -> MaskPicture:
    kept = grid_of_blocks(gemm)
    rows, columns = kept.shape
    return MaskPicture(
        layer=gemm.layer,
        data="data:image/png;base64," + b64encode(_png(kept)).decode(),
        rows=rows,
        columns=columns,
        kept=int(kept[0].sum()),
        density=gemm.weight.density,
        pixels=max(1, min(_HIGH // rows, _WIDE // columns, 12)),
    )


def _png(kept: npt.NDArray[np.bool_]) -> bytes:
    """Kept blocks in blue on nothing, so that the page's own ground shows through."""
    image = Image.fromarray(kept.astype(np.uint8))
    blue = bytes.fromhex(BLUE.removeprefix("#"))
    image.putpalette(b"\xff\xff\xff" + blue)
    file = io.BytesIO()
    image.save(file, "PNG", bits=1, transparency=0, optimize=True)
    return file.getvalue()
