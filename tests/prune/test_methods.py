"""Every method's masks against brute force, and what all methods have in common."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given as drawn_by
from hypothesis import settings
from hypothesis import strategies as st
from prune_cases import (
    Watch,
    drawn,
    equal_states,
    given,
    net,
    open_masks,
    options,
    plan_of,
    state_of,
    task_of,
)
from torch import Tensor, nn

from crisp_loop.core.errors import InputError
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.methods import METHODS, method_for
from crisp_loop.prune.methods.channel import Channels
from crisp_loop.prune.methods.hybrid import Hybrid
from crisp_loop.prune.methods.unstructured import keep_best
from crisp_loop.prune.module import prune_module
from crisp_loop.prune.plan import Plan, column_weights, counted_weights, plan_layers
from crisp_loop.prune.schedule import kappa, weights_to_prune
from crisp_loop.prune.ste import WeightMask, latent_weight
from crisp_loop.prune.training.prune import prune_model

SEEDS = st.integers(0, 2**31 - 1)


# ---- single weights ----------------------------------------------------------------------


def worst_first(
    scores: dict[str, Tensor], pruned: dict[str, list[bool]], norm: str
) -> list[tuple[str, int]]:
    """Oracle: all weights but each layer's best, pruned ones first, then the least salient."""
    order = []
    for number, (name, score) in enumerate(scores.items()):
        values = score.flatten().tolist()
        mean = sum(values) / len(values)
        if norm == "mean" and mean > 0:
            values = [value / mean for value in values]
        values = [-1.0 if gone else value for value, gone in zip(values, pruned[name], strict=True)]
        best = max(range(len(values)), key=lambda place: (values[place], -place))
        order += [(v, number, place, name) for place, v in enumerate(values) if place != best]
    return [(name, place) for _, _, place, name in sorted(order)]


@drawn_by(
    seed=SEEDS,
    values=st.sampled_from([1, 3, 2**30]),
    norm=st.sampled_from(["none", "mean"]),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=3).map(sorted),
)
def test_single_weights_go_by_one_threshold_and_never_come_back(
    seed: int, values: int, norm: str, shares: list[float]
) -> None:
    plan = plan_of(
        a=("unstructured", (3, 4, 2, 1)), b=("unstructured", (2, 4)), c=("unstructured", (5, 4))
    )
    masks = open_masks(plan)
    most = sum(layer.weights - 1 for layer in plan.prunable)
    for step, share in enumerate(shares):
        zeros = round(share * most)
        before = {name: mask.hard.clone() for name, mask in masks.items()}
        scores = drawn(plan, seed + step, values)
        gone = {name: (~mask.hard).flatten().tolist() for name, mask in masks.items()}
        expected = worst_first(scores, gone, norm)[:zeros]
        found = keep_best(scores, masks, zeros, norm)
        dropped = {
            (name, place)
            for name, keep in found.items()
            for place in torch.nonzero(~keep.flatten()).flatten().tolist()
        }
        assert dropped == set(expected)
        assert len(dropped) == zeros
        for name, keep in found.items():
            assert keep.any()
            assert not (keep & ~before[name]).any()
            masks[name].hard.copy_(keep)


# ---- whole channels ----------------------------------------------------------------------


@drawn_by(
    seed=SEEDS,
    values=st.sampled_from([2, 2**30]),
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=5).map(sorted),
)
def test_channels_go_whole_and_never_come_back(seed: int, values: int, shares: list[float]) -> None:
    config = options(method="channel")
    plan = plan_of(a=("channel", (6, 4, 3, 3)), b=("channel", (3, 4)), c=("channel", (8, 8)))
    masks = open_masks(plan)
    most = sum(layer.weights - layer.K for layer in plan.prunable)
    for step, share in enumerate(shares):
        zeros = round(share * most)
        rates = {name: score.flatten(1).sum(1) for name, score in drawn(plan, seed + step).items()}
        rates = {name: rate % values for name, rate in rates.items()}
        before = {name: mask.hard.clone() for name, mask in masks.items()}
        kept = Channels(given(plan, config, {}), lambda _, r=rates: r).prune(masks, zeros)
        gone, added = 0, 0
        for layer in plan.prunable:
            rows = masks[layer.name].hard.flatten(1)
            assert torch.equal(rows.any(dim=1), rows.all(dim=1))
            assert kept[layer.name] == int(rows.all(dim=1).sum()) >= 1
            assert not (masks[layer.name].hard & ~before[layer.name]).any()
            gone += layer.K * (layer.S - kept[layer.name])
            added += int((before[layer.name].flatten(1)[:, 0] & ~rows[:, 0]).sum())
        assert gone >= zeros
        # Hardly more: without the last channel that went, there would be too few zeros.
        assert not added or gone - max(layer.K for layer in plan.prunable) < zeros


# ---- N:M and blocks ----------------------------------------------------------------------


def matrix(scores: Tensor) -> list[list[float]]:
    """S x K with (kh, kw, C_in), C_in innermost, place by place."""
    if scores.ndim == 2:
        return scores.tolist()
    outputs, inputs, height, width = scores.shape
    return [
        [
            float(scores[o, c, y, x])
            for y, x, c in itertools.product(range(height), range(width), range(inputs))
        ]
        for o in range(outputs)
    ]


def brute_masks(
    scores: dict[str, Tensor], config: PruneConfig, zeros: int, grids: set[str]
) -> dict[str, list[list[bool]]]:
    """Algorithm 1, lines 2 to 10, weight by weight, with the score norm ``none``."""
    n, m, side = config.nm.n, config.nm.m, config.block
    views = {name: matrix(score) for name, score in scores.items()}
    masks: dict[str, list[list[bool]]] = {}
    for name, view in views.items():
        masks[name] = [[False] * len(row) for row in view]
        for s, row in enumerate(view):
            for start in range(0, len(row), m):
                for _, k in sorted((-row[k], k) for k in range(start, start + m))[:n]:
                    masks[name][s][k] = True
    gone = sum(not kept for mask in masks.values() for row in mask for kept in row)
    ranked: dict[str, list[list[tuple[float, int]]]] = {}
    for name in grids:
        view, mask = views[name], masks[name]
        ranked[name] = []
        for i in range(len(view) // side):
            sums = []
            for j in range(len(view[0]) // side):
                total = 0.0
                for s, k in itertools.product(range(side), range(side)):
                    counts = config.order == "blocks_first" or mask[i * side + s][j * side + k]
                    total += view[i * side + s][j * side + k] if counts else 0.0
                sums.append((total, j))
            ranked[name].append(sorted(sums))
    taken = dict.fromkeys(ranked, 0)
    while gone < zeros:
        worth = [
            (sum(row[taken[name]][0] for row in rows), name)
            for name, rows in ranked.items()
            if taken[name] < len(rows[0]) - config.min_blocks
        ]
        name = min(worth)[1]
        for i, row in enumerate(ranked[name]):
            j = row[taken[name]][1]
            for s, k in itertools.product(range(side), range(side)):
                gone += masks[name][i * side + s][j * side + k]
                masks[name][i * side + s][j * side + k] = False
        taken[name] += 1
    return masks


@settings(max_examples=8, deadline=None)
@drawn_by(seed=SEEDS, share=st.floats(0.5, 0.75), factored=st.booleans())
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"order": "blocks_first"},
        {"min_blocks": 2},
        {"nm": "1:4"},
        {"method": "blocks"},
    ],
    ids=str,
)
def test_hybrid_masks_are_brute_forces(
    changes: dict[str, Any], seed: int, share: float, factored: bool
) -> None:
    config = options(**{"sparsity": 0.75, **changes})
    # Grids 2 x 9 and 1 x 3, and a layer for N:M alone.
    plan = plan_of(a=("hybrid", (32, 16, 3, 3)), b=("hybrid", (16, 48)), c=("nm", (5, 8)))
    scores, masks = drawn(plan, seed), open_masks(plan)
    zeros = round(share * sum(layer.weights for layer in plan.prunable))
    Hybrid(given(plan, config, scores, factored)).prune(masks, zeros)
    expected = brute_masks(scores, config, zeros, {"a", "b"})
    for name, mask in masks.items():
        assert matrix(mask.keep) == expected[name]
    if config.method == "blocks":
        assert all(mask.soft.all() for mask in masks.values())


def test_the_order_of_nm_and_blocks_matters() -> None:
    """The first block has the larger sum, but less of it survives 2:4."""
    scores = torch.zeros(16, 32, dtype=torch.float64)
    scores[:, :16] = 3.0
    scores[:, 16:18] = scores[:, 20:22] = scores[:, 24:26] = scores[:, 28:30] = 5.0
    kept = {}
    for order in ("nm_first", "blocks_first"):
        config = options(order=order, sparsity=0.75)
        plan = plan_of(layer=("hybrid", (16, 32)))
        masks = open_masks(plan)
        Hybrid(given(plan, config, {"layer": scores})).prune(masks, 16 * 24)
        kept[order] = [bool(masks["layer"].keep[:, part].any()) for part in (0, 16)]
    assert kept == {"nm_first": [False, True], "blocks_first": [True, False]}


@drawn_by(seed=SEEDS, m=st.integers(2, 32), data=st.data())
@settings(max_examples=40, deadline=None)
def test_nm_alone_with_any_m(seed: int, m: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, m - 1))
    config = PruneConfig.model_validate({"method": "nm", "nm": f"{n}:{m}"})
    plan = plan_of(a=("nm", (3, 2 * m, 1, 2)), b=("nm", (4, m)))
    masks = open_masks(plan)
    scores = drawn(plan, seed, data.draw(st.sampled_from([2, 2**30])))
    method = method_for(given(plan, config, scores))
    method.start(masks)
    started = {name: mask.keep.clone() for name, mask in masks.items()}
    zeros = weights_to_prune(kappa(1, config, 0, 1), counted_weights(plan, config))
    assert method.prune(masks, zeros) == {}
    for name, found in brute_masks(scores, config, 0, set()).items():
        assert matrix(masks[name].keep) == found
        assert torch.equal(started[name], masks[name].keep)
    gone = sum(int((~mask.keep).sum()) for mask in masks.values())
    weights = counted_weights(plan, config)
    assert Fraction(gone, weights) == 1 - Fraction(n, m)


# ---- options of the plan and the schedule ------------------------------------------------


def forms(**changes: Any) -> dict[str, tuple[str, str]]:
    plan = plan_layers(layer_table(net(), (3, 8, 8)), options(**changes))
    return {entry.layer.name: (entry.form, entry.reason) for entry in plan.layers}


def test_min_blocks_keeps_blocks_and_layers() -> None:
    assert forms()["point"] == ("hybrid", "")
    assert forms(min_blocks=2, sparsity=0.6)["point"] == (
        "nm", "each block-row has 2 blocks of 16, which stay",
    )  # fmt: skip
    for least in (1, 3, 5):
        config = options(min_blocks=least, sparsity=0.6, iterations=1)
        task = task_of(net(), config)
        (report,) = prune_model(task).iterations
        assert all(count >= least for count in report.kept.values())
    with pytest.raises(InputError, match="5 kept in each block-row"):
        forms(min_blocks=5, sparsity=0.9)


def test_indivisible_layers_may_stay_dense() -> None:
    reason = "blocks of 32 do not divide 48 x 32"
    assert forms(block=32, sparsity=0.5)["point"] == ("nm", reason)
    assert forms(block=32, sparsity=0.5, exclude=("wide",))["wide"] == ("dense", "excluded")
    model = nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 3))
    config = options(indivisible="dense", sparsity=0.6)
    images, labels = torch.randn(30, 40), torch.arange(30) % 3
    masks = prune_module(model, (images, labels), config)
    assert list(masks.layers) == ["2"]
    assert model.get_parameter("0.weight").ne(0).all()


@pytest.mark.parametrize("method", ["crisp", "unstructured", "channel"])
def test_target_all_counts_every_layer(method: str) -> None:
    config = options(method=method, target="all", sparsity=0.5)
    task = task_of(net(), config)
    outcome = prune_model(task)
    everything = sum(entry.layer.weights for entry in task.plan.layers)
    gone = sum(int((~mask).sum()) for mask in outcome.masks.layers.values())
    unit = max(layer.S * 16 for layer in task.plan.prunable)
    assert 0 <= gone - 0.5 * everything < unit
    assert outcome.iterations[-1].sparsity == gone / everything
    assert set(outcome.masks.layers) == {"wide", "point"}
    prunable = sum(layer.weights for layer in task.plan.prunable)
    assert everything > prunable
    with pytest.raises(InputError, match=r"the most is 0\.\d+"):
        task_of(net(), options(method=method, target="all", sparsity=0.99))


@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 2), Fraction(3, 4)])
@drawn_by(n=st.integers(1, 9), hundredths=st.integers(76, 99))
def test_schedules_follow_their_formulas(start: Fraction, n: int, hundredths: int) -> None:
    target = Fraction(hundredths, 100)
    common: dict[str, Any] = {"method": "unstructured", "sparsity": hundredths / 100}
    cubic = PruneConfig(schedule="cubic", iterations=n, **common)
    linear = PruneConfig(iterations=n, **common)
    weights = 400
    zeros = int(start * weights)
    for p in range(1, n + 1):
        left = Fraction(n - p, n)
        assert kappa(p, cubic, zeros, weights) == target + (start - target) * left**3
        assert kappa(p, linear, zeros, weights) == target + (start - target) * left
    assert kappa(n, cubic, zeros, weights) == kappa(n, linear, zeros, weights) == target


def masks_of(model: nn.Module) -> dict[str, WeightMask]:
    """The masks inside a model, by layer."""
    parts = model.named_modules()
    return {name.split(".")[0]: part for name, part in parts if isinstance(part, WeightMask)}


# ---- all methods -------------------------------------------------------------------------

WAYS: list[dict[str, Any]] = [{"method": name} for name in METHODS] + [
    {"method": "crisp", "mode": "lottery"},
    {"method": "unstructured", "mode": "lottery"},
    {"method": "channel", "mode": "lottery"},
    {"method": "unstructured", "mode": "rigl"},
    {"method": "nm", "nm": "3:16"},
    {"method": "crisp", "order": "blocks_first", "score_norm": "per_param"},
    {"method": "crisp", "schedule": "cubic", "sr_ste_decay": 0.01},
]


def unit_of(plan: Plan, config: PruneConfig) -> int:
    """The weights that go together."""
    if config.method in ("unstructured", "nm"):
        return 1
    if config.method in ("crisp", "blocks"):
        return max(column_weights(layer, config) for layer in plan.of_form("hybrid"))
    return max(layer.K for layer in plan.prunable)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_every_way_reaches_its_sparsity_in_as_many_epochs(way: dict[str, Any]) -> None:
    config = options(**way)
    model, lines = net(), []
    keys = list(model.state_dict())
    task = task_of(model, config, log=lines.append)
    outcome = prune_model(task)
    weights = counted_weights(task.plan, config)
    zeros = sum(int((~mask).sum()) for mask in outcome.masks.layers.values())
    wanted = weights_to_prune(Fraction(str(config.sparsity)), weights)
    assert 0 <= zeros - wanted < unit_of(task.plan, config)
    for name, mask in outcome.masks.layers.items():
        weight = model.get_parameter(f"{name}.weight")
        assert weight[torch.from_numpy(~mask)].eq(0).all()
        assert mask.any()
    assert sorted(model.state_dict()) == sorted(keys)
    for name in ("stem", "depthwise", "head"):
        assert model.get_parameter(f"{name}.weight").ne(0).all()
    assert sum("epoch" in line for line in lines) == 2 * (1 + 1) + 1
    reports = [line for line in lines if line["phase"] == "prune"]
    assert len(reports) == len(outcome.iterations) == (1 if config.mode == "rigl" else 2)
    assert outcome.iterations[-1].sparsity == zeros / weights


def test_dense_is_fine_tuned_as_long() -> None:
    config, lines = options(method="dense"), []
    model = net()
    before = state_of(model)
    outcome = prune_model(task_of(model, config, log=lines.append))
    assert sum("epoch" in line for line in lines) == len(lines) == 2 * (1 + 1) + 1
    assert outcome.masks.layers == {}
    assert not equal_states(before, model.state_dict())


@pytest.mark.parametrize("method", ["channel", "ocap", "capnn", "unstructured", "blocks"])
def test_masks_nest_through_the_real_loop(method: str) -> None:
    config = options(method=method, iterations=4, usage={0: 2.0, 1: 1.0, 2: 1.0})
    if method != "capnn":
        config = options(method=method, iterations=4)
    model, seen = net(), []

    def look(phase: str) -> None:
        if phase.endswith("recover") or phase == "final":
            seen.append({name: ~mask.keep for name, mask in masks_of(model).items()})

    task = task_of(model, config, progress=Watch(look))
    reports = prune_model(task).iterations
    assert len(seen) == 5
    for earlier, later in itertools.pairwise(seen):
        assert all((later[name] | ~earlier[name]).all() for name in earlier)
    for earlier, later in itertools.pairwise(reports):
        assert all(later.kept[name] <= earlier.kept[name] for name in earlier.kept)
        assert later.sparsity >= earlier.sparsity


# ---- lottery -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["crisp", "unstructured", "channel"])
def test_a_ticket_starts_from_the_given_weights(method: str) -> None:
    model, seen = net(), {}
    before = state_of(model)

    def look(phase: str) -> None:
        latent = {name: latent_weight(model.get_submodule(name)).detach() for name in task.names}
        seen[phase] = {name: value.clone() for name, value in latent.items()}
        others = {name: value for name, value in model.state_dict().items() if name in before}
        rewound = all(torch.equal(before[name], value) for name, value in others.items())
        # Other parameters and batch norm's statistics go back with the weights.
        assert rewound is (phase != "iteration 2: before pruning")

    config = options(method=method, mode="lottery")
    task = task_of(model, config, progress=Watch(look))
    masks = prune_model(task).masks
    for phase in ("iteration 1: recover", "iteration 2: recover"):
        for name, value in seen[phase].items():
            assert torch.equal(value, before[f"{name}.weight"])
    for name, value in seen["final"].items():
        keep = torch.from_numpy(masks.layers[name])
        assert torch.equal(value, before[f"{name}.weight"] * keep)
    assert any(
        not torch.equal(value, before[f"{name}.weight"])
        for name, value in seen["iteration 2: before pruning"].items()
    )


def test_a_ticket_that_is_not_trained_is_the_dense_network_under_its_mask() -> None:
    model = net()
    before = state_of(model)
    config = options(mode="lottery", iteration_epochs=0, final_epochs=0, ste_epochs=2)
    masks = prune_model(task_of(model, config)).masks
    expected = {
        name: value * torch.from_numpy(masks.layers[layer])
        if (layer := name.removesuffix(".weight")) in masks.layers
        else value
        for name, value in before.items()
    }
    assert equal_states(expected, dict(model.state_dict()))
