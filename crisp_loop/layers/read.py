"""One door for every kind of layer file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import input_error, is_directory, is_file, read_json
from crisp_loop.core.layers import Layer, LayerTable
from crisp_loop.layers import csv_list, onnx_graph, timeloop_problem, yaml_list

_KNOWN = ".yaml, .csv, .json, .onnx, or a directory of Timeloop problem files"
MOST_MACS = 2**62
"""Multiply-accumulates that counts of 64 bits can hold with room to spare."""


def read_layers(path: Path) -> LayerTable:
    """The layers in ``path``, whatever kind of file it is.

    ========================= ===================================================================
    ``.yaml`` with ``problem`` one Timeloop problem, v0.3 or v0.4
    ``.yaml`` else             a list of layers (:mod:`crisp_loop.layers.entries`)
    ``.csv``                   the same, one a line
    ``.json``                  a table as ``crisp-loop layers NAME --json`` prints it
    ``.onnx``                  the graph's convolutions and matrix products (needs ``onnx``)
    a directory                the Timeloop problems in it and below, in order of their names
    ========================= ===================================================================

    Raises:
        CrispLoopError: no such file, a kind that is unknown, or a value that cannot be used; the
            message names file and field.
    """
    try:
        table = _read(path)
    except ValidationError as error:  # a layer that the rest of the package could not take
        raise input_error(error, Layer, path) from None
    seen: set[str] = set()
    for layer in table.layers:
        if layer.name in seen:
            raise InputError(path, "name", layer.name, "two layers are called so")
        seen.add(layer.name)
        if layer.macs > MOST_MACS:
            raise InputError(
                path, layer.name, layer.macs, "expected at most 2^62 multiply-accumulates"
            )
    if not table.layers:
        raise CrispLoopError(f"{path} holds no layers; expected at least one.")
    return table


def _read(path: Path) -> LayerTable:
    if is_directory(path):
        return _directory(path)
    match path.suffix.lower():
        case ".yaml" | ".yml":
            if timeloop_problem.looks_like_one(path):
                layer = timeloop_problem.read(path)
                return _listed(path.stem, [layer])
            return yaml_list.read(path)
        case ".csv":
            return csv_list.read(path)
        case ".json":
            return read_json(path, LayerTable, "layer table")
        case ".onnx":
            return onnx_graph.read(path)
    if not is_file(path):
        raise CrispLoopError(f"{path}: no such layer file.")
    raise InputError(path, "", path.suffix, f"the known kinds of layer file are {_KNOWN}")


def _directory(path: Path) -> LayerTable:
    files = [file for file in path.rglob("*") if file.suffix in (".yaml", ".yml") and is_file(file)]
    problems = [file for file in files if timeloop_problem.looks_like_one(file)]
    layers = [
        replace(timeloop_problem.read(file), name=file.relative_to(path).with_suffix("").as_posix())
        for file in sorted(problems, key=_natural)
    ]
    if not layers:
        raise CrispLoopError(
            f"{path} holds no Timeloop problems; expected .yaml files with problem."
        )
    return _listed(path.resolve().name, layers)


def _listed(model: str, layers: list[Layer]) -> LayerTable:
    return LayerTable(model, sum(layer.weights for layer in layers), tuple(layers))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts ``layer10`` behind ``layer9``."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
