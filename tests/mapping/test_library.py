"""The shipped mappings: whose they are, and that the three networks need no search."""

from collections.abc import Iterator

import pytest

from crisp_loop.accelerators import Problem, available, load_accelerator, problem_for
from crisp_loop.core.gemm import dense
from crisp_loop.core.layers import roles
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import gemm_of
from crisp_loop.mapping.library import shipped_mappings
from crisp_loop.mapping.objective import DEFAULT_OBJECTIVE
from crisp_loop.mapping.search import paddings
from crisp_loop.networks.trace import operation_table

PATTERNS = [
    Draw(NM.parse(nm), block, 0.9) for nm in ("1:4", "2:4", "3:4") for block in (16, 32, 64)
]


def problems(network: str, design: str) -> Iterator[tuple[str, Problem]]:
    table = operation_table(network)
    ends = roles(table)
    accelerator = load_accelerator(design)
    for index, layer in enumerate(table.layers):
        for draw in PATTERNS:
            # Drawing a mask for each would take minutes.
            weight = dense(layer.weights) if layer.name in ends else draw.counted(layer)
            gemm = gemm_of(layer, weight, 0.6 if index else 1.0)
            yield f"{layer.name} {draw.nm} {draw.block}", problem_for(accelerator, gemm)


@pytest.mark.parametrize("design", available())
@pytest.mark.parametrize("network", ["resnet50", "vgg16", "mobilenetv2"])
def test_every_layer_and_pattern_has_its_mapping(network: str, design: str) -> None:
    library = shipped_mappings(load_accelerator(design))
    assert library is not None, "the design's numbers changed; crisp-loop map --into mappings"
    for name, problem in problems(network, design):
        nest = library.nest(problem.key)
        assert nest is not None, f"{name}: {problem.key}"
        found = library.mappings[problem.key].found
        assert found is not None
        assert found.tool == "crisp_loop"
        assert found.objective == DEFAULT_OBJECTIVE
        assert 0 < found.priced <= found.mapspace
        for dim, bound in problem.bounds.items():
            if dim == "N":
                assert nest.bound("N") in paddings(bound)
            else:
                assert nest.bound(dim) == bound
