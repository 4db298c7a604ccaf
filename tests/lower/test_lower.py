"""Lowering: GEMM shapes and density models."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import write_json
from crisp_loop.core.gemm import dense
from crisp_loop.core.layers import Layer, LayerTable, roles, unfit
from crisp_loop.core.masks import Masks, save_masks, sparsity_of
from crisp_loop.core.pattern import NM, blocks_to_keep
from crisp_loop.lower.draw import Draw
from crisp_loop.lower.run import lower_network
from crisp_loop.networks.trace import layer_table

TABLE = LayerTable(
    model="toy",
    parameters=0,
    layers=(
        Layer("stem", "conv", 4, 32, (3, 3), padding=(1, 1), input_size=(8, 8), output_size=(8, 8)),
        Layer("body", "conv", 32, 64, (3, 3), (2, 2), (1, 1), (1, 1), 1, (8, 8), (4, 4)),
        Layer("dw", "conv", 64, 64, (3, 3), (1, 1), (1, 1), (1, 1), 64, (4, 4), (4, 4)),
        Layer("odd", "conv", 64, 40, input_size=(4, 4), output_size=(4, 4)),
        Layer("head", "linear", 40, 10),
    ),
)


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    write_json(tmp_path / "layers.json", TABLE)
    return tmp_path / "layers.json"


def test_layers_become_gemms(layers: Path, tmp_path: Path) -> None:
    work = lower_network(layers, Draw(NM(2, 4), 16, 0.8), tmp_path)
    shapes = {g.layer: (g.groups, g.M, g.K, g.N) for g in work.gemms}
    assert shapes == {
        "stem": (1, 32, 36, 64),
        "body": (1, 64, 288, 16),
        "dw": (64, 1, 9, 16),
        "odd": (1, 40, 64, 16),
        "head": (1, 10, 40, 1),
    }
    assert [g.weight.form for g in work.gemms] == ["dense", "hybrid", "dense", "nm", "dense"]
    assert [g.activation_density for g in work.gemms] == [1.0, 0.6, 0.6, 0.6, 0.6]
    assert sum(g.macs for g in work.gemms) == sum(layer.macs for layer in TABLE.layers)


def test_sparsity_counts_all_weights(layers: Path, tmp_path: Path) -> None:
    work = lower_network(layers, Draw(NM(2, 4), 16, 0.8), tmp_path)
    body = 64 * 288 * 7 / 18 * 0.5  # 18 * 0.2 * 2 = 7.2 blocks of 18 are kept
    kept = 32 * 36 + body + 64 * 9 + 40 * 64 * 0.5 + 400
    assert work.sparsity == pytest.approx(1 - kept / sum(layer.weights for layer in TABLE.layers))


def test_a_linear_layer_on_tokens_has_them_in_n(tmp_path: Path) -> None:
    write_json(tmp_path / "layers.json", layer_table("vit-tiny-cifar", batch=2))
    work = lower_network(tmp_path / "layers.json", Draw(NM(2, 4), 64, 0.8), tmp_path)
    shapes = {g.layer: (g.M, g.K, g.N) for g in work.gemms}
    assert shapes["blocks.5.attn.qkv"] == (576, 192, 2 * 65)
    assert shapes["blocks.5.mlp.fc2"] == (192, 768, 2 * 65)
    assert shapes["patch_embed.proj"] == (192, 48, 2 * 64)
    assert shapes["head"] == (10, 192, 2)
    forms = {g.layer: g.weight.form for g in work.gemms}
    assert {forms.pop("patch_embed.proj"), forms.pop("head")} == {"dense"}
    assert set(forms.values()) == {"hybrid"}


def test_a_users_own_masks_are_taken(layers: Path, tmp_path: Path) -> None:
    matrix = Draw(NM(1, 4), 32, 0.9).mask(64, 288, np.random.default_rng(3))
    oihw = matrix.reshape(64, 3, 3, 32).transpose(0, 3, 1, 2)
    save_masks(tmp_path / "m.safetensors", Masks("toy", NM(1, 4), 32, {"body": oihw}))
    work = lower_network(layers, tmp_path / "m.safetensors", tmp_path)
    assert work.gemms[1].weight == sparsity_of(matrix, NM(1, 4), 32)
    assert work.gemms[3].weight.form == "dense"


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("nobody", (64, 288), "nobody: 'nobody' cannot be used; expected a layer of toy"),
        ("body", (64, 32, 1, 1), r"body: .*expected \(64, 32, 3, 3\)"),
        ("dw", (64, 1, 3, 3), "dw: '64 groups' cannot be used; expected no mask"),
    ],
)
def test_foreign_masks_are_refused(
    layers: Path, tmp_path: Path, name: str, shape: tuple[int, ...], sentence: str
) -> None:
    mask = np.ones(shape, dtype=bool)
    mask[0, 0] = False
    save_masks(tmp_path / "m.safetensors", Masks("toy", NM(2, 4), 16, {name: mask}))
    with pytest.raises(CrispLoopError, match=sentence):
        lower_network(layers, tmp_path / "m.safetensors", tmp_path)
    assert not (tmp_path / "workload.json").exists()


def test_stem_head_and_depthwise_are_not_prunable() -> None:
    assert roles(TABLE) == {"stem": "stem", "head": "head"}
    assert [unfit(layer, 4) for layer in TABLE.layers] == ["", "", "depthwise", "", ""]
    assert unfit(TABLE.layers[3], 48) == "64 input channels are not a multiple of 48"


@given(
    nm=st.sampled_from([NM(1, 4), NM(2, 4), NM(3, 4)]),
    block=st.sampled_from([16, 32]),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 6)),
    kappa=st.floats(0.76, 0.99),
    seed=st.integers(0, 99),
)
def test_drawn_masks_hold_the_pattern(
    nm: NM, block: int, grid: tuple[int, int], kappa: float, seed: int
) -> None:
    mask = Draw(nm, block, kappa).mask(
        grid[0] * block, grid[1] * block, np.random.default_rng(seed)
    )
    groups = mask.reshape(grid[0] * block, -1, nm.m).sum(axis=2)
    assert set(np.unique(groups)) <= {0, nm.n}
    per_row = mask.reshape(grid[0], block, grid[1], block).any(axis=(1, 3)).sum(axis=1)
    assert set(per_row) == {blocks_to_keep(grid[1], nm, kappa)}


@pytest.mark.parametrize("layer", [*TABLE.layers, Layer("wide", "linear", 320, 96)])
@pytest.mark.parametrize("kappa", [0.75, 0.8, 0.93])
@pytest.mark.parametrize("nm", [NM(1, 4), NM(2, 4)])
def test_a_draw_counts_what_its_masks_count(nm: NM, kappa: float, layer: Layer) -> None:
    """In numpy, from a whole mask; the blocks that a network's draw names count the same."""
    draw = Draw(nm, 16, kappa, spare_ends=False)
    counted = draw.counted(layer)
    if layer.K % nm.m:
        assert counted == dense(layer.S * layer.K)
        return
    mask = draw.mask(layer.S, layer.K, np.random.default_rng(0))
    unseen = {"touched_blocks": None, "block_indices": None}
    assert counted == replace(sparsity_of(mask, nm, 16), **unseen)
    drawn = draw.for_network(LayerTable(model="one", parameters=0, layers=(layer,)))(layer)
    assert replace(drawn, **unseen, note="") == counted
    rows = drawn.block_indices or ()
    assert all(list(row) == sorted(set(row)) for row in rows)
    assert {len(row) for row in rows} <= {counted.kept_blocks}
    assert drawn.touched_blocks == (len({block for row in rows for block in row}) or None)
    assert all(0 <= block < layer.K // 16 for row in rows for block in row)


def test_large_layers_are_drawn_by_their_blocks() -> None:
    """A billion weights: the output layer of a language model."""
    layer = Layer("head", "linear", 8192, 131072)
    table = LayerTable(model="one", parameters=0, layers=(layer,))
    weight = Draw(NM(2, 4), 16, 0.9, spare_ends=False).for_network(table)(layer)
    assert weight.density == 102 / 512 / 2
    assert weight.block_indices is not None
    shares = np.bincount(np.concatenate(weight.block_indices), minlength=512) / len(
        weight.block_indices
    )
    assert abs(shares - 102 / 512).max() < 6 * (0.2 * 0.8 / 8192) ** 0.5


def test_too_little_sparsity_for_the_pattern_is_refused(layers: Path, tmp_path: Path) -> None:
    with pytest.raises(CrispLoopError, match=r"expected at least 0.5 \(what 2:4 alone removes\)"):
        lower_network(layers, Draw(NM(2, 4), 16, 0.3), tmp_path)


@pytest.mark.parametrize("nm", [NM(1, 4), NM(3, 4)])
@pytest.mark.parametrize("block", [16, 32])
def test_counting_masks_is_drawing_them(nm: NM, block: int) -> None:
    """But for which blocks are kept, and the notes."""
    draw = Draw(nm, block, 0.85, profile=(("body", 0.9),))
    counted, drawn = draw.counts_for_network(TABLE), draw.for_network(TABLE)
    for layer in TABLE.layers:
        whole = drawn(layer)
        known = replace(whole, touched_blocks=None, block_indices=None, note="")
        assert counted(layer) == known
    with pytest.raises(CrispLoopError, match="what 1:4 alone removes"):
        Draw(NM(1, 4), 16, 0.5).counts_for_network(TABLE)
