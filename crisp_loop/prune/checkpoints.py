"""Weights on disk: safetensors files (and torch's own, read only)."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import replacing


def save_weights(path: Path, model: nn.Module, header: Mapping[str, str] | None = None) -> None:
    """Write the state_dict of ``model`` atomically, with ``header`` as the file's metadata.

    More than one entry in ``header`` would make the file's bytes differ between runs, because
    safetensors writes its metadata in no fixed order.
    """
    tensors = {key: value.detach().clone() for key, value in model.state_dict().items()}
    with replacing(path) as temporary:
        save_file(
            {key: value.contiguous() for key, value in tensors.items()},
            temporary,
            dict(header or {"format": "pt"}),
        )


def read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty when it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def load_weights(path: Path, model: nn.Module, name: str) -> None:
    """Load a state_dict into ``model``: .safetensors, or .pt and .pth with plain tensors.

    Args:
        path: The file.
        model: Must have exactly the file's parameter names and shapes.
        name: Of the model, for messages.

    Raises:
        CrispLoopError: the file is missing, damaged, or does not fit the model.
    """
    tensors = _read_tensors(path)
    wanted = model.state_dict()
    for key, value in wanted.items():
        if key not in tensors:
            raise CrispLoopError(f"{path} lacks {key}, which {name} needs.")
        if tensors[key].shape != value.shape:
            found, right = tuple(tensors[key].shape), tuple(value.shape)
            raise CrispLoopError(f"{path}: {key} is shaped {found}, but {name} needs {right}.")
    foreign = [key for key in tensors if key not in wanted]
    if foreign:
        raise CrispLoopError(f"{path} holds {foreign[0]}, which {name} does not have.")
    model.load_state_dict(tensors)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise CrispLoopError(f"{path} {what}; expected a file of weights (.safetensors or .pth).")
    if path.suffix in (".pt", ".pth"):
        try:
            data = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError):
            raise CrispLoopError(f"{path} is not a readable file of tensors.") from None
        if not isinstance(data, dict) or not all(isinstance(v, Tensor) for v in data.values()):
            raise CrispLoopError(f"{path} holds no plain state_dict; expected names and tensors.")
        return data
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CrispLoopError(f"{path} is not a readable safetensors file: {error}.") from None
