"""The pack stage: weights and masks in, ``packed.safetensors`` and ``storage.csv`` out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.gemm import WeightSparsity
from crisp_loop.core.masks import Masks, load_masks, matrix_view, sparsity_of
from crisp_loop.core.progress import Progress, Quiet
from crisp_loop.formats.base import Array, BoolArray
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix
from crisp_loop.pack.container import PackedLayer, PackedNetwork, write_packed
from crisp_loop.pack.storage import LayerStorage, storage_of, write_storage
from crisp_loop.pack.tensors import read_tensors

PACKED_FILE = "packed.safetensors"
STORAGE_FILE = "storage.csv"


def pack_masks(
    weights: Path, masks: Path, out_dir: Path, progress: Progress | None = None
) -> PackSummary:
    """Store a pruned network in CRISP's format and count its bits.

    Each layer's form is found in its mask: ``hybrid`` (Blocked-ELLPACK indices and N:M
    offsets; blocks of the padded matrix where B does not divide a side), ``nm`` (N:M offsets;
    layers that keep all blocks), or ``dense``. Every packed layer is decoded again and compared
    bit by bit.

    Args:
        weights: The state dict (.safetensors), a layer's weight under ``<layer>.weight``.
        masks: The mask file of the prune stage.
        out_dir: Where ``packed.safetensors`` and ``storage.csv`` go.
        progress: Who hears how far it is.

    Raises:
        CrispLoopError: an unreadable file, a mask without its weight, or a mask that is
            neither hybrid nor N:M.
    """
    progress = progress or Quiet()
    table = load_masks(masks)
    _, tensors = read_tensors(weights, "weights file (.safetensors)")
    stray = sorted(name for name in table.layers if f"{name}.weight" not in tensors)
    if stray:
        raise CrispLoopError(f"{masks}: layer {stray[0]!r} has no weight in {weights}.")
    names = sorted(
        (name for name, tensor in tensors.items() if _is_weight(name, tensor)), key=_order
    )
    layers, storage = [], []
    for key in progress.track(names, "packing", len(names)):
        layer, sparsity, mask = _pack(key, tensors.pop(key), table, masks)
        layers.append(layer)
        storage.append(storage_of(layer, sparsity, mask))
    write_packed(out_dir / PACKED_FILE, PackedNetwork(table.model, tuple(layers), tensors))
    write_storage(out_dir / STORAGE_FILE, storage)
    return PackSummary(out_dir / PACKED_FILE, out_dir / STORAGE_FILE, tuple(storage))


@dataclass(frozen=True)
class PackSummary:
    """What the pack stage wrote."""

    packed: Path
    storage: Path
    layers: tuple[LayerStorage, ...]

    def total(self, column: str) -> int:
        """Sum of a column of ``storage.csv`` over all layers."""
        return sum(getattr(layer, column) for layer in self.layers)


def _is_weight(key: str, tensor: Array) -> bool:
    """Whether a state-dict entry is the weight of a conv or linear layer."""
    return key.endswith(".weight") and tensor.ndim in (2, 4)


def _order(name: str) -> list[tuple[int, str]]:
    """Sort key that puts ``layer10`` behind ``layer9``."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _pack(
    key: str, weight: Array, masks: Masks, source: Path
) -> tuple[PackedLayer, WeightSparsity, BoolArray]:
    """One layer packed and checked, its pattern, and its mask as S x K."""
    name = key.removesuffix(".weight")
    full = masks.layers.get(name)
    if full is None:
        full = np.ones(weight.shape, dtype=np.bool_)
    if full.shape != weight.shape:
        raise InputError(source, name, full.shape, f"expected the weight's shape {weight.shape}")
    mask = matrix_view(full).astype(np.bool_, copy=False)
    matrix = matrix_view(weight)
    shape = tuple(weight.shape)
    try:
        sparsity = sparsity_of(mask, masks.nm, masks.block)
        if sparsity.form == "dense":
            return PackedLayer(name, shape, weight), sparsity, mask
        if sparsity.form == "nm":
            stored = NMMatrix.encode(mask, matrix, masks.nm)
        else:
            stored = HybridMatrix.encode(mask, matrix, masks.nm, masks.block)
    except ValueError as error:
        raise CrispLoopError(f"{source}: layer {name} cannot be packed: {error}.") from None
    layer = PackedLayer(name, shape, stored)
    masked = np.where(full, weight, weight.dtype.type(0))
    if layer.decode().tobytes() != masked.tobytes():
        raise AssertionError(f"layer {name} does not decode to its masked weights")
    return layer, sparsity, mask
