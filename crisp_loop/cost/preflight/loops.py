"""The mapping against the problem and the hardware: factors, targets, spatial fanout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from crisp_loop.core.errors import InputError
from crisp_loop.core.spec import Spec
from crisp_loop.cost.preflight.view import components, get, mappings

_KINDS = ("temporal", "spatial")


@dataclass(frozen=True)
class Directive:
    """One temporal or spatial entry of the mapping."""

    path: str
    target: str
    kind: str
    factors: dict[str, int]
    """Loop bound a dimension, in the order given."""
    order: str
    """The dimensions, innermost first; empty where the spec does not say."""
    split: int | None


def directives(spec: Spec) -> Iterator[Directive]:
    """The loops of the mapping; entries with factors in another form are passed over."""
    for index, entry in mappings(spec.sections.get("mapping")):
        factors = _factors(entry.get("factors"))
        if entry.get("type") in _KINDS and factors is not None:
            split = entry.get("split")
            yield Directive(
                path=f"mapping[{index}]",
                target=str(entry.get("target", "")),
                kind=str(entry["type"]),
                factors=factors,
                order="".join(re.findall(r"\w", str(entry.get("permutation", "")))),
                split=split if isinstance(split, int) else None,
            )


def _factors(given: Any) -> dict[str, int] | None:
    words = given if isinstance(given, list) else str(given or "").replace(",", " ").split()
    found = {}
    for word in words:
        match = re.fullmatch(r"\s*(\w+?)\s*=?\s*(\d{1,18})\s*", str(word))
        if not match:
            return None
        found[match[1]] = int(match[2])
    return found


def check_factors(spec: Spec) -> None:
    """Every dimension's factors multiply to its size, and every target is a level."""
    instance = get(spec.sections.get("problem"), "instance")
    levels = [part.name for part in components(spec) if not part.compute]
    where = spec.where("mapping")
    found = list(directives(spec))
    for each in found:
        if levels and each.target not in levels:
            raise InputError(
                where, f"{each.path}.target", each.target, f"expected one of {', '.join(levels)}"
            )
    if not isinstance(instance, dict):
        return
    shape = get(spec.sections.get("problem"), "shape")
    dimensions = get(shape, "dimensions")
    if len(found) < sum(
        entry.get("type") in _KINDS for _, entry in mappings(spec.sections.get("mapping"))
    ):
        return  # factors in a form that only the tool reads
    for dim in dimensions if isinstance(dimensions, list) else ():
        size = get(instance, dim) if isinstance(dim, str) else None
        if not isinstance(size, int):
            continue
        product = prod(each.factors.get(dim, 1) for each in found)
        if product != size:
            last = next((each for each in reversed(found) if each.factors.get(dim, 1) > 1), None)
            path = f"{last.path}.factors" if last else "mapping"
            shown = f"{dim}={last.factors[dim]}" if last else f"{dim}=1"
            raise InputError(
                where, path, shown,
                f"the factors of {dim} multiply to {product}, expected {size} as in problem",
            )  # fmt: skip


def check_fanout(spec: Spec) -> None:
    """Spatial factors fit the instances below their level; skipping may bring them down."""
    parts = list(components(spec))
    names = [part.name for part in parts]
    skipping = _skips_spatially(spec)
    for each in directives(spec):
        if each.kind != "spatial" or each.target not in names or each.target in skipping:
            continue
        at = names.index(each.target)
        if at + 1 >= len(parts) or not parts[at].instances:
            continue
        available = parts[at + 1].instances // parts[at].instances
        needed = prod(each.factors.values())
        if needed > available:
            shown = " ".join(f"{dim}={factor}" for dim, factor in each.factors.items())
            raise InputError(
                spec.where("mapping"), f"{each.path}.factors", shown,
                f"they spread over {needed} instances of {names[at + 1]}, and"
                f" {each.target} has {available} below it",
            )  # fmt: skip


def _skips_spatially(spec: Spec) -> set[str]:
    found = set()
    for _, target in mappings(get(spec.sections.get("sparse_optimizations"), "targets")):
        for _, action in mappings(target.get("action_optimization")):
            if action.get("type") == "skipping_spatial":
                found.add(str(target.get("name")))
    return found
