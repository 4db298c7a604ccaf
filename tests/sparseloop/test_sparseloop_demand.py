"""One analysis under many bandwidths is the engine's answer to each of them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_sparseloop_batch import SPECS
from test_sparseloop_together import RENDERED, variants

from crisp_loop.core.errors import CrispLoopError, UnsupportedError
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop import demands_of, evaluate

CHOICES = [(None, None), (4.0, None), (None, 2.5), (21.0, 21.0), (1.0, 64.0), (0.37, 0.11)]


def components(node: dict[str, Any]) -> list[dict[str, Any]]:
    below = [each for child in node.get("subtree", []) for each in components(child)]
    return [*node.get("local", []), *below]


def with_bandwidths(spec: Spec, chosen: dict[str, tuple[float | None, float | None]]) -> Spec:
    """The spec with other bandwidths at some levels."""
    architecture = copy.deepcopy(spec.sections["architecture"])
    for component in components(architecture):
        name = component["name"].split("[")[0]
        for key, value in zip(
            ("read_bandwidth", "write_bandwidth"), chosen.get(name, ()), strict=False
        ):
            component["attributes"].pop(key, None)
            if value is not None:
                component["attributes"][key] = value
    return replace(spec, sections={**spec.sections, "architecture": architecture})


@pytest.mark.parametrize("name", sorted(SPECS))
def test_every_choice_is_what_the_engine_says(name: str) -> None:
    spec = SPECS[name]
    demands = demands_of([spec])
    rng = np.random.default_rng(1)
    picks = rng.integers(len(CHOICES), size=(12, len(demands.levels)))
    table = np.array([[[v or math.inf for v in CHOICES[pick]] for pick in row] for row in picks])
    pace = demands.paced(table)
    for at, row in enumerate(picks):
        chosen = {level: CHOICES[pick] for level, pick in zip(demands.levels, row, strict=True)}
        said = evaluate(with_bandwidths(spec, chosen))
        names = (*demands.levels, demands.compute)
        assert int(pace.cycles[at, 0]) == said.cycles
        assert names[pace.bottleneck[at, 0]] == said.bottleneck
        assert demands.energy_pJ[0] * 1e-6 == said.energy_uJ
        assert demands.ideal_cycles[0] / said.cycles == said.utilization
        assert int(demands.compute_cycles[0]) == said.compute.cycles
        for level, words in zip(demands.levels, demands.words[:, 0], strict=True):
            moved = [
                (t.reads.actual + t.fills.actual + t.updates.actual) * t.instances
                for t in said.level(level).tensors.values()
            ]
            assert words == sum(moved)


def test_many_specs_of_one_design_and_those_that_are_refused() -> None:
    specs = variants(12)
    by_design: dict[str, list[Spec]] = {}
    for spec in specs:
        by_design.setdefault(str(spec.sections["architecture"]), []).append(spec)
    refused = 0
    for alike in by_design.values():
        demands = demands_of(alike)
        assert list(demands.sound) == [not refusal for refusal in demands.refusals]
        for at, spec in enumerate(alike):
            if demands.refusals[at]:
                refused += 1
                with pytest.raises(CrispLoopError) as caught:
                    evaluate(spec)
                assert demands.refusals[at] == str(caught.value)
                continue
            said = evaluate(spec)
            assert demands.energy_pJ[at] == pytest.approx(said.energy_uJ * 1e6, rel=1e-15)
            assert demands.compute_cycles[at] == said.compute.cycles
    assert 0 < refused < len(specs)


def test_a_level_that_leaks_has_no_energy_of_its_own() -> None:
    spec = RENDERED[0]
    ert = copy.deepcopy(spec.sections["ERT"])
    ert["tables"][0]["actions"].append({"name": "leak", "arguments": None, "energy": 0.5})
    leaking = replace(spec, sections={**spec.sections, "ERT": ert})
    with pytest.raises(UnsupportedError, match="leaks"):
        demands_of([leaking])
