"""timeloop-model's ways to fail, each told in one sentence.

The tool ends with ``exit(1)`` and an ``ERROR:`` line, or with an uncaught C++ exception or a
failed assertion (SIGABRT), often without a word on which part of the spec it was reading.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

from crisp_loop.core.errors import CrispLoopError


class EvaluationError(CrispLoopError):
    """A spec that timeloop-model did not evaluate.

    Args:
        spec: The spec's file or directory.
        cause: What went wrong and what would be right, as a clause.
        rerun: A shell command that repeats the call.
        log: The file with all that the tool printed.
    """

    def __init__(self, spec: str, cause: str, rerun: str, log: str) -> None:
        self.spec = spec
        self.cause = cause
        self.rerun = rerun
        self.log = log
        super().__init__(
            f"{spec} was not evaluated by timeloop-model: {cause}; log {log}; rerun: {rerun}"
        )


_BLOCK_SIZE = (
    "check that every level's width/datawidth is 2, 4, 8, 16 or 32 words, and that the names"
    " of tensors and dimensions in mapping, projections and sparse_optimizations are those of"
    " problem.shape"
)

_CAUSES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (
        r"couldn't map level (\S+): mapped tile size (\d+) exceeds buffer capacity (\d+)",
        lambda m: (
            f"the tiles kept at {m[1]} hold {m[2]} words, more than its capacity of {m[3]};"
            " choose smaller factors for the levels inside, or let a tensor bypass it"
        ),
    ),
    (
        r"couldn't map level (\S+): Required fanout([XY]) (\d+) does not meet hardware"
        r" constraint (\d+)",
        lambda m: (
            f"the mapping spreads {m[3]} instances of {m[1]} along {m[2]}, but mesh{m[2]}"
            f" gives {m[4]}; check the spatial factors, their split, and the density"
            " if skipping_spatial is to bring them down"
        ),
    ),
    (
        r"couldn't map level (\S+): more compression ranks needed.*dataspace name: (\S+)",
        lambda m: (
            f"{m[2]} has more non-trivial loops at {m[1]} than representation_format has ranks;"
            " give it one rank for each such loop"
        ),
    ),
    (
        r"couldn't map level (\S+): runtime partition needed",
        lambda m: (
            f"the ranks of a tensor at {m[1]} are not those of its loops there and inside;"
            " give it one rank for each non-trivial loop"
        ),
    ),
    (r"couldn't map level (\S+): ([^\n]+)", lambda m: f"level {m[1]} cannot be mapped: {m[2]}"),
    (
        r"do not support lower rank uncompressed, upper rank compressed formats",
        lambda m: (
            "a compressed rank stands above an uncompressed one in a representation_format;"
            " use CP with 0 bits for the ranks below it instead of UOP"
        ),
    ),
    (
        r"target storage level not found: (\S+)",
        lambda m: (
            f"the mapping or sparse_optimizations name the level {m[1]}, which the"
            " architecture does not have"
        ),
    ),
    (
        r"cannot find spatial tiling level associated with\s+storage level (\S+?)\.",
        lambda m: f"the mapping has spatial factors at {m[1]}, but there is no fan-out below it",
    ),
    (
        r"product of all factors of dimension (\S+) is (\d+), which is not equal to the"
        r" dimension size of the workload (\d+)",
        lambda m: (
            f"the mapping's factors of {m[1]} multiply to {m[2]}, but the problem has"
            f" {m[1]} = {m[3]}"
        ),
    ),
    (
        r"dimension (\S+) not found in problem shape",
        lambda m: f"the mapping has factors of {m[1]}, which problem.shape does not have",
    ),
    (
        r"storage action optimization type not recognized",
        lambda m: (
            "an action_optimization has an unknown type; the known ones are gating, skipping"
            " and skipping_spatial"
        ),
    ),
    (
        r"unrecognized metadata format name: (\S+)",
        lambda m: f"the rank format {m[1]} is unknown; the known ones are UOP, CP, B, UB and RLE",
    ),
    (
        r"unrecognized density distribution type: (\S+)",
        lambda m: (
            f"the density distribution {m[1]} is unknown; the known ones are fixed_structured,"
            " hypergeometric and banded"
        ),
    ),
    (
        r"ParseWorkloadInstance.*Assertion",
        lambda m: "problem.instance does not give the size of every dimension of problem.shape",
    ),
    (
        r"ParseAccelergyERT.*Assertion|Invalid Accelergy ERT version",
        lambda m: "ERT needs version 0.2, 0.3 or 0.4 and tables, each with name and actions",
    ),
    (
        r"ParseAccelergyART.*Assertion",
        lambda m: "ART needs version 0.3 or 0.4 and tables, each with name and area",
    ),
    (
        r"meshX\.Get\(\) \* specs\.meshY\.Get\(\)\s*== specs\.instances",
        lambda m: "the meshX and meshY of a level do not multiply to its number of instances",
    ),
    (
        r"Assertion [`'](.+)' failed",
        lambda m: f"an internal check failed ({m[1]})",
    ),
    (r"what\(\):\s+map::at", lambda m: f"it looked up something that is not there; {_BLOCK_SIZE}"),
    (
        r"'nodes' found as a sub-key in the architecture",
        lambda m: (
            "the architecture is written for the v0.4 front end (nodes);"
            " expected v0.3 (subtree and local)"
        ),
    ),
    (
        r"key not found: ([^,\n]+)",
        lambda m: f"the spec lacks the key {m[1]}",
    ),
    (
        r"YAML::InvalidNode|invalid node",
        lambda m: "the spec lacks a key that it needs, or has a plain value in place of a list",
    ),
    (
        r"Cannot find (\S+) for (\S+) under root key: variables\s+ERROR: bad conversion",
        lambda m: f"the value {m[1]} of {m[2]} is not a number",
    ),
    (
        r"bad conversion, at line: (\d+)",
        lambda m: f"a value has the wrong type, near line {m[1]} of the input",
    ),
    (
        r"error while loading shared libraries: ([^\n]+)",
        lambda m: f"the tool cannot start, a library is missing: {m[1]}",
    ),
    (r"^ERROR: ([^\n]+)", lambda m: m[1].rstrip(". ")),
    (r"what\(\):\s+([^\n]+)", lambda m: m[1].rstrip(". ")),
    (r"^(?:\w+\.)*(\w*(?:Error|Exception)): ([^\n]+)", lambda m: f"{m[1]}: {m[2].rstrip('. ')}"),
]
"""(pattern in the log, its sentence), the most telling first."""


def explain(log: str, status: int) -> str:
    """Why a call failed, as a clause without its full stop.

    Args:
        log: What the tool printed, on both outputs.
        status: Its exit status; negative for a signal.
    """
    for pattern, cause in _CAUSES:
        if match := re.search(pattern, log, re.MULTILINE):
            return cause(match)
    if status < 0:
        try:
            how = f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            how = f"was ended by signal {-status}"
    else:
        how = f"ended with status {status}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = f", its last words: {lines[-1][:200]}" if lines else " and said nothing"
    return f"it {how}{last}"
