"""What is checked before any engine runs.

timeloop-model aborts on most of these with an assertion, and on some not at all. Each check names
the file, the field and what would be right. What they do not see is translated from the tool's
words (:mod:`crisp_loop.tools.failures`).
"""

from __future__ import annotations

from crisp_loop.core.spec import Spec
from crisp_loop.cost.preflight.energies import check_energies
from crisp_loop.cost.preflight.formats import (
    check_features,
    check_rank_count,
    check_rank_order,
    check_word_bits,
)
from crisp_loop.cost.preflight.hardware import check_blocks, check_instances, check_strings
from crisp_loop.cost.preflight.legality import check_mapping
from crisp_loop.cost.preflight.loops import check_factors, check_fanout

_CHECKS = (
    check_strings,
    check_blocks,
    check_instances,
    check_factors,
    check_fanout,
    check_rank_order,
    check_rank_count,
    check_features,
)


def check_spec(spec: Spec) -> tuple[str, ...]:
    """Warnings about a spec, a sentence each.

    Raises:
        CrispLoopError: a part that no engine can use.
    """
    for check in _CHECKS:
        check(spec)
    return (*check_energies(spec), *check_word_bits(spec))


__all__ = ["check_energies", "check_mapping", "check_spec"]
