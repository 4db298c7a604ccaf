"""Representation formats and SAFs: rank order, rank count, word bits, mixed features."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from crisp_loop.core.errors import InputError
from crisp_loop.core.spec import Spec
from crisp_loop.cost.preflight.loops import directives
from crisp_loop.cost.preflight.view import METADATA_WIDTH, Component, components, get, mappings
from crisp_loop.sparseloop.optimizations import stored_bits

_TYPES = ("gating", "skipping", "skipping_spatial")


def _targets(spec: Spec) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, target) of the sparse optimizations."""
    section = spec.sections.get("sparse_optimizations")
    for index, target in mappings(get(section, "targets")):
        yield f"sparse_optimizations.targets[{index}]", target


def _formats(spec: Spec) -> Iterator[tuple[str, str, str, list[dict[str, Any]], bool]]:
    """(path, level, tensor, ranks innermost first, whether they are listed so)."""
    for path, target in _targets(spec):
        spaces = get(target.get("representation_format"), "data_spaces")
        for index, space in mappings(spaces):
            # Timeloop lists the top rank first, whatever the order of their application.
            ranks = [rank for _, rank in mappings(space.get("ranks"))]
            yield (
                f"{path}.representation_format.data_spaces[{index}]",
                str(target.get("name", "")),
                str(space.get("name", "")),
                ranks[::-1],
                space.get("rank_application_order") == "inner_to_outer",
            )


def check_rank_order(spec: Spec) -> None:
    """No compressed rank above an uncompressed one, which Sparseloop cannot represent."""
    for path, level, tensor, ranks, _ in _formats(spec):
        for inner, outer in pairwise(ranks):
            above, below = str(outer.get("format")).upper(), str(inner.get("format")).upper()
            if below in ("UOP", "U") and above not in ("UOP", "U"):
                raise InputError(
                    spec.where("sparse_optimizations"),
                    f"{path}.ranks[{len(ranks) - 1 - ranks.index(inner)}].format",
                    inner.get("format"),
                    f"{tensor} at {level} has {above} above it, and a compressed rank cannot stand"
                    " above an uncompressed one; expected CP with 0 bits",
                )


def check_rank_count(spec: Spec) -> None:
    """A rank for each non-trivial loop over the tensor at the level and further in."""
    axes = _axes(spec)
    names = [part.name for part in components(spec) if not part.compute]
    loops = list(directives(spec))
    for path, level, tensor, ranks, ordered in _formats(spec):
        if level not in names or tensor not in axes or not ordered:
            continue
        inside = names[names.index(level) :]
        count = sum(
            factor > 1 and dim in axes[tensor]
            for each in loops
            if each.target in inside
            for dim, factor in each.factors.items()
        )
        groups = sum(bool(rank.get("flattened_rankIDs")) for rank in ranks)
        if count > len(ranks) and not groups:
            raise InputError(
                spec.where("sparse_optimizations"),
                f"{path}.ranks",
                [rank.get("format") for rank in ranks],
                f"{tensor} has {count} loops at {level} and inside, and {len(ranks)} ranks;"
                " expected a rank for each",
            )


def check_word_bits(spec: Spec) -> tuple[str, ...]:
    """Warnings where metadata words grow: their bits are rounded up until they divide the width.

    Raises:
        InputError: a word is wider than the metadata store.
    """
    parts = {part.name: part for part in components(spec)}
    told: dict[tuple[str, int], str] = {}
    for path, level, tensor, ranks, _ in _formats(spec):
        width = parts[level].number(METADATA_WIDTH) if level in parts else None
        if not width:
            continue
        for index, rank in enumerate(ranks):
            for key in ("metadata_word_bits", "payload_word_bits"):
                bits = rank.get(key)
                if not isinstance(bits, int) or bits < 1:
                    continue
                if bits > width:
                    raise InputError(
                        spec.where("sparse_optimizations"),
                        f"{path}.ranks[{len(ranks) - 1 - index}].{key}",
                        bits,
                        f"the metadata store of {level} is {width} bits wide",
                    )
                stored = stored_bits(bits, width)
                if stored > bits:
                    told[level, bits] = (
                        f"metadata words of {bits} bits ({tensor}) take {stored} at {level},"
                        f" the next divisor of its {_shown(parts[level])} of {width}."
                    )
    return tuple(told.values())


def _shown(part: Component) -> str:
    return part.attribute(METADATA_WIDTH)[0].rsplit(".", 1)[-1]


def check_features(spec: Spec) -> None:
    """One level skips either in time or in space, by known names."""
    for path, target in _targets(spec):
        kinds: list[str] = []
        for index, action in mappings(target.get("action_optimization")):
            kind = str(action.get("type"))
            field = f"{path}.action_optimization[{index}].type"
            if kind not in _TYPES:
                raise InputError(
                    spec.where("sparse_optimizations"), field, kind,
                    f"expected one of {', '.join(_TYPES)}",
                )  # fmt: skip
            if kinds and ("skipping_spatial" in (kind, kinds[0])) and kind != kinds[0]:
                raise InputError(
                    spec.where("sparse_optimizations"), field, kind,
                    f"{target.get('name')} has {kinds[0]} already, and one level cannot do both",
                )  # fmt: skip
            kinds.append(kind)


def _axes(spec: Spec) -> dict[str, set[str]]:
    """Dimensions of each tensor."""
    shape = get(spec.sections.get("problem"), "shape")
    found: dict[str, set[str]] = {}
    for _, space in mappings(get(shape, "data_spaces")):
        projection = space.get("projection")
        if isinstance(projection, list):
            found[str(space.get("name"))] = set(_names(projection))
    return found


def _names(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _names(each)
    else:
        yield str(node)
