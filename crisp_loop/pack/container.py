"""The packed file: one safetensors file that holds a whole network, and checks itself.

Tensors are named after the weights they make: ``<layer>.weight`` for a dense layer,
``<layer>.weight.values``, ``.block_indices`` and ``.offsets`` for a packed one; everything else
of the state dict (biases, norms) keeps its key. The header has one key, ``crisp_loop.packed``,
whose JSON lists the layers and the SHA-256 of every tensor (one key, because safetensors writes
several in random order, and equal networks should make equal files). See ``docs/formats.md``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

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
_MAPPED: dict[Form, tuple[str, ...]] = {
    "dense": (),
    "nm": ("values", "offsets"),
    "hybrid": ("values", "block_indices", "offsets"),
}
"""Fields of the matrices that hold tensors."""
_TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
"""Types of tensors by their names in safetensors files; numpy has no others."""
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


_config = pydantic.ConfigDict(extra="forbid")


def _two_or_four(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in (2, 4):
        raise ValueError("expected two or four sides, OI or OIHW")
    return shape


_Shape = Annotated[
    tuple[Annotated[int, pydantic.Field(ge=1)], ...], pydantic.AfterValidator(_two_or_four)
]


@pydantic.dataclasses.dataclass(frozen=True, config=_config)
class LayerHeader:
    """What the file's header says of one layer."""

    name: str
    form: Form
    shape: _Shape
    """Of the weight, OIHW or OI."""
    nm: NMField | None
    """None for a dense layer."""
    block: int | None
    """B; None unless hybrid."""
    kept_blocks: int | None
    """K'/B; None unless hybrid."""

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """(S, K)."""
        return self.shape[0], math.prod(self.shape[1:])


@pydantic.dataclasses.dataclass(frozen=True, config=_config)
class _Header:
    format: Literal["crisp_loop.packed"]
    version: Literal[1]
    model: str
    layers: tuple[LayerHeader, ...]
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
            parts = {part: getattr(stored, part).copy() for part in _MAPPED[layer.form]}
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
        names = [f"{name}.weight{part}" for part in _PARTS[entry.form]]
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
        if _hash(self._tensors[name]) != self._hashes[name]:
            raise CrispLoopError(f"{self.path} is damaged: {_short(name)} is not what was written.")


def open_packed(path: Path) -> PackedFile:
    """Map a packed file; reads its header alone.

    The header is checked against its seal, the tensors' types and sizes against the header, and
    what the network takes when decoded against :data:`EXPANSION`. The tensors' bytes are checked
    when :meth:`PackedFile.layer` reads them.

    Raises:
        CrispLoopError: a file that is missing, truncated or foreign, or whose header is not what
            was written or does not fit the tensors.
    """
    metadata, tensors = _map(path)
    header = _unseal(path, metadata)
    missing = sorted(header.sha256.keys() ^ tensors.keys())
    if missing:
        raise CrispLoopError(
            f"{path} is damaged: its header and its tensors differ in {_short(missing[0])}."
        )
    others = dict.fromkeys(tensors)
    layers: dict[str, LayerHeader] = {}
    dense = 0
    for entry in header.layers:
        names = [f"{entry.name}.weight{part}" for part in _PARTS[entry.form]]
        absent = [name for name in names if name not in others]
        if absent:
            raise CrispLoopError(
                f"{path} is damaged: layer {_short(entry.name)} lacks {_short(absent[0])}."
            )
        for name in names:
            del others[name]
        parts = [tensors[name] for name in names]
        _stored(path, entry, parts)
        layers[entry.name] = entry
        dense += math.prod(entry.shape) * parts[0].dtype.itemsize
    limit = EXPANSION * path.stat().st_size + (64 << 20)
    if dense > limit:
        raise CrispLoopError(
            f"{path} is damaged: decoded, its layers would take {dense:,} bytes, more than"
            f" {EXPANSION} times the file and 64 MiB."
        )
    return PackedFile(path, header.model, layers, tuple(others), tensors, header.sha256)


def _map(path: Path) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata and read-only views of the tensors of a safetensors file."""
    what = "packed network (.safetensors)"
    _check_file(path, what)
    try:
        # The library checks the layout (sizes, offsets, no gaps); it copies what it hands out.
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        data = np.asarray(np.memmap(path, np.uint8, "r"))
        size = int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8 : 8 + size].tobytes())
        header.pop("__metadata__", None)
        tensors = {}
        for name in sorted(header):
            entry = header[name]
            first, last = (8 + size + offset for offset in entry["data_offsets"])
            raw = data[first:last]
            dtype = np.dtype(_TYPES[entry["dtype"]])
            if raw.ctypes.data % dtype.alignment:
                raw = raw.copy()
            tensors[name] = raw.view(dtype).reshape(entry["shape"])
    except KeyError as error:
        raise CrispLoopError(
            f"{path} is not a readable {what}: expected tensors of {', '.join(_TYPES)},"
            f" not {error.args[0]}."
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CrispLoopError(f"{path} is not a readable {what}: {_line(error)}.") from None
    return metadata, tensors


def read_tensors(path: Path, what: str) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata and tensors of a safetensors file; one sentence when it is unreadable."""
    _check_file(path, what)
    try:
        with safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise CrispLoopError(f"{path} is not a readable {what}: {_line(error)}.") from None


def _check_file(path: Path, what: str) -> None:
    if not path.is_file():
        problem = "is a directory" if path.is_dir() else "does not exist"
        raise CrispLoopError(f"{path} {problem}; expected a {what}.")


def _short(name: str) -> str:
    """A name out of a file, quoted on one line."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def _line(error: Exception) -> str:
    """An error's text on one line, cut where a file's own content makes it long."""
    return " ".join(str(error).split())[:200].rstrip(".")


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
    digest = hashlib.sha256(f"{tensor.dtype.str}{tensor.shape}".encode())
    digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _unseal(path: Path, metadata: Mapping[str, str]) -> _Header:
    if FORMAT not in metadata:
        raise CrispLoopError(f"{path} is no packed network; its header lacks {FORMAT!r}.")
    try:
        sealed: Any = json.loads(metadata[FORMAT])
        text, seal = str(sealed["header"]), sealed["seal"]
        header: Any = json.loads(text)
        found = sha256(text)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CrispLoopError(f"{path} is damaged: its header is not the JSON expected.") from None
    if found != seal:
        raise CrispLoopError(f"{path} is damaged: its header is not what was written.")
    if isinstance(header, dict) and header.get("version") != VERSION:
        raise InputError(path, "version", header.get("version"), f"expected version {VERSION}")
    return validated(header, _Header, path)


def _stored(path: Path, entry: LayerHeader, parts: list[Array]) -> Array | NMMatrix | HybridMatrix:
    """A layer's matrix; its tensors' types and sizes are those that its header asks for."""
    given = (entry.nm is not None, entry.block is not None, entry.kept_blocks is not None)
    if given != {"dense": (0, 0, 0), "nm": (1, 0, 0), "hybrid": (1, 1, 1)}[entry.form]:
        raise CrispLoopError(
            f"{path} is damaged: layer {_short(entry.name)} is {entry.form},"
            " which its nm, block and kept_blocks do not fit."
        )
    values, *packed = parts
    if entry.form == "dense":
        if values.shape != entry.shape:
            expected = f"expected a weight shaped {entry.shape}"
            raise InputError(path, f"layer {_short(entry.name)}", values.shape, expected)
        return values
    if any(part.dtype != np.uint8 or part.ndim != 1 for part in packed):
        raise CrispLoopError(
            f"{path} is damaged: layer {_short(entry.name)} has indices of no bytes."
        )
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
        raise CrispLoopError(f"{path} is damaged: layer {_short(layer)}: {error}.") from None
