"""The header of a packed file: what it lists, its seal, and the hashes of tensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import sha256, validated
from crisp_loop.core.pattern import NMField
from crisp_loop.formats.base import Array

FORMAT = "crisp_loop.packed"
VERSION = 1

Form = Literal["dense", "nm", "hybrid"]
"""How a weight is stored."""
PARTS: dict[Form, tuple[str, ...]] = {
    "dense": ("",),
    "nm": (".values", ".offsets"),
    "hybrid": (".values", ".block_indices", ".offsets"),
}
"""What the names of a layer's tensors end in, behind ``<layer>.weight``."""
MAPPED: dict[Form, tuple[str, ...]] = {
    "dense": (),
    "nm": ("values", "offsets"),
    "hybrid": ("values", "block_indices", "offsets"),
}
"""Fields of the matrices that hold tensors."""

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
class Header:
    """What the file's header holds."""

    format: Literal["crisp_loop.packed"]
    version: Literal[1]
    model: str
    layers: tuple[LayerHeader, ...]
    sha256: dict[str, str]
    """Tensor name to hash of its type, shape and bytes."""


def short_name(name: str) -> str:
    """A name out of a file, quoted on one line."""
    return repr(name if len(name) <= 80 else name[:77] + "...")


def hash_of(tensor: Array) -> str:
    """SHA-256, in hex, of a tensor's numpy type string, its shape as a tuple, and its bytes."""
    digest = hashlib.sha256(f"{tensor.dtype.str}{tensor.shape}".encode())
    digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def seal(header: Mapping[str, object]) -> str:
    """A header as JSON text with its hash: the value under the file's one metadata key."""
    text = json.dumps(header, separators=(",", ":"))
    return json.dumps({"seal": sha256(text), "header": text}, separators=(",", ":"))


def unseal(path: Path, metadata: Mapping[str, str]) -> Header:
    """The header of a file's metadata, if it is what was written.

    Raises:
        CrispLoopError: there is none, its seal does not fit, or it is of another version.
    """
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
    return validated(header, Header, path)
