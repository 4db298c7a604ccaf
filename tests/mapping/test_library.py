"""The shipped mappings: whose they are, and that the three networks need no search."""

from collections.abc import Iterator

import pytest

from crisp_loop.accelerators import Problem, available, load_accelerator, problem_for
from crisp_loop.core.gemm import Gemm, WeightSparsity, dense
from crisp_loop.core.layers import Layer, roles, unfit
from crisp_loop.core.pattern import NM, blocks_to_keep
from crisp_loop.mapping.library import shipped_mappings
from crisp_loop.mapping.search import paddings
from crisp_loop.networks.trace import operation_table

PATTERNS = [(NM.parse(nm), block) for nm in ("1:4", "2:4", "3:4") for block in (16, 32, 64)]
KAPPA = 0.9


def counted(layer: Layer, nm: NM, block: int) -> WeightSparsity:
    """What any mask drawn at the pattern counts; drawing one for each would take minutes."""
    if layer.S % block or layer.K % block:
        return WeightSparsity("nm", layer.weights * nm.n // nm.m, float(nm.density), nm)
    blocks = layer.K // block
    kept = blocks_to_keep(blocks, nm, KAPPA)
    nnz = layer.weights * nm.n // nm.m * kept // blocks
    form = "nm" if kept == blocks else "hybrid"
    return WeightSparsity(form, nnz, nnz / layer.weights, nm, block, kept, blocks)


def problems(network: str, design: str) -> Iterator[tuple[str, Problem]]:
    table = operation_table(network)
    ends = roles(table)
    accelerator = load_accelerator(design)
    for index, layer in enumerate(table.layers):
        for nm, block in PATTERNS:
            stays = layer.name in ends or unfit(layer, nm.m)
            weight = dense(layer.weights) if stays else counted(layer, nm, block)
            gemm = Gemm(
                layer.name, layer.groups, layer.S // layer.groups, layer.K, layer.N, weight,
                0.6 if index else 1.0,
            )  # fmt: skip
            yield f"{layer.name} {nm} {block}", problem_for(accelerator, gemm)


@pytest.mark.parametrize("design", available())
@pytest.mark.parametrize("network", ["resnet50", "vgg16", "mobilenetv2"])
def test_every_layer_and_pattern_has_its_mapping(network: str, design: str) -> None:
    library = shipped_mappings(load_accelerator(design))
    assert library is not None, "the design's numbers changed; crisp-loop map --into mappings"
    assert "crisp_loop" in library.provenance
    for name, problem in problems(network, design):
        nest = library.nest(problem.key)
        assert nest is not None, f"{name}: {problem.key}"
        for dim, bound in problem.bounds.items():
            if dim == "N":
                assert nest.bound("N") in paddings(bound)
            else:
                assert nest.bound(dim) == bound
