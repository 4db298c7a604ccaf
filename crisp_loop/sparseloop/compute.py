"""Step 2c, computes: what happens to each, by the state of its two operands.

An operand is present, or zero (stored without a format), or left out by its format. Two
present ones are an actual compute; one present and one left out is passed over by a compute
that skips, and costs a cycle otherwise; two left out never reach the hardware.
"""

from __future__ import annotations

from dataclasses import dataclass

from crisp_loop.sparseloop.columns import Floats, Ints, floor, largest, least, negated, ratio
from crisp_loop.sparseloop.legality import Legality
from crisp_loop.sparseloop.parse import Design


@dataclass(slots=True)
class Computes:
    """Totals over all compute units."""

    algorithmic: Ints
    actual: Ints
    skipped: Ints


@dataclass(slots=True)
class _Operand:
    """Probabilities of an operand's three states."""

    present: Floats
    zero: Floats
    left_out: Floats


def filter_computes(
    design: Design,
    total: Ints,
    left: Ints,
    absent: dict[int, Floats],
    compressed: dict[int, bool],
    legality: Legality,
) -> Computes:
    """Split the computes that the storage SAFs leave.

    Args:
        design: The parsed spec.
        total: Dense computes.
        left: Computes that the SAFs of the storage levels leave.
        absent: Input to the probability that its innermost SAF drops it.
        compressed: Input to whether its innermost level has a format.
        legality: Refuses probabilities that Timeloop refuses.
    """
    a_index, b_index = (
        index for index, tensor in enumerate(design.problem.tensors) if not tensor.output
    )
    operands: list[_Operand] = []
    for index, other in ((a_index, b_index), (b_index, a_index)):
        present: Floats = _to_millionths(design.problem.densities[index].of_one_element)
        if other in absent:
            # The SAF on the other operand keeps the computes where this one may be present.
            present = ratio(present, 1 - _to_millionths(absent[other]))
        legality.refuse(
            negated((present > -1e-5) & (present < 1 + 1e-5)),
            "the SAFs leave fewer computes than there are non-zeros of {}; timeloop-model stops at"
            " this rounding of its probabilities",
            design.problem.tensors[index].name,
        )
        gone = _share(1 - present)
        states = (0.0, gone) if compressed[index] else (gone, 0.0)
        operands.append(_Operand(_share(present), *states))
    a, b = operands
    skipped: Ints = 0
    if design.optimizations.skip_compute:
        one_left_out = left * (a.present * b.left_out + a.left_out * b.present)
        no_effect = left * (a.zero * b.left_out + a.left_out * b.zero)
        skipped = floor(one_left_out + no_effect)
    unseen = floor(left * (a.left_out * b.left_out))
    return Computes(total, left - skipped - unseen, skipped)


def _share(values: Floats) -> Floats:
    """``values``, at least 0 and at most 1."""
    return least(largest(values, 0.0), 1.0)


def _to_millionths(values: Floats) -> Floats:
    """As Timeloop rounds densities before it divides them: half up."""
    return floor(values * 1e6 + 0.5) / 1e6
