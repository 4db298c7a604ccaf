"""Widths and instances of the architecture, which timeloop-model asserts or looks up in tables."""

from __future__ import annotations

from crisp_loop.core.errors import InputError
from crisp_loop.core.spec import Spec
from crisp_loop.cost.preflight.view import WIDTH, WORD_BITS, components, get, mappings

_BLOCKS = (1, 2, 4, 8, 16, 32)
"""Words of a block for which Sparseloop knows how compressed data is packed; else ``map::at``."""


def check_blocks(spec: Spec) -> None:
    """A block is whole words; on a sparse design, a number of them that Sparseloop knows."""
    sparse = "sparse_optimizations" in spec.sections
    for part in components(spec):
        width, word = part.number(WIDTH), part.number(WORD_BITS)
        if part.compute or not width or not word:
            continue
        path, value = part.attribute(WIDTH)
        where = spec.where("architecture")
        if width % word:
            raise InputError(where, path, value, f"expected a multiple of the word, {word} bits")
        if sparse and width // word not in _BLOCKS:
            widths = ", ".join(str(word * block) for block in _BLOCKS)
            raise InputError(
                where, path, value,
                f"a block would be {width // word} words; Sparseloop takes 1, 2, 4, 8, 16 or 32,"
                f" so expected {widths}",
            )  # fmt: skip


def check_instances(spec: Spec) -> None:
    """``meshX`` x ``meshY`` is the number of instances that the names' ranges give."""
    for part in components(spec):
        x, y = part.number(("meshX",)), part.number(("meshY",))
        where = spec.where("architecture")
        if x and part.instances % x:
            path, value = part.attribute(("meshX",))
            raise InputError(
                where, path, value, f"it does not divide the {part.instances} instances"
            )
        if x and y and x * y != part.instances:
            path, value = part.attribute(("meshY",))
            expected = f"with meshX {x} and {part.instances} instances, expected "
            raise InputError(where, path, value, f"{expected}{part.instances // x}")


def check_strings(spec: Spec) -> None:
    """Sizes are numbers, and names are strings: ``"256"`` is none and ``45`` no technology."""
    sizes = (*WIDTH, *WORD_BITS, "depth", "memory_depth", "data_storage_depth", "meshX", "meshY")
    for part in components(spec):
        for name in (*sizes, "metadata_storage_width", "metadata_storage_depth"):
            value = part.attributes.get(name)
            if isinstance(value, str):
                path = f"{part.path}.attributes.{name}"
                raise InputError(
                    spec.where("architecture"), path, value, "expected a number without quotes"
                )
    for index, node in mappings(get(spec.sections.get("architecture"), "subtree")):
        technology = get(node.get("attributes"), "technology")
        if isinstance(technology, int | float):
            raise InputError(
                spec.where("architecture"),
                f"architecture.subtree[{index}].attributes.technology",
                technology,
                f'expected a string in quotes with its unit, "{technology}nm"',
            )
