"""Timeloop problem files, v0.3 and v0.4, whatever their dimensions are called.

A problem that is a matrix product tells by its projections which dimension is which: one that
weights and outputs have and inputs have not counts rows, and so on. CNN and GEMM shapes with
groups, batch, strides, more or fewer spatial dimensions all follow from this one rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import parse_yaml, read_text
from crisp_loop.core.layers import Layer
from crisp_loop.core.safe_yaml import LONGEST_TEXT
from crisp_loop.layers.entries import LARGEST

_INCLUDE = re.compile(r"\{\{\s*include_text\(\s*['\"]([^'\"]*)['\"]\s*\)\s*\}\}")
"""timeloopfe's way to put another file's text in this place; all of Jinja that is known here."""
_WEIGHT_NAMES = ("weights", "weight", "filters", "filter", "a")
_CNN: dict[str, Any] = {
    "dimensions": ["R", "S", "P", "Q", "C", "K", "N"],
    "coefficients": [
        {"name": name, "default": 1} for name in ("Wstride", "Hstride", "Wdilation", "Hdilation")
    ],
    "data_spaces": [
        {"name": "Weights", "projection": [[["C"]], [["K"]], [["R"]], [["S"]]]},
        {
            "name": "Inputs",
            "projection": [
                [["N"]],
                [["C"]],
                [["R", "Wdilation"], ["P", "Wstride"]],
                [["S", "Hdilation"], ["Q", "Hstride"]],
            ],
        },
        {"name": "Outputs", "projection": [[["N"]], [["K"]], [["Q"]], [["P"]]], "read_write": True},
    ],
}
_GEMM: dict[str, Any] = {
    "dimensions": ["M", "N", "K"],
    "data_spaces": [
        {"name": "A", "projection": [[["M"]], [["K"]]]},
        {"name": "B", "projection": [[["N"]], [["K"]]]},
        {"name": "Z", "projection": [[["M"]], [["N"]]], "read_write": True},
    ],
}
_BUILT_IN = {"cnn_layer": _CNN, "gemm_abz": _GEMM, "gemm": _GEMM}
"""Shapes that Timeloop knows by name."""


def looks_like_one(path: Path) -> bool:
    """Whether a YAML file has a ``problem``; a glance at its text, which may not be valid."""
    return (
        re.search(r"^problem\s*:", read_text(path, "layer file", LONGEST_TEXT), re.MULTILINE)
        is not None
    )


def read(path: Path) -> Layer:
    """The layer of one problem file, named after the file.

    ``{{include_text('...')}}`` takes a .yaml file of the same directory or the one above, and
    ``<<<`` merges as timeloopfe does. Densities in the file are left out: the pattern is asked for
    apart. Products of two activations look like layers with weights here, and are read so.

    Raises:
        CrispLoopError: a missing file, or a problem that is no matrix product.
    """
    data = parse_yaml(_included(read_text(path, "layer file", LONGEST_TEXT), path), path)
    problem = _merged(data.get("problem") if isinstance(data, dict) else data, path, {})
    if not isinstance(problem, dict):
        raise InputError(path, "problem", problem, "expected a mapping with shape and instance")
    shape = problem.get("shape", "cnn_layer")
    if isinstance(shape, str):
        name = shape.removesuffix(".yaml").removesuffix(".cfg").replace("-", "_").lower()
        if name not in _BUILT_IN:
            raise InputError(path, "problem.shape", shape, f"the known ones are {_names()}")
        shape = _BUILT_IN[name]
    instance = problem.get("instance", {k: v for k, v in problem.items() if k != "shape"})
    if not isinstance(instance, dict):
        raise InputError(path, "problem.instance", instance, "expected a size for each dimension")
    return _layer(path.stem, _Shape.of(shape, path), instance, path)


def _names() -> str:
    return ", ".join(sorted(_BUILT_IN))


def _included(text: str, path: Path) -> str:
    room = LONGEST_TEXT

    def replaced(match: re.Match[str]) -> str:
        try:
            target = (path.parent / match[1]).resolve()
        except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL
            target = Path()
        allowed = (path.parent.resolve(), path.parent.resolve().parent)
        if target.parent not in allowed or target.suffix not in (".yaml", ".yml"):
            raise InputError(
                path, "include_text", match[1],
                "expected a .yaml file of the same directory or the one above",
            )  # fmt: skip
        nonlocal room
        included = read_text(target, f"file (included by {path})", LONGEST_TEXT)
        room -= len(included)
        if room < 0:
            raise CrispLoopError(f"{path} includes more than {LONGEST_TEXT >> 20} MiB of text.")
        return included

    return _INCLUDE.sub(replaced, text)


def _merged(node: Any, path: Path, done: dict[int, Any]) -> Any:
    """``node`` with every ``<<<`` merged into its mapping, which has the last word.

    ``done`` keeps what was merged: a part that aliases repeat many times is walked once.
    """
    if not isinstance(node, dict | list):
        return node
    if id(node) not in done:
        done[id(node)] = _merged_parts(node, path, done)
    return done[id(node)]


def _merged_parts(node: Any, path: Path, done: dict[int, Any]) -> Any:
    if isinstance(node, list):
        return [_merged(each, path, done) for each in node]
    own = {key: _merged(value, path, done) for key, value in node.items() if key != "<<<"}
    below = node.get("<<<", [])
    for base in below if isinstance(below, list) else [below]:
        own = _over(_merged(base, path, done), own)
    return own


def _over(base: Any, own: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(own, dict):
        return own
    return {**base, **{key: _over(base.get(key), value) for key, value in own.items()}}


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _check_terms(
    spaces: dict[str, list[list[list[str]]]],
    dimensions: tuple[str, ...],
    coefficients: dict[str, int],
) -> None:
    """KeyError where a projection names a dimension or coefficient that the shape has not."""
    for axis in (axis for space in spaces.values() for axis in space):
        for dimension, *factors in axis:
            if dimension not in dimensions or not {*factors} <= coefficients.keys():
                raise KeyError(dimension)


@dataclass(frozen=True)
class _Shape:
    """The part of a shape that matters: which dimensions each tensor has."""

    dimensions: tuple[str, ...]
    coefficients: dict[str, int]
    weights: frozenset[str]
    inputs: frozenset[str]
    outputs: frozenset[str]
    windows: tuple[tuple[tuple[str, str], tuple[str, str]], ...]
    """(output dimension, its coefficient), (kernel dimension, its coefficient) of each input axis
    that is a sum; a coefficient is empty where there is none."""

    @classmethod
    def of(cls, shape: Any, path: Path) -> _Shape:
        where = "problem.shape.data_spaces"
        try:
            spaces = {
                _name(space["name"]): [[[_name(each) for each in term] for term in axis] for axis in
                                     space["projection"]]
                for space in shape["data_spaces"]
            }  # fmt: skip
            written = [_name(s["name"]) for s in shape["data_spaces"] if s.get("read_write")]
            dimensions = tuple(_name(each) for each in shape["dimensions"])
            coefficients = {
                _name(each["name"]): int(each.get("default", 1))
                for each in shape.get("coefficients", ())
            }
            _check_terms(spaces, dimensions, coefficients)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            raise InputError(
                path, "problem.shape", "...",
                "expected dimensions and data_spaces, each with name and projection"
                " (a list of axes, each a list of terms)",
            ) from None  # fmt: skip
        if len(spaces) != 3 or len(written) != 1:
            raise InputError(
                path, where, list(spaces), "expected two inputs and one output (read_write: true)"
            )
        axes = {
            name: {term[0] for axis in space for term in axis} for name, space in spaces.items()
        }
        read = [name for name in spaces if name not in written]
        # Sums of dimensions are an input's windows; else the name tells, else the order.
        read.sort(key=lambda name: any(len(axis) > 1 for axis in spaces[name]))
        read.sort(key=lambda name: name.lower() not in _WEIGHT_NAMES)
        weights, inputs = axes[read[0]], axes[read[1]]
        outputs = axes[written[0]]
        windows = []
        for axis in spaces[read[1]]:
            terms = [(term[0], term[1] if len(term) > 1 else "") for term in axis]
            if len(terms) == 1:
                continue
            made = [term for term in terms if term[0] in outputs - weights]
            taps = [term for term in terms if term[0] in weights - outputs]
            if len(terms) != 2 or len(made) != 1 or len(taps) != 1:
                raise InputError(
                    path, where, [term[0] for term in terms],
                    "a sum of dimensions must have one of the outputs and one of the weights",
                )  # fmt: skip
            windows.append((made[0], taps[0]))
        return cls(
            dimensions, coefficients, frozenset(weights), frozenset(inputs), frozenset(outputs),
            tuple(windows),
        )  # fmt: skip

    def batch(self) -> list[str]:
        """Dimensions of all three tensors: independent products."""
        return [d for d in self.dimensions if d in self.weights & self.inputs & self.outputs]

    def rows(self) -> list[str]:
        """Dimensions of weights and outputs."""
        return [d for d in self.dimensions if d in (self.weights & self.outputs) - self.inputs]

    def reduced(self) -> list[str]:
        """Dimensions of weights and inputs."""
        return [d for d in self.dimensions if d in (self.weights & self.inputs) - self.outputs]

    def columns(self) -> list[str]:
        """Dimensions of inputs and outputs."""
        return [d for d in self.dimensions if d in (self.inputs & self.outputs) - self.weights]


def _layer(name: str, shape: _Shape, instance: dict[Any, Any], path: Path) -> Layer:
    sizes = {dim: _size(instance, dim, 1, path) for dim in shape.dimensions}
    for dim, size in sizes.items():
        tensors = sum(dim in each for each in (shape.weights, shape.inputs, shape.outputs))
        if size > 1 and tensors < 2:
            raise InputError(
                path, f"problem.instance.{dim}", size,
                f"{dim} is in {tensors} of the tensors; a matrix product has it in two or three,"
                " so expected 1",
            )  # fmt: skip
    # Upstream files spell coefficients in either case.
    lowered = {str(key).lower(): key for key in instance}
    factors = {"": 1} | {
        key: _size(instance, lowered.get(key.lower(), key), default, path)
        for key, default in shape.coefficients.items()
    }
    outputs = [made[0] for made, _ in shape.windows]
    taps = [tap[0] for _, tap in shape.windows]
    groups = prod(sizes[dim] for dim in shape.batch())
    kernel = tuple(sizes[dim] for dim in taps)
    made = tuple(sizes[dim] for dim in outputs)
    stride = tuple(factors[made[1]] for made, _ in shape.windows)
    dilation = tuple(factors[tap[1]] for _, tap in shape.windows)
    channels = prod(sizes[dim] for dim in shape.reduced() if dim not in taps)
    sides = zip(made, kernel, stride, dilation, strict=True)
    return Layer(
        name=name,
        kind="conv" if shape.windows else "linear",
        in_channels=groups * channels,
        out_channels=groups * prod(sizes[dim] for dim in shape.rows()),
        kernel=kernel or (1, 1),
        stride=stride or (1, 1),
        padding=(0,) * (len(kernel) or 2),
        dilation=dilation or (1, 1),
        groups=groups,
        input_size=tuple((o - 1) * s + d * (k - 1) + 1 for o, k, s, d in sides) or (1, 1),
        output_size=made or (1, 1),
        batch=prod(sizes[dim] for dim in shape.columns() if dim not in outputs),
    )


def _size(instance: dict[Any, Any], key: str, default: int, path: Path) -> int:
    """A dimension's size; Timeloop takes one that is not given as 1."""
    value = instance.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        expected = f"expected a whole number from 1 to {LARGEST}"
        raise InputError(path, f"problem.instance.{key}", value, expected)
    return value
