"""Tensors of safetensors files, in memory or mapped; one sentence when a file is unreadable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_directory, is_file
from crisp_loop.formats.base import Array

_TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}
"""Types of tensors by their names in safetensors files; numpy has no others."""


def map_tensors(path: Path, what: str) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata and read-only views of the tensors of a safetensors file; reads its header alone.

    Args:
        path: The file.
        what: What it should be, for the sentence.

    Raises:
        CrispLoopError: a file that is missing, truncated or foreign, or of types that numpy lacks.
    """
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
    if not is_file(path):
        problem = "is a directory" if is_directory(path) else "does not exist"
        raise CrispLoopError(f"{path} {problem}; expected a {what}.")


def _line(error: Exception) -> str:
    """An error's text on one line, cut where a file's own content makes it long."""
    return " ".join(str(error).split())[:200].rstrip(".")
