"""The packed file: one safetensors file that holds a whole network, and checks itself.

Tensors are named after the weights they make: ``<layer>.weight`` for a dense layer,
``<layer>.weight.values``, ``.block_indices`` and ``.offsets`` for a packed one; everything else
of the state dict (biases, norms) keeps its key. The header has one key, ``crisp_loop.packed``,
whose JSON lists the layers and the SHA-256 of every tensor (one key, because safetensors writes
several in random order, and equal networks should make equal files). See ``docs/formats.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import replacing
from crisp_loop.core.pattern import NM
from crisp_loop.formats.base import Array
from crisp_loop.formats.hybrid import HybridMatrix
from crisp_loop.formats.nm import NMMatrix
from crisp_loop.pack.header import (
    FORMAT,
    MAPPED,
    PARTS,
    VERSION,
    Form,
    LayerHeader,
    hash_of,
    seal,
    short_name,
    unseal,
)
from crisp_loop.pack.tensors import map_tensors

EXPANSION = 256
"""A file is refused if its network, decoded, takes more than this many times the file (and
64 MiB): a header of a few bytes shall not make a reader allocate gigabytes."""


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


def write_packed(path: Path, network: PackedNetwork) -> None:
    """Write ``network`` atomically; equal networks make equal bytes.

    Raises:
        CrispLoopError: it cannot be written, or is so sparse (99.6 % or more) that readers would
            take the file for an attack on their memory, see :data:`EXPANSION`.
    """
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
        "sha256": {name: hash_of(tensor) for name, tensor in tensors.items()},
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, {FORMAT: seal(header)})
        dense = sum(_dense_bytes(layer) for layer in network.layers)
        if dense > _limit(temporary):
            raise CrispLoopError(
                f"{path} cannot be written: decoded, its layers take {dense:,} bytes, more than"
                f" {EXPANSION} times the file and 64 MiB, which readers refuse."
            )


def read_packed(path: Path) -> PackedNetwork:
    """Read a packed file whole, into memory; every tensor is checked.

    Raises:
        CrispLoopError: a file that is missing, truncated, foreign, changed since it was
            written, or whose parts do not fit each other.
    """
    file = open_packed(path)
    layers = []
    for name in file.layers:
        layer = file.layer(name)
        stored = layer.stored
        if isinstance(stored, np.ndarray):
            stored = stored.copy()
        else:
            parts = {part: getattr(stored, part).copy() for part in MAPPED[layer.form]}
            stored = replace(stored, **parts)
        layers.append(PackedLayer(name, layer.shape, stored))
    return PackedNetwork(
        file.model, tuple(layers), {name: file.other(name).copy() for name in file.others}
    )


@dataclass(frozen=True, eq=False)
class PackedFile:
    """A packed file whose layers are read when they are asked for.

    Tensors are read-only views of the mapped file: what nobody touches is not read, and what was
    read can be dropped by the system and read again. Whoever changes the file in place (as nothing
    here does: files are replaced whole) changes the views too.
    """

    path: Path
    model: str
    layers: Mapping[str, LayerHeader]
    """By name, in the file's order."""
    others: tuple[str, ...]
    """Keys of the state dict's other tensors."""
    _tensors: Mapping[str, Array]
    _hashes: Mapping[str, str]

    def layer(self, name: str, verify: bool = True) -> PackedLayer:
        """One layer.

        Args:
            name: One of :attr:`layers`.
            verify: Compare its tensors with their hashes and decode it once, which reads all of
                it; without, only sizes are checked, and nothing is read.

        Raises:
            CrispLoopError: there is no such layer, it is not what was written, or its parts do not
                fit each other.
        """
        if name not in self.layers:
            known = ", ".join(self.layers)
            raise InputError(self.path, "layer", name, f"the layers are {known}")
        entry = self.layers[name]
        names = [f"{name}.weight{part}" for part in PARTS[entry.form]]
        if verify:
            for tensor in names:
                self._verify(tensor)
        stored = _stored(self.path, entry, [self._tensors[part] for part in names])
        layer = PackedLayer(name, entry.shape, stored)
        if verify:
            with _as_damage(self.path, name):
                layer.decode()
        return layer

    def other(self, name: str) -> Array:
        """Another tensor of the state dict, compared with its hash.

        Raises:
            CrispLoopError: there is no such tensor, or it is not what was written.
        """
        if name not in self.others:
            raise InputError(self.path, "tensor", name, f"the others are {', '.join(self.others)}")
        self._verify(name)
        return self._tensors[name]

    def _verify(self, name: str) -> None:
        if hash_of(self._tensors[name]) != self._hashes[name]:
            raise CrispLoopError(
                f"{self.path} is damaged: {short_name(name)} is not what was written."
            )


def open_packed(path: Path) -> PackedFile:
    """Map a packed file; reads its header alone.

    The header is checked against its seal, the tensors' types and sizes against the header, and
    what the network takes when decoded against :data:`EXPANSION`. The tensors' bytes are checked
    when :meth:`PackedFile.layer` reads them.

    Raises:
        CrispLoopError: a file that is missing, truncated or foreign, or whose header is not what
            was written or does not fit the tensors.
    """
    metadata, tensors = map_tensors(path, "packed network (.safetensors)")
    header = unseal(path, metadata)
    missing = sorted(header.sha256.keys() ^ tensors.keys())
    if missing:
        raise CrispLoopError(
            f"{path} is damaged: its header and its tensors differ in {short_name(missing[0])}."
        )
    others = dict.fromkeys(tensors)
    layers: dict[str, LayerHeader] = {}
    dense = 0
    for entry in header.layers:
        names = [f"{entry.name}.weight{part}" for part in PARTS[entry.form]]
        absent = [name for name in names if name not in others]
        if absent:
            raise CrispLoopError(
                f"{path} is damaged: layer {short_name(entry.name)} lacks {short_name(absent[0])}."
            )
        for name in names:
            del others[name]
        parts = [tensors[name] for name in names]
        _stored(path, entry, parts)
        layers[entry.name] = entry
        dense += math.prod(entry.shape) * parts[0].dtype.itemsize
    if dense > _limit(path):
        raise CrispLoopError(
            f"{path} is damaged: decoded, its layers would take {dense:,} bytes, more than"
            f" {EXPANSION} times the file and 64 MiB."
        )
    return PackedFile(path, header.model, layers, tuple(others), tensors, header.sha256)


def _limit(path: Path) -> int:
    """Bytes that a file's layers may take when decoded."""
    return EXPANSION * path.stat().st_size + (64 << 20)


def _dense_bytes(layer: PackedLayer) -> int:
    values = layer.stored if isinstance(layer.stored, np.ndarray) else layer.stored.values
    return math.prod(layer.shape) * values.dtype.itemsize


def _tensors(layer: PackedLayer) -> dict[str, Array]:
    stem = f"{layer.name}.weight"
    matrix = layer.stored
    if isinstance(matrix, np.ndarray):
        return {stem: matrix}
    parts: dict[str, Array] = {f"{stem}.values": matrix.values, f"{stem}.offsets": matrix.offsets}
    if isinstance(matrix, HybridMatrix):
        parts[f"{stem}.block_indices"] = matrix.block_indices
    return parts


def _stored(path: Path, entry: LayerHeader, parts: list[Array]) -> Array | NMMatrix | HybridMatrix:
    """A layer's matrix; its tensors' types and sizes are those that its header asks for."""
    given = (entry.nm is not None, entry.block is not None, entry.kept_blocks is not None)
    if given != {"dense": (0, 0, 0), "nm": (1, 0, 0), "hybrid": (1, 1, 1)}[entry.form]:
        raise CrispLoopError(
            f"{path} is damaged: layer {short_name(entry.name)} is {entry.form},"
            " which its nm, block and kept_blocks do not fit."
        )
    values, *others = parts
    if entry.form == "dense":
        if values.shape != entry.shape:
            expected = f"expected a weight shaped {entry.shape}"
            raise InputError(path, f"layer {short_name(entry.name)}", values.shape, expected)
        return values
    if any(part.dtype != np.uint8 or part.ndim != 1 for part in others):
        raise CrispLoopError(
            f"{path} is damaged: layer {short_name(entry.name)} has indices of no bytes."
        )
    packed = [part.view(np.uint8) for part in others]
    nm = entry.nm or NM(1, 1)
    stored: NMMatrix | HybridMatrix
    if entry.form == "nm":
        stored = NMMatrix(values, packed[0], entry.matrix_shape, nm)
    else:
        block, kept = entry.block or 0, entry.kept_blocks or 0
        stored = HybridMatrix(values, packed[0], packed[1], entry.matrix_shape, nm, block, kept)
    with _as_damage(path, entry.name):
        stored.check()
    return stored


@contextmanager
def _as_damage(path: Path, layer: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise CrispLoopError(f"{path} is damaged: layer {short_name(layer)}: {error}.") from None
