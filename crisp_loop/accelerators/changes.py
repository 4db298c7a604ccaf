"""Single fields of a design's data, changed by their paths."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crisp_loop.core.errors import InputError


def changed(data: dict[str, Any], changes: Mapping[str, Any], where: Path | str) -> dict[str, Any]:
    """A copy of ``data`` with every path of ``changes`` set to its value.

    A path goes by keys, by names in lists of things with names, and by numbers in other lists
    (``dataflow.0.dims.K``); it may start at a level or the compute unit (``SMEM.read_bandwidth``)
    for short. What it ends at need not be in the file: most fields have defaults.

    Args:
        data: An arch file, whole.
        changes: Path to value.
        where: The file, for messages.

    Raises:
        InputError: a path that leads nowhere.
    """
    result = copy.deepcopy(data)
    for path, value in changes.items():
        *way, last = _whole(path.split("."), result)
        place: Any = result
        for step in way:
            place = _entered(place, step, path, where)
        if isinstance(place, list):
            place[_index(place, last, path, where)] = copy.deepcopy(value)
        elif isinstance(place, dict):
            place[last] = copy.deepcopy(value)
        else:
            raise InputError(where, f"set.{path}", value, f"{way[-1]} is a value without fields")
    return result


def value_at(data: dict[str, Any], path: str) -> Any:
    """What ``data`` says at a path of :func:`changed`; None where it says nothing."""
    place: Any = data
    try:
        for step in _whole(path.split("."), data):
            place = _entered(place, step, path, "")
    except InputError:
        return None
    return place


def _whole(path: list[str], data: dict[str, Any]) -> list[str]:
    """The path from the top: levels and the compute unit may stand for themselves."""
    first = path[0]
    if first in data or len(path) == 1:
        return path
    if first in _names(data.get("levels")):
        return ["levels", *path]
    compute = data.get("compute")
    if isinstance(compute, dict) and compute.get("name") == first:
        return ["compute", *path[1:]]
    return path


def _entered(place: Any, step: str, path: str, where: Path | str) -> Any:
    if isinstance(place, list):
        return place[_index(place, step, path, where)]
    if isinstance(place, dict):
        if step in place:
            return place[step]
        known = [*place, *_names(place.get("levels"))]
        raise InputError(where, f"set.{path}", step, f"expected one of {', '.join(known)}")
    raise InputError(where, f"set.{path}", step, "what stands before it is a value without fields")


def _index(items: list[Any], step: str, path: str, where: Path | str) -> int:
    names = _names(items)
    if step in names:
        return names.index(step)
    if step.isdecimal() and int(step) < len(items):
        return int(step)
    known = ", ".join(names) if any(names) else f"a number below {len(items)}"
    raise InputError(where, f"set.{path}", step, f"expected {known}")


def _names(items: Any) -> list[str]:
    """Names of a list's items; empty for those without one."""
    if not isinstance(items, list):
        return []
    return [str(item.get("name", "")) if isinstance(item, dict) else "" for item in items]
