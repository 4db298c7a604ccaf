"""Weight masks: their file, their matrix view, and what pattern they hold.

The file is safetensors: one boolean tensor a layer, named and shaped as the layer's weight
(OIHW or OI). Its metadata has one key, ``crisp_loop.masks``, with a JSON object of ``version``,
``model``, ``nm`` and ``block`` (safetensors writes several keys in random order, and equal masks
shall give equal bytes).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crisp_loop.core.bounded import Size
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import is_directory, is_file, parse_yaml, replacing, validated
from crisp_loop.core.gemm import WeightSparsity
from crisp_loop.core.pattern import NM, NMField

FORMAT = "crisp_loop.masks"
VERSION = 1

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Masks:
    """The masks of one pruned network."""

    model: str
    nm: NM
    block: int
    layers: Mapping[str, BoolArray]
    """Layer name to mask in the weight's own layout, True where the weight is kept.
    Layers that are not named are dense."""


def matrix_view(weight: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A conv (O, I, kh, kw; or with one or three kernel axes) or linear (O, I) weight as S x K.

    K is ordered (kh, kw, C_in) with C_in innermost, so that N:M groups run along input
    channels. Grouping flattened OIHW along kw would be a different pattern.
    """
    weight = np.moveaxis(weight, 1, -1)
    return np.ascontiguousarray(weight.reshape(weight.shape[0], -1))


def kept_blocks(mask: BoolArray, block: int) -> BoolArray:
    """Which B x B blocks of a mask keep anything, ceil(S/B) x ceil(K/B).

    Where B does not divide a side, the last blocks reach beyond the mask, and nothing is there.
    """
    rows, columns = (range(0, side, min(block, side)) for side in mask.shape)
    return np.logical_or.reduceat(np.logical_or.reduceat(mask, rows, axis=0), columns, axis=1)


def touched_blocks(kept: BoolArray, tile: int) -> npt.NDArray[np.int64]:
    """Distinct input blocks that each tile of block-rows reads: the union of their indices.

    Args:
        kept: :func:`kept_blocks` of a mask, bool (R, K/B).
        tile: Block-rows a tile, at least 1; the last one has fewer where it does not divide R.

    Returns:
        int64 (ceil(R / tile)).
    """
    starts = np.arange(0, len(kept), tile)
    return np.logical_or.reduceat(kept, starts, axis=0).sum(axis=1, dtype=np.int64)


def sparsity_of(mask: BoolArray, nm: NM, block: int) -> WeightSparsity:
    """The pattern of one layer's mask, found in the mask itself.

    Args:
        mask: S x K (a :func:`matrix_view`), True where kept.
        nm: The pattern to look for.
        block: B, the block side to look for.

    Returns:
        ``hybrid`` when every block-row keeps the same number of B x B blocks, fewer than all,
        and each kept block is N:M; ``nm`` when all blocks are kept and N:M; ``dense`` when nothing
        is pruned. Where B does not divide a side, blocks are those of the mask padded with zeros.

    Raises:
        ValueError: the mask follows none of the three; the message says where it breaks.
    """
    rows, columns = mask.shape
    nnz = int(mask.sum())
    density = nnz / mask.size
    if nnz == mask.size:
        return WeightSparsity(form="dense", nnz=nnz, density=density)
    if columns % nm.m:
        raise ValueError(f"K = {columns} holds no whole groups of {nm.m}")
    group_counts = mask.reshape(-1, nm.m).sum(axis=1)
    if group_counts.max() > nm.n:
        worst = int(group_counts.argmax())
        row, group = divmod(worst, columns // nm.m)
        raise ValueError(
            f"row {row}, columns {group * nm.m} to {group * nm.m + nm.m - 1} keep"
            f" {group_counts[worst]} weights, more than {nm}"
        )
    # Blocks that cut through groups may be empty in any N:M mask, narrow ones at an edge often.
    if block % nm.m == 0 or (rows % block == 0 and columns % block == 0):
        kept = kept_blocks(mask, block)
        per_row = kept.sum(axis=1)
        if per_row.min() != per_row.max():
            raise ValueError(
                f"block-rows {int(per_row.argmin())} and {int(per_row.argmax())} keep"
                f" {per_row.min()} and {per_row.max()} blocks; all must keep the same number"
            )
        if per_row[0] < kept.shape[1]:
            return WeightSparsity(
                form="hybrid",
                nnz=nnz,
                density=density,
                nm=nm,
                block=block,
                kept_blocks=int(per_row[0]),
                touched_blocks=int(touched_blocks(kept, len(kept))[0]),
                block_indices=tuple(tuple(np.flatnonzero(row).tolist()) for row in kept),
            )
    return WeightSparsity(form="nm", nnz=nnz, density=density, nm=nm)


def save_masks(path: Path | str, masks: Masks) -> None:
    """Write ``masks`` atomically."""
    header = {
        "version": VERSION,
        "model": masks.model,
        "nm": str(masks.nm),
        "block": masks.block,
    }
    tensors = {name: np.ascontiguousarray(mask) for name, mask in masks.layers.items()}
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, {FORMAT: json.dumps(header)})


def load_masks(path: Path | str) -> Masks:
    """Read a mask file; one sentence when it is missing, foreign or damaged."""
    path = Path(path)
    if not is_file(path):
        what = "is a directory" if is_directory(path) else "does not exist"
        raise CrispLoopError(f"{path} {what}; expected a mask file (.safetensors).")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            layers = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # numpy lacks some of the library's types.
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise CrispLoopError(f"{path} is not a readable safetensors file: {error}.") from None
    header = _header(path, metadata)
    for name, mask in layers.items():
        if mask.dtype != np.bool_:
            raise InputError(path, name, str(mask.dtype), "expected a mask of booleans")
        if mask.size and mask.view(np.uint8).max() > 1:  # numpy counts such bytes several times
            worst = int(mask.view(np.uint8).max())
            raise InputError(path, name, worst, "expected booleans, bytes of 0 or 1")
        if not 2 <= mask.ndim <= 5:
            raise InputError(path, name, mask.shape, "expected a mask shaped OI or OIHW")
    return Masks(header.model, header.nm, header.block, layers)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1]
    model: str
    nm: NMField
    block: Size


def _header(path: Path, metadata: dict[str, str]) -> _Header:
    if FORMAT not in metadata:
        raise InputError(path, "", sorted(metadata), f"expected {FORMAT} in the file's metadata")
    return validated(parse_yaml(metadata[FORMAT], path), _Header, path)
