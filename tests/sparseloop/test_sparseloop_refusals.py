"""What the engine does not model, and mistakes, are refused in one sentence with the field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crisp_loop.core.errors import CrispLoopError, InputError, UnsupportedError
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.sparseloop import IllegalMappingError, evaluate

GOLDEN = Path(__file__).parents[1] / "golden"
CRISP = load_spec(GOLDEN / "crisp24-b64-conv4-3x3" / "spec.yaml")
DSTC = load_spec(GOLDEN / "dstc-d14-conv2-3x3" / "spec.yaml")
Sections = dict[str, Any]


def storage(sections: Sections, name: str) -> dict[str, Any]:
    node = sections["architecture"]
    while True:
        for component in node.get("local", []):
            if component["name"].split("[")[0] == name:
                return component["attributes"]
        node = node["subtree"][0]


def directive(sections: Sections, target: str, kind: str) -> dict[str, Any]:
    return next(
        each for each in sections["mapping"] if (each["target"], each["type"]) == (target, kind)
    )


def set_attribute(level: str, **values: object) -> Callable[[Sections], None]:
    return lambda sections: storage(sections, level).update(values)


def set_factors(target: str, kind: str, factors: str) -> Callable[[Sections], None]:
    return lambda sections: directive(sections, target, kind).update(factors=factors)


def set_in(path: str, value: object) -> Callable[[Sections], None]:
    def change(sections: Sections) -> None:
        node: Any = sections
        *parents, last = path.split(".")
        for part in parents:
            node = node[int(part) if part.isdigit() else part]
        node[int(last) if last.isdigit() else last] = value

    return change


CASES: list[tuple[Spec, Callable[[Sections], None], type[CrispLoopError], list[str]]] = [
    # Unmodelled constructs, by name and path.
    (CRISP, set_attribute("SMEM", cluster_size=2), UnsupportedError, ["cluster_size", "2"]),
    (CRISP, set_attribute("RF", multiple_buffering=2.0), UnsupportedError, ["multiple_buffering"]),
    (CRISP, set_attribute("RF", reduction_supported=False), UnsupportedError, ["reduction_supp"]),
    (
        CRISP,
        set_factors("DRAM", "temporal", "R=4 M=1 N=5,1 Q=1 K=1"),
        UnsupportedError,
        ["mapping[0].factors", "imperfect"],
    ),
    (
        CRISP,
        set_in("problem.shape.data_spaces.1.projection.1", [["N"], ["K"]]),
        UnsupportedError,
        ["problem.shape.data_spaces[1].projection[1]"],
    ),
    (
        CRISP,
        set_in("problem.instance.densities.A", {"distribution": "banded", "density": 0.5}),
        UnsupportedError,
        ["densities.A", "banded", "fixed_structured"],
    ),
    (
        CRISP,
        set_in("problem.instance.densities.A", {"distribution": "hypergeometric", "density": 0.5}),
        UnsupportedError,
        ["densities.A", "exact up to 104723 elements"],
    ),
    (
        CRISP,
        set_in("sparse_optimizations.targets.2.action_optimization.0.type", "gating"),
        UnsupportedError,
        ["targets[2].action_optimization[0].type", "gating"],
    ),
    (
        CRISP,
        set_in("sparse_optimizations.targets.2.action_optimization.0.options", []),
        UnsupportedError,
        ["options"],
    ),
    (
        DSTC,
        set_in("sparse_optimizations.targets.4.compute_optimization.0.type", "gating"),
        UnsupportedError,
        ["compute_optimization[0].type", "gating"],
    ),
    (
        DSTC,
        set_in(
            "sparse_optimizations.targets.0.representation_format.data_spaces.0.ranks.0.format",
            "RLE",
        ),
        UnsupportedError,
        [".format", "RLE"],
    ),
    (
        DSTC,
        set_in(
            "sparse_optimizations.targets.0.representation_format.data_spaces.0"
            ".rank_application_order",
            "outer_to_inner",
        ),
        UnsupportedError,
        ["rank_application_order"],
    ),
    (CRISP, set_in("mapping.4.no_reuse", ["A"]), UnsupportedError, ["mapping[4].no_reuse"]),
    (CRISP, set_attribute("SMEM", data_storage_width=512), UnsupportedError, ["blocks of 64"]),
    # Mistakes, by the value and what is expected.
    (CRISP, set_attribute("SMEM", meshX=3), InputError, ["meshX 3", "1 instances"]),
    (CRISP, set_attribute("SMEM", read_bandwidth=0), InputError, ["read_bandwidth", "above 0"]),
    (CRISP, set_attribute("SMEM", metadata_storage_width=4), InputError, ["exceeds SMEM's"]),
    (CRISP, set_in("problem.instance.N", 0), InputError, ["problem.instance.N", "1 or more"]),
    (CRISP, set_in("problem.instance.densities.A", 1.5), InputError, ["densities.A", "at most 1"]),
    (CRISP, set_in("mapping.0.target", "L2"), InputError, ["mapping[0].target", "DRAM"]),
    (CRISP, set_in("mapping.0.permutation", "NRRMQ"), InputError, ["mapping[0].permutation"]),
    (CRISP, set_in("ERT.tables.1.name", "system.SM.L2"), InputError, ["ERT", "SMEM is missing"]),
    (CRISP, set_in("ERT.tables.1.actions", []), InputError, ["SMEM", "'read' is missing"]),
    (
        CRISP,
        set_in(
            "sparse_optimizations.targets.0.representation_format.data_spaces.0.ranks.4",
            {"format": "UOP"},
        ),
        InputError,
        ["targets[0]", "cannot stand above"],
    ),
    # Illegal mappings, with the numbers.
    (
        CRISP,
        set_factors("DRAM", "temporal", "R=4 M=1 N=8 Q=1 K=1"),
        IllegalMappingError,
        ["factors of N", "512", "256"],
    ),
    (CRISP, set_attribute("RF", data_storage_depth=64), IllegalMappingError, ["RF", "1024", "64"]),
    (
        CRISP,
        set_attribute("SMEM", metadata_storage_depth=4),
        IllegalMappingError,
        ["SMEM", "bits of metadata", "192"],
    ),
    (
        CRISP,
        set_in("problem.instance.densities.A.density", 0.75),
        IllegalMappingError,
        ["fanout of 6", "4 are available"],
    ),
]


@pytest.mark.parametrize(("spec", "change", "kind", "parts"), CASES)
def test_refused_in_one_sentence(
    spec: Spec,
    change: Callable[[Sections], None],
    kind: type[CrispLoopError],
    parts: list[str],
) -> None:
    sections = copy.deepcopy(spec.sections)
    change(sections)
    with pytest.raises(kind) as refusal:
        evaluate(Spec("some/spec.yaml", sections))
    message = str(refusal.value)
    assert message.startswith("some/spec.yaml: ")
    assert message.endswith(".")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_too_few_ranks_are_an_illegal_mapping() -> None:
    sections = copy.deepcopy(CRISP.sections)
    formats = sections["sparse_optimizations"]["targets"]
    for target in formats[:2]:
        ranks = target["representation_format"]["data_spaces"][0]["ranks"]
        del ranks[: len(ranks) - 3]
    with pytest.raises(IllegalMappingError, match="find no rank"):
        evaluate(Spec("some/spec.yaml", sections))
