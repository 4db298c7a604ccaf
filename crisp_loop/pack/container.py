"""The packed file: one safetensors file that holds a whole network, and checks itself.

Tensors are named after the weights they make: ``<layer>.weight`` for a dense layer,
``<layer>.weight.values``, ``.block_indices`` and ``.offsets`` for a packed one; everything else
of the state dict (biases, norms) keeps its key. The header has one key, ``crisp_loop.packed``,
whose JSON lists the layers and the SHA-256 of every tensor (one key, because safetensors writes
several in random order, and equal networks should make equal files). See ``docs/formats.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import replacing, sha256, validated
from crisp_loop.core.pattern import NM, NMField
from crisp_loop.formats.base import Array
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix

FORMAT = "crisp_loop.packed"
VERSION = 1

Form = Literal["dense", "nm", "hybrid"]
_PARTS: dict[Form, tuple[str, ...]] = {
    "dense": ("",),
    "nm": (".values", ".offsets"),
    "hybrid": (".values", ".block_indices", ".offsets"),
}


@dataclass(frozen=True, eq=False)
class PackedLayer:
    """One layer's weight, packed or dense."""

    name: str
    shape: tuple[int, ...]
    """Of the weight in its own layout, OIHW or OI."""
    stored: Array | NMMatrix | HybridMatrix
    """A dense layer's weight in its own layout, else the packed matrix."""

    @property
    def form(self) -> Form:
        """How the weight is stored."""
        if isinstance(self.stored, HybridMatrix):
            return "hybrid"
        return "nm" if isinstance(self.stored, NMMatrix) else "dense"

    def decode(self) -> Array:
        """The masked weight in its own layout.

        Raises:
            ValueError: parts that do not fit each other; the message says which.
        """
        if isinstance(self.stored, np.ndarray):
            return self.stored
        return weight_layout(self.stored.decode(), self.shape)


@dataclass(frozen=True, eq=False)
class PackedNetwork:
    """A pruned network, packed."""

    model: str
    layers: tuple[PackedLayer, ...]
    others: Mapping[str, Array] = field(default_factory=dict)
    """What else the state dict holds, by key."""

    def state_dict(self) -> dict[str, Array]:
        """The whole state dict, weights masked."""
        return {f"{la.name}.weight": la.decode() for la in self.layers} | dict(self.others)


def weight_layout(matrix: Array, shape: tuple[int, ...]) -> Array:
    """An S x K matrix with K ordered (kh, kw, C_in) back as OIHW or OI: undoes ``matrix_view``."""
    if len(shape) == 2:
        return matrix.reshape(shape)
    out, inner, height, width = shape
    return np.ascontiguousarray(matrix.reshape(out, height, width, inner).transpose(0, 3, 1, 2))


_config = pydantic.ConfigDict(extra="forbid")


@pydantic.dataclasses.dataclass(frozen=True, config=_config)
class _LayerHeader:
    name: str
    form: Form
    shape: tuple[int, int] | tuple[int, int, int, int]
    nm: NMField | None
    block: int | None
    kept_blocks: int | None


@pydantic.dataclasses.dataclass(frozen=True, config=_config)
class _Header:
    format: Literal["crisp_loop.packed"]
    version: Literal[1]
    model: str
    layers: tuple[_LayerHeader, ...]
    sha256: dict[str, str]
    """Tensor name to hash of its type, shape and bytes."""


def write_packed(path: Path, network: PackedNetwork) -> None:
    """Write ``network`` atomically; equal networks make equal bytes."""
    tensors = dict(network.others)
    layers = []
    for layer in network.layers:
        tensors.update(_tensors(layer))
        matrix = layer.stored
        layers.append(
            {
                "name": layer.name,
                "form": layer.form,
                "shape": layer.shape,
                "nm": None if isinstance(matrix, np.ndarray) else str(matrix.nm),
                "block": matrix.block if isinstance(matrix, HybridMatrix) else None,
                "kept_blocks": matrix.kept_blocks if isinstance(matrix, HybridMatrix) else None,
            }
        )
    tensors = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model": network.model,
        "layers": layers,
        "sha256": {name: _hash(tensor) for name, tensor in tensors.items()},
    }
    text = json.dumps(header, separators=(",", ":"))
    sealed = json.dumps({"seal": sha256(text), "header": text}, separators=(",", ":"))
    with replacing(path) as temporary:
        save_file(tensors, temporary, {FORMAT: sealed})


def read_packed(path: Path) -> PackedNetwork:
    """Read a packed file.

    Raises:
        CrispLoopError: a file that is missing, truncated, foreign, changed since it was
            written, or whose parts do not fit each other.
    """
    metadata, tensors = read_tensors(path, "packed network (.safetensors)")
    header = _unseal(path, metadata)
    missing = sorted(header.sha256.keys() ^ tensors.keys())
    if missing:
        raise CrispLoopError(
            f"{path} is damaged: its header and its tensors differ in {missing[0]}."
        )
    for name, tensor in tensors.items():
        if _hash(tensor) != header.sha256[name]:
            raise CrispLoopError(f"{path} is damaged: {name} is not what was written.")
    layers = []
    for entry in header.layers:
        names = [f"{entry.name}.weight{part}" for part in _PARTS[entry.form]]
        absent = [name for name in names if name not in tensors]
        if absent:
            raise CrispLoopError(f"{path} is damaged: layer {entry.name} lacks {absent[0]}.")
        layers.append(_layer(path, entry, [tensors.pop(name) for name in names]))
    return PackedNetwork(header.model, tuple(layers), tensors)


def read_tensors(path: Path, what: str) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata and tensors of a safetensors file; one sentence when it is unreadable."""
    if not path.is_file():
        problem = "is a directory" if path.is_dir() else "does not exist"
        raise CrispLoopError(f"{path} {problem}; expected a {what}.")
    try:
        with safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise CrispLoopError(f"{path} is not a readable {what}: {error}.") from None


def _tensors(layer: PackedLayer) -> dict[str, Array]:
    stem = f"{layer.name}.weight"
    matrix = layer.stored
    if isinstance(matrix, np.ndarray):
        return {stem: matrix}
    parts: dict[str, Array] = {f"{stem}.values": matrix.values, f"{stem}.offsets": matrix.offsets}
    if isinstance(matrix, HybridMatrix):
        parts[f"{stem}.block_indices"] = matrix.block_indices
    return parts


def _hash(tensor: Array) -> str:
    return sha256(f"{tensor.dtype.str}{tensor.shape}".encode() + tensor.tobytes())


def _unseal(path: Path, metadata: Mapping[str, str]) -> _Header:
    if FORMAT not in metadata:
        raise CrispLoopError(f"{path} is no packed network; its header lacks {FORMAT!r}.")
    try:
        sealed: Any = json.loads(metadata[FORMAT])
        text, seal = str(sealed["header"]), sealed["seal"]
        header: Any = json.loads(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CrispLoopError(f"{path} is damaged: its header is not the JSON expected.") from None
    if sha256(text) != seal:
        raise CrispLoopError(f"{path} is damaged: its header is not what was written.")
    if isinstance(header, dict) and header.get("version") != VERSION:
        raise InputError(path, "version", header.get("version"), f"expected version {VERSION}")
    return validated(header, _Header, path)


def _layer(path: Path, entry: _LayerHeader, parts: list[Array]) -> PackedLayer:
    shape = tuple(entry.shape)
    matrix_shape = (shape[0], int(np.prod(shape[1:])))
    stored: Array | NMMatrix | HybridMatrix
    if entry.form == "dense":
        stored = parts[0]
        if stored.shape != shape:
            raise InputError(path, entry.name, stored.shape, f"expected a weight shaped {shape}")
        return PackedLayer(entry.name, shape, stored)
    nm = entry.nm or NM(1, 1)
    values = parts[0]
    *_, offsets = (part.astype(np.uint8, copy=False) for part in parts)
    if entry.form == "nm":
        stored = NMMatrix(values, offsets, matrix_shape, nm)
    else:
        indices = parts[1].astype(np.uint8, copy=False)
        stored = HybridMatrix(
            values, indices, offsets, matrix_shape, nm, entry.block or 0, entry.kept_blocks or 0
        )
    layer = PackedLayer(entry.name, shape, stored)
    try:
        layer.decode()
    except ValueError as error:
        raise CrispLoopError(f"{path} is damaged: layer {entry.name}: {error}.") from None
    return layer
