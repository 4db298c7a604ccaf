"""Weights on disk: safetensors files (and torch's own, read only)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import is_directory, is_file, replacing


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


def load_weights(
    path: Path, model: nn.Module, name: str, head: str = "", resize_head: bool = False
) -> bool:
    """Load a state_dict into ``model``: .safetensors, or .pt and .pth with tensors alone.

    A .pth may hold the state_dict under ``state_dict`` or ``model``, and its names may begin with
    ``module.`` as a data-parallel training writes them. Counters ``num_batches_tracked``, which
    old files lack, stay as they are.

    Args:
        path: The file.
        model: Must have the file's parameter names and shapes.
        name: Of the model, for messages.
        head: Name of the classifier, which may differ from the file's in its number of classes.
        resize_head: Whether the ``head`` may do so; it then keeps the weights that it has.

    Returns:
        Whether the head was left as it is.

    Raises:
        CrispLoopError: the file is missing, damaged, or does not fit the model.
    """
    tensors = _read_tensors(path)
    wanted = model.state_dict()
    foreign = [key for key in tensors if key not in wanted]
    resized = False
    for key, value in wanted.items():
        if key not in tensors:
            if key.endswith(".num_batches_tracked"):
                tensors[key] = value
                continue
            instead = f"; it holds {foreign[0]} instead" if foreign else ""
            raise CrispLoopError(f"{path} lacks {key}, which {name} needs{instead}.")
        given = tensors[key]
        if given.layout != torch.strided or given.device.type != "cpu" or given.is_quantized:
            raise CrispLoopError(f"{path}: {key} is no plain tensor; expected numbers in order.")
        if given.shape != value.shape:
            other_classes = bool(head) and key.startswith(f"{head}.")
            other_classes = other_classes and given.shape[1:] == value.shape[1:] and given.ndim > 0
            if other_classes and resize_head:
                tensors[key] = value
                resized = True
                continue
            found, right = tuple(given.shape), tuple(value.shape)
            hint = (
                f" for its {len(value)} classes; resize_head: true starts a new head"
                if other_classes
                else ""
            )
            raise CrispLoopError(
                f"{path}: {key} is shaped {found}, but {name} needs {right}{hint}."
            )
        if given.is_floating_point() != value.is_floating_point():
            raise CrispLoopError(
                f"{path}: {key} holds {_kind(given)}, but {name} needs {_kind(value)}."
            )
    if foreign:
        raise CrispLoopError(f"{path} holds {foreign[0]}, which {name} does not have.")
    if resized:  # weight and bias belong together
        tensors.update({key: value for key, value in wanted.items() if key.startswith(f"{head}.")})
    model.load_state_dict(tensors)
    return resized


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a file, whatever they are wrapped in."""
    if not is_file(path):
        what = "is a directory" if is_directory(path) else "does not exist"
        raise CrispLoopError(f"{path} {what}; expected a file of weights (.safetensors or .pth).")
    if path.suffix in (".pt", ".pth"):
        return _unwrapped(path, _read_torch(path))
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise CrispLoopError(f"{path} is not a readable safetensors file: {error}.") from None
    return _unwrapped(path, tensors)


def _read_torch(path: Path) -> object:
    """What torch stored, tensors and plain containers only: nothing in the file is run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        if match := re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", str(error)):
            raise CrispLoopError(
                f"{path} asks for {match[1]}, which is not loaded because it could run code; save"
                f" the state_dict alone."
            ) from None
        raise CrispLoopError(f"{path} is not a readable file of tensors.") from None


def _unwrapped(path: Path, data: object) -> dict[str, Tensor]:
    if isinstance(data, dict):
        for key in ("state_dict", "model"):
            if isinstance(data.get(key), dict):
                data = data[key]
                break
    if not isinstance(data, dict) or not data:
        what = "an empty dictionary" if isinstance(data, dict) else f"a {type(data).__name__}"
        raise CrispLoopError(
            f"{path} holds {what} and no plain state_dict; expected names and tensors."
        )
    for key, value in data.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CrispLoopError(
                f"{path} holds no plain state_dict: {key!r} is a {type(value).__name__}; expected"
                f" names and tensors, or those under 'state_dict' or 'model'."
            )
    prefix = "module."
    if all(key.startswith(prefix) for key in data):
        return {key.removeprefix(prefix): value for key, value in data.items()}
    return dict(data)
