"""Layers written out in YAML: a list of entries, or ``model`` and ``layers``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from crisp_loop.core.bounded import Rows
from crisp_loop.core.errors import InputError
from crisp_loop.core.files import read_yaml, validated
from crisp_loop.core.layers import LayerTable
from crisp_loop.layers.entries import LayerEntry


class LayerList(BaseModel):
    """A file with a list of layers."""

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    """What to call the network; the file's name without one."""
    layers: Rows[LayerEntry]


def read(path: Path) -> LayerTable:
    """The layers of a YAML list.

    Raises:
        CrispLoopError: a missing file, an unknown key or a value that cannot be used.
    """
    data = read_yaml(path, "layer file")
    if not isinstance(data, list | dict):
        raise InputError(path, "", data, "expected a list of layers, or model and layers")
    listed = validated({"layers": data} if isinstance(data, list) else data, LayerList, path)
    return table(listed.model or path.stem, listed.layers)


def table(model: str, entries: tuple[LayerEntry, ...]) -> LayerTable:
    """The layer table of a list of entries; its parameters are the weights."""
    layers = tuple(layer for entry in entries for layer in entry.layers())
    return LayerTable(model, sum(layer.weights for layer in layers), layers)
