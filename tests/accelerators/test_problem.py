"""How designs run GEMMs: bounds, densities, metadata and the lane correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp_loop.accelerators import available, load_accelerator, problem_for
from crisp_loop.accelerators.problem import quantisation
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.gemm import Gemm, dense
from crisp_loop.core.masks import sparsity_of
from crisp_loop.core.pattern import NM
from crisp_loop.lower.draw import Draw

DSTC_FIG_21 = {  # A density: cycles at B density 1.0 and 0.4 (Wang et al., ISCA 2021, Fig. 21)
    1.0: (4600, 2500),
    0.9: (4160, 2300),
    0.7: (3300, 1820),
    0.5: (2690, 1480),
    0.3: (1930, 1100),
}


def hybrid_gemm(
    nm: NM, block: int, rows: int = 128, columns: int = 512, kappa: float = 0.8
) -> Gemm:
    mask = Draw(nm, block, kappa).mask(rows, columns, np.random.default_rng(1))
    return Gemm("layer", 1, rows, columns, 49, sparsity_of(mask, nm, block), 0.6)


@pytest.mark.parametrize("nm", ["1:4", "2:4", "3:4"])
@pytest.mark.parametrize("block", [16, 32, 64])
def test_the_compact_problem_computes_exactly_the_nonzeros(nm: str, block: int) -> None:
    gemm = hybrid_gemm(NM.parse(nm), block)
    problem = problem_for(load_accelerator("crisp-stc"), gemm)
    computes = np.prod(list(problem.bounds.values())) * problem.densities["A"]
    assert computes == gemm.weight.nnz * gemm.N
    assert problem.gathered


def test_metadata_is_the_closed_form_of_the_paper_with_exact_index_width() -> None:
    gemm = hybrid_gemm(NM(2, 4), 64)
    problem = problem_for(load_accelerator("crisp-stc"), gemm)
    assert gemm.weight.kept_blocks is not None
    blocks = 128 // 64 * gemm.weight.kept_blocks
    assert problem.index_bits == 3  # 512 / 64 = 8 positions
    assert problem.metadata_bits == blocks * 3 + gemm.weight.nnz * 2


@pytest.mark.parametrize(
    ("nm", "mode", "density"), [("1:4", "2:4", 0.5), ("2:4", "2:4", 0.5), ("3:4", "dense", None)]
)
def test_nvidia_stc_knows_only_2_to_4(nm: str, mode: str, density: float | None) -> None:
    problem = problem_for(load_accelerator("nvidia-stc"), hybrid_gemm(NM.parse(nm), 32))
    assert problem.mode.name == mode
    assert problem.densities.get("A") == density
    assert problem.bounds == {"R": 1, "M": 128, "N": 49, "Q": 1, "K": 512}


@pytest.mark.parametrize(("nm", "lanes"), [("1:4", 16), ("2:4", 8), ("3:4", 4)])
def test_crisp_lanes_hold_all_candidates_of_whole_groups(nm: str, lanes: int) -> None:
    problem = problem_for(load_accelerator("crisp-stc"), hybrid_gemm(NM.parse(nm), 64))
    assert problem.lanes(4) == lanes


def test_dstc_sees_unstructured_weights_of_the_same_sparsity() -> None:
    gemm = hybrid_gemm(NM(2, 4), 64)
    problem = problem_for(load_accelerator("dstc"), gemm)
    assert problem.densities == {"A": gemm.weight.density, "B": 0.6}
    assert problem.metadata_bits == 128 * 512


@pytest.mark.parametrize("name", ["dense", "nvidia-stc", "dstc", "crisp-stc"])
def test_every_design_takes_a_depthwise_layer_as_one_gemm_a_group(name: str) -> None:
    gemm = Gemm("dw", groups=96, M=1, K=9, N=3136, weight=dense(96 * 9))
    problem = problem_for(load_accelerator(name), gemm)
    assert problem.bounds["R"] == 96
    assert problem.gathered
    assert np.prod(list(problem.bounds.values())) == gemm.macs


def test_all_designs_stand_on_one_budget() -> None:
    designs = [load_accelerator(name) for name in available()]
    for design in designs:
        assert design.compute.instances == 256
        assert [level.name for level in design.levels] == ["DRAM", "SMEM", "RF", "LRF"]
        for name in ("DRAM", "SMEM"):
            assert design.level(name) == designs[0].level(name)
        assert design.level("RF").depth == 1024
        assert design.instances("RF") == 4


def test_every_storage_action_has_a_price() -> None:
    for design in map(load_accelerator, available()):
        for level in design.levels:
            if level.metadata:
                assert {"metadata_read", "metadata_write"} <= set(level.energy)
            assert min(level.energy.values()) > 0


@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.05, 1.0))
def test_quantisation_is_the_mean_over_all_fragments(
    fragment: int, step: int, density: float
) -> None:
    steps = 0.0
    for bits in range(2**fragment):
        ones = bin(bits).count("1")
        chance = density**ones * (1 - density) ** (fragment - ones)
        steps += chance * -(-ones // step)
    assert quantisation(fragment, step, density) == pytest.approx(
        steps / (fragment * density / step)
    )


def test_lane_quantisation_meets_dstcs_measured_points() -> None:
    lanes = load_accelerator("dstc").lane_quantisation
    assert lanes
    errors = []
    for a, row in DSTC_FIG_21.items():
        for b, measured in zip((1.0, 0.4), row, strict=True):
            factor = quantisation(32, lanes.steps["A"], a) * quantisation(32, lanes.steps["B"], b)
            errors.append(abs(4600 * a * b * factor / measured - 1))
    assert np.mean(errors) < 0.06
    assert max(errors) < 0.12


def test_an_unknown_accelerator_is_named_with_the_known_ones() -> None:
    with pytest.raises(
        CrispLoopError, match=r"'tpu' is unknown; expected one of dense, nvidia-stc"
    ):
        load_accelerator("tpu")


def test_an_edited_copy_follows(tmp_path) -> None:
    own = tmp_path / "big.yaml"
    own.write_text("like: crisp-stc\nname: big\ntitle: Big\n")
    assert load_accelerator(str(own)).modes == load_accelerator("crisp-stc").modes


def test_a_wrong_field_is_named_with_its_path(tmp_path) -> None:
    own = tmp_path / "bad.yaml"
    own.write_text("like: crisp-stc\nname: bad\nclock: 1\n")
    with pytest.raises(CrispLoopError, match=r"bad.yaml: clock: 'clock' cannot be used; .* known"):
        load_accelerator(str(own))
