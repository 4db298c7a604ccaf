"""What timeloop-model says of a spec, read from its stats file, and how to hold the engine to it.

A parser of the tests' own, so that the engine is not judged by code it shares.
"""

from __future__ import annotations

import re
from typing import Any

from crisp_loop.core.evaluation import Evaluation

Expected = dict[str, Any]
KINDS = ("reads", "fills", "updates")


def expected_of(stats: str) -> Expected:
    """The figures of one ``timeloop-model.stats.txt`` as plain data."""
    body, rest = stats.split("\nNetworks\n")
    expected: Expected = {"levels": {}}
    for block in re.split(r"^Level \d+\n-+\n", body, flags=re.M)[1:]:
        name = _found(r"=== (\S+) ===", block)
        figures = block.split("    STATS\n    -----\n")[1]
        if "Computes (total)" in figures:
            expected["compute"] = {"name": name, **_compute(figures)}
        else:
            expected["levels"][name] = _level(figures)
    expected["cycles"] = int(_found(r"^Cycles: (\d+)", rest))
    # ``Energy:`` has two decimals; energy per compute times computes has more digits.
    computes = r"Computes = (\d+)\nfJ/\S+\n(?:    .*\n)*?    Total +=\s*([\d.]+)"
    count, total = re.findall(computes, rest)[0]
    expected["energy_uJ"] = int(count) * float(total) * 1e-9
    return expected


def sound(stats: str) -> bool:
    """Whether a stats file holds figures, not the 0 cycles or nan of a spec that Timeloop should
    have refused."""
    figures = r"(Energy \(total\) *:|Total *=|Cycles *:) *-?(nan|inf)|^Cycles: 0$"
    return re.search(figures, stats, flags=re.M) is None


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, flags=re.M)
    assert match, pattern
    return match[1]


def _value(name: str, text: str) -> float:
    return float(_found(rf"^\s*{re.escape(name)}\s*: ([\d.]+)", text))


def _compute(text: str) -> Expected:
    sparse = "Actual Computes (total)" in text
    names = {
        "cycles": "Cycles",
        "algorithmic": "Algorithmic Computes (total)" if sparse else "Computes (total)",
        "actual": "Actual Computes (total)" if sparse else "Computes (total)",
        "energy_pJ": "Energy (total)",
    }
    if sparse:
        names["skipped"] = "Skipped Computes (total)"
        names["utilized_instances"] = "Utilized instances (average)"
    return {key: _value(name, text) for key, name in names.items()}


def _level(text: str) -> Expected:
    parts = re.split(r"^    (\w):\n", text, flags=re.M)
    tensors = zip(parts[1::2], parts[2::2], strict=True)
    return {
        "cycles": _value("Cycles", text),
        "throttling": _value("Bandwidth throttling", text),
        "tensors": {name: _tensor(body) for name, body in tensors},
    }


def _tensor(text: str) -> Expected:
    figures: Expected = {
        "energy_pJ": _value("Energy (total)", text),
        "temporal_reductions": _value("Temporal reductions (per-instance)", text),
    }
    if "Algorithmic scalar reads" not in text:  # a dense design prints less
        figures["utilized_capacity"] = _value("Utilized capacity", text)
        for kind in KINDS:
            count = int(_value(f"Scalar {kind} (per-instance)", text))
            figures[kind] = [count, count, 0, 0]
        return figures
    figures["tile_shape"] = _value("Data tile shape", text)
    figures["utilized_capacity"] = _value("Max utilized data storage capacity", text)
    figures["instances"] = _value("Utilized instances (average)", text)
    for kind in KINDS:
        figures[kind] = [
            int(_value(f"{sort} scalar {kind} (per-instance)", text))
            for sort in ("Algorithmic", "Actual", "Gated", "Skipped")
        ]
        title = re.escape(f"Actual scalar format {kind} (per-instance)")
        ranks = re.search(rf"{title} *\n((?: +Rank .*\n)+)", text)
        words = re.findall(r"\((\d+),\s+(\d+)\)", ranks[1]) if ranks else []
        figures[f"format_{kind}"] = [[int(a), int(b)] for a, b in reversed(words)]
    return figures


def differences(found: Evaluation, expected: Expected) -> list[str]:
    """Where the engine says something else; counts must be equal, energies up to print."""
    differing: list[str] = []

    def same(what: str, mine: object, theirs: object) -> None:
        if mine != theirs:
            differing.append(f"{what}: engine {mine}, timeloop-model {theirs}")

    def close(what: str, mine: float, theirs: float, printed: float) -> None:
        if abs(mine - theirs) > printed + 1e-9 * abs(theirs):
            differing.append(f"{what}: engine {mine}, timeloop-model {theirs}")

    same("cycles", found.cycles, expected["cycles"])
    per_compute = 0.0051e-9 * found.compute.algorithmic
    close("energy", found.energy_uJ, expected["energy_uJ"], per_compute)
    for key, value in expected["compute"].items():
        mine = getattr(found.compute, key)
        if key == "energy_pJ":
            close("compute energy", mine, value, 0.0051)
        else:
            same(f"compute {key}", mine, value)
    for level in found.levels:
        if level.name not in expected["levels"]:
            same(f"{level.name} energy", level.energy_pJ, 0.0)  # such levels are not printed
            continue
        theirs = expected["levels"][level.name]
        same(f"{level.name} cycles", level.cycles, theirs["cycles"])
        close(f"{level.name} throttling", level.throttling, theirs["throttling"], 0.0051)
        same(f"{level.name} tensors", sorted(level.tensors), sorted(theirs["tensors"]))
        for name, tensor in level.tensors.items():
            for key, value in theirs["tensors"].get(name, {}).items():
                mine = getattr(tensor, key)
                where = f"{level.name}.{name} {key}"
                if key in KINDS:
                    same(where, [mine.algorithmic, mine.actual, mine.gated, mine.skipped], value)
                elif key.startswith("format_"):
                    same(where, [list(rank) for rank in mine.ranks], value)
                elif key in ("energy_pJ", "instances"):
                    close(where, mine, value, 0.0051)
                else:
                    same(where, mine, value)
    return differing
