"""Masks on plain modules: applied, frozen through any training, and read back."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

import crisp_loop.api as crisp
from crisp_loop.core.masks import BoolArray
from crisp_loop.prune import apply
from crisp_loop.prune.checkpoints import load_weights, save_weights

ROOT = Path(__file__).parents[2]
NM24 = crisp.NM(2, 4)


class Small(nn.Module):
    """A convolution that pruning leaves alone, and three layers that it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 8, 3)
        self.hidden = nn.Linear(8 * 4, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.norm(self.stem(x)).relu()).relu()
        return self.head(self.hidden(x.flatten(1)).relu())


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


def nm_mask(shape: tuple[int, ...], seed: int) -> BoolArray:
    """Random 2:4 along the input channels."""
    scores = np.random.default_rng(seed).random(shape)
    groups = scores.reshape(shape[0], shape[1] // 4, 4, -1)
    keep = groups.argsort(axis=2).argsort(axis=2) < 2
    return keep.reshape(shape)


def small_masks(seed: int = 0) -> crisp.Masks:
    shapes = {"conv": (8, 4, 3, 3), "hidden": (8, 32)}
    layers = {name: nm_mask(shape, seed) for name, shape in shapes.items()}
    return crisp.Masks("Small", NM24, 4, layers)


def masked(model: nn.Module, masks: crisp.Masks) -> Tensor:
    """All masked weights in one vector."""
    weights = [
        model.get_parameter(f"{name}.weight").detach()[torch.from_numpy(~keep)]
        for name, keep in masks.layers.items()
    ]
    return torch.cat(weights)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 1, 6, 6, generator=generator)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), torch.arange(6) % 3).backward()
    optimizer.step()


Make = Callable[[nn.Module], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, nesterov=True),
    "sgd-foreach": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, foreach=True),
    "sgd-single": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, foreach=False),
    "sgd-fused": lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, fused=True),
    "adam": lambda m: torch.optim.Adam(m.parameters(), 0.01, weight_decay=0.1),
    "adam-foreach": lambda m: torch.optim.Adam(m.parameters(), 0.01, foreach=True),
    "adam-fused": lambda m: torch.optim.Adam(m.parameters(), 0.01, fused=True),
    "adamw": lambda m: torch.optim.AdamW(m.parameters(), 0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda m: torch.optim.RMSprop(m.parameters(), 0.01, momentum=0.9, centered=True),
    "asgd": lambda m: torch.optim.ASGD(m.parameters(), 0.1, weight_decay=0.1),
    "rprop": lambda m: torch.optim.Rprop(m.parameters(), 0.01),
}


@pytest.fixture(autouse=True)
def nothing_is_left_frozen() -> Iterator[None]:
    yield
    gc.collect()
    assert not apply._frozen
    # A model that was frozen and forgotten leaves the two hooks behind, which do nothing.
    assert len(apply._hooks) in (0, 2)


@given(seed=st.integers(0, 1000))
def test_apply_zeroes_what_the_masks_say_and_nothing_else(seed: int) -> None:
    model, masks = small(seed), small_masks(seed)
    before, parameters = snapshot(model), dict(model.named_parameters())
    crisp.apply_masks(model, masks)
    assert all(parameters[key] is value for key, value in model.named_parameters())
    for key, value in snapshot(model).items():
        keep = masks.layers.get(key.removesuffix(".weight"))
        expected = before[key] if keep is None else before[key] * torch.from_numpy(keep)
        assert torch.equal(value, expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_no_step_unzeroes_a_frozen_weight(name: str, when: str) -> None:
    model, masks = small(), small_masks()
    optimizer = OPTIMIZERS[name](model)
    if when == "before":  # with momentum that points away from zero
        for count in range(3):
            step(model, optimizer, count)
    with crisp.freeze_masks(model, masks):
        if when == "after":
            optimizer = OPTIMIZERS[name](model)
        assert not masked(model, masks).any()
        start = snapshot(model)
        for count in range(4):
            step(model, optimizer, count)
            assert not masked(model, masks).any()
        for key in ("conv.weight", "hidden.weight", "stem.weight", "head.weight"):
            assert not torch.equal(start[key], model.state_dict()[key]), f"{key} did not train"


def test_stale_momentum_would_unzero_a_weight_that_is_only_applied() -> None:
    # Otherwise the test above would show nothing.
    model, masks = small(), small_masks()
    optimizer = OPTIMIZERS["sgd"](model)
    step(model, optimizer)
    crisp.apply_masks(model, masks)
    step(model, optimizer)
    assert masked(model, masks).any()


def test_kept_weights_train_as_if_masks_were_part_of_the_network() -> None:
    """Frozen Adam equals Adam on weights that are multiplied by the mask."""
    masks = small_masks()
    frozen, plain = small(), small()
    crisp.apply_masks(plain, masks)
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    with crisp.freeze_masks(frozen, masks):
        other = torch.optim.Adam(frozen.parameters(), 0.01)
        for count in range(5):
            step(frozen, other, count)
            generator = torch.Generator().manual_seed(count)
            x = torch.randn(6, 1, 6, 6, generator=generator)
            product = {
                f"{name}.weight": plain.get_parameter(f"{name}.weight") * torch.from_numpy(keep)
                for name, keep in masks.layers.items()
            }
            output = torch.func.functional_call(plain, product, (x,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(output, torch.arange(6) % 3).backward()
            optimizer.step()
    assert same(snapshot(frozen), snapshot(plain))


def test_masked_weights_count_in_no_gradient_norm() -> None:
    model, masks = small(), small_masks()
    with crisp.freeze_masks(model, masks):
        step(model, torch.optim.SGD(model.parameters(), 0.0))
        for name, keep in masks.layers.items():
            gradient = model.get_parameter(f"{name}.weight").grad
            assert gradient is not None
            assert not gradient[torch.from_numpy(~keep)].any()
            assert gradient.any()


def test_grad_scaler() -> None:
    model, masks = small(), small_masks()
    optimizer = OPTIMIZERS["sgd"](model)
    step(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with crisp.freeze_masks(model, masks):
        for count in range(3):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(torch.randn(6, 1, 6, 6)).float().square().mean()
            scaler.scale(loss).backward()
            if count == 1:
                assert model.head.weight.grad is not None
                model.head.weight.grad.fill_(float("inf"))  # the scaler skips this step
            scaler.step(optimizer)
            scaler.update()
            assert not masked(model, masks).any()


def test_a_layer_may_be_called_twice_in_one_pass() -> None:
    layer = nn.Linear(8, 8)
    masks = crisp.Masks("x", NM24, 4, {"0": nm_mask((8, 8), 0)})
    model = nn.Sequential(layer, nn.Tanh())
    with crisp.freeze_masks(model, masks):
        model(model(torch.randn(2, 8))).sum().backward()
    assert layer.weight.grad is not None


def test_forward_zeroes_weights_that_were_loaded_or_written_by_hand() -> None:
    model, masks, x = small(), small_masks(), torch.randn(2, 1, 6, 6)
    with crisp.freeze_masks(model, masks), torch.no_grad():
        for assign in (False, True):
            model.load_state_dict(small(1).state_dict(), assign=assign)
            assert masked(model, masks).any()
            expected = small(1)
            crisp.apply_masks(expected, masks)
            assert torch.equal(model.train()(x), expected(x))
            assert not masked(model, masks).any()
        model.conv.weight.data.add_(1.0)
        with torch.inference_mode():
            model(x)
        assert not masked(model, masks)[: int((~masks.layers["conv"]).sum())].any()


def test_the_model_carries_nothing() -> None:
    model, masks = small(), small_masks()
    crisp.apply_masks(model, masks)
    bytes_before = pickle.dumps(model)
    keys, kinds = list(model.state_dict()), [type(part) for part in model.modules()]
    attributes = {name: sorted(vars(part)) for name, part in model.named_modules()}
    with crisp.freeze_masks(model, masks):
        assert pickle.dumps(model) == bytes_before
        assert list(model.state_dict()) == keys
        assert [type(part) for part in model.modules()] == kinds
        assert {name: sorted(vars(part)) for name, part in model.named_modules()} == attributes
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
            assert not masked(other, masks).any()
            # A copy is plain: it may be trained densely, and the original stays frozen.
            step(other, torch.optim.SGD(other.parameters(), 0.1))
            assert masked(other, masks).any()
            assert not masked(model, masks).any()
            step(model, torch.optim.SGD(model.parameters(), 0.1))
            assert not masked(model, masks).any()


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model, masks = small(), small_masks()
    with crisp.freeze_masks(model, masks):
        step(model, OPTIMIZERS["adam"](model))
    save_weights(tmp_path / "weights.safetensors", model)
    crisp.save_masks(str(tmp_path / "masks.safetensors"), masks)
    fresh = small(7)
    load_weights(tmp_path / "weights.safetensors", fresh, "Small")
    loaded = crisp.load_masks(str(tmp_path / "masks.safetensors"))
    assert same(snapshot(fresh), snapshot(model))
    assert not masked(fresh, loaded).any()
    with crisp.freeze_masks(fresh, loaded):
        step(fresh, OPTIMIZERS["adam"](fresh))
        assert not masked(fresh, masks).any()


def test_remove_lets_the_weights_train_again() -> None:
    model, masks = small(), small_masks()
    optimizer = OPTIMIZERS["sgd"](model)
    handle = crisp.freeze_masks(model, masks)
    step(model, optimizer)
    assert not masked(model, masks).any()
    handle.remove()
    handle.remove()
    assert not apply._hooks
    step(model, optimizer)
    assert masked(model, masks).ne(0).float().mean() > 0.5


def test_an_error_in_the_block_lets_go_too() -> None:
    model, masks = small(), small_masks()
    with pytest.raises(RuntimeError, match="stop"), crisp.freeze_masks(model, masks):
        raise RuntimeError("stop")
    assert not apply._hooks


def test_two_freezes_hold_together_and_let_go_apart() -> None:
    model, first, second = small(), small_masks(0), small_masks(1)
    optimizer = OPTIMIZERS["adam"](model)
    outer = crisp.freeze_masks(model, first)
    inner = crisp.freeze_masks(model, second)
    step(model, optimizer)
    assert not masked(model, first).any()
    assert not masked(model, second).any()
    outer.remove()
    step(model, optimizer)
    assert masked(model, first).any()
    assert not masked(model, second).any()
    inner.remove()
    step(model, optimizer)
    assert masked(model, second).any()


def test_a_frozen_model_that_is_dropped_is_not_kept_alive() -> None:
    model = small()
    crisp.freeze_masks(model, small_masks())
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_weights_without_a_gradient_stay_zero_once_they_get_one() -> None:
    model, masks = small().requires_grad_(False), small_masks()
    with crisp.freeze_masks(model, masks):
        model.requires_grad_(True)
        step(model, OPTIMIZERS["sgd"](model))
        assert not masked(model, masks).any()


def test_half_precision_and_another_memory_format() -> None:
    model, masks = small(), small_masks()
    with crisp.freeze_masks(model, masks):
        model.to(torch.bfloat16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = OPTIMIZERS["sgd"](model)
        model(torch.randn(2, 1, 6, 6, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
        assert not masked(model, masks).any()


def test_function_transforms_and_compilation_work_on_a_frozen_model() -> None:
    model, masks, x = small().eval(), small_masks(), torch.randn(2, 1, 6, 6)
    with crisp.freeze_masks(model, masks):
        assert torch.func.jacrev(model)(x).shape == (2, 3, 2, 1, 6, 6)
        expected = model(x)
        model.compile(backend="eager", fullgraph=True)
        assert torch.equal(model(x), expected)
        optimizer = OPTIMIZERS["sgd"](model)
        step(model, optimizer)
        assert not masked(model, masks).any()


def test_a_layer_that_changed_its_shape_is_named() -> None:
    model = small()
    with crisp.freeze_masks(model, small_masks()):
        model.hidden.weight = nn.Parameter(torch.ones(16, 32))
        with pytest.raises(crisp.CrispLoopError, match=r"hidden .*\(8, 32\).*\(16, 32\); remove"):
            model(torch.randn(2, 1, 6, 6))


class Tied(Small):
    def __init__(self) -> None:
        super().__init__()
        self.twin = nn.Embedding(8, 32)
        self.twin.weight = self.hidden.weight


class Lazy(Small):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.LazyLinear(8)


def view_of_hidden() -> Small:
    model = small()
    model.other = nn.Linear(32, 8)
    model.other.weight.data = model.hidden.weight.data[:]
    return model


def parametrized() -> Small:
    model = small()
    nn.utils.parametrizations.weight_norm(model.hidden)
    return model


@pytest.mark.parametrize(
    ("make", "layers", "message"),
    [
        (small, {"fc9": nm_mask((8, 8), 0)}, r"Small has no layer 'fc9'; .* stem, conv, hidden, h"),
        (small, {"norm": nm_mask((8, 8), 0)}, r"norm of Small is a BatchNorm2d; .* Conv2d and Lin"),
        (small, {"hidden": nm_mask((8, 8), 0)}, r"hidden is shaped \(8, 8\), but .* \(8, 32\)\.$"),
        (small, {"hidden": np.ones((8, 32), np.uint8)}, r"mask of layer hidden holds uint8; exp"),
        (Tied, {"hidden": nm_mask((8, 32), 0)}, r"hidden shares its weight with twin, which"),
        (
            view_of_hidden,
            {"hidden": nm_mask((8, 32), 0)},
            r"hidden shares its weight with other",
        ),
        (Lazy, {"hidden": nm_mask((8, 32), 0)}, r"weight of layer hidden is not there yet"),
        (parametrized, {"hidden": nm_mask((8, 32), 0)}, r"weight of layer hidden is computed"),
    ],
)
@pytest.mark.parametrize("use", [crisp.apply_masks, crisp.freeze_masks])
def test_refusals_change_nothing(
    use: Callable[[nn.Module, crisp.Masks], object],
    make: Callable[[], nn.Module],
    layers: dict[str, BoolArray],
    message: str,
) -> None:
    model = make()
    good = {"conv": nm_mask((8, 4, 3, 3), 0)}
    weight = model.get_parameter("conv.weight")
    before = weight.detach().clone()
    with pytest.raises(crisp.CrispLoopError, match=message) as raised:
        use(model, crisp.Masks("Small", NM24, 4, good | layers))
    assert str(raised.value).count("\n") == 0
    assert torch.equal(weight, before)
    assert not apply._hooks
    assert not weight._backward_hooks


def test_a_model_that_is_a_layer_itself() -> None:
    model, keep = nn.Linear(8, 4), nm_mask((4, 8), 0)
    with crisp.freeze_masks(model, crisp.Masks("x", NM24, 4, {"": keep})):
        assert np.array_equal(crisp.masks_of(model, "2:4", 4).layers[""], keep)
    with pytest.raises(crisp.CrispLoopError, match="mask of Linear is shaped"):
        crisp.apply_masks(model, crisp.Masks("x", NM24, 4, {"": keep[:2]}))


def test_one_layer_under_two_names_is_not_tied() -> None:
    model = small()
    model.again = model.hidden
    crisp.apply_masks(model, small_masks())
    assert not masked(model, small_masks()).any()


@given(seed=st.integers(0, 1000))
def test_masks_of_a_masked_model_are_its_masks(seed: int) -> None:
    model, masks = small(seed), small_masks(seed)
    crisp.apply_masks(model, masks)
    found = crisp.masks_of(model, "2:4", 16, name="mine")
    assert (found.model, found.nm, found.block) == ("mine", NM24, 16)
    assert list(found.layers) == ["conv", "hidden"]
    for name, mask in found.layers.items():
        assert mask.dtype == bool
        assert np.array_equal(mask, masks.layers[name])
    assert crisp.masks_of(model, NM24, 16).model == "Small"


def test_masks_of_a_pruned_model_are_those_that_pruning_returned() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 3))
    data = torch.randn(24, 16), torch.arange(24) % 3
    config = crisp.CrispConfig(
        sparsity=0.8, iterations=1, ste_epochs=1, iteration_epochs=1, final_epochs=1
    )
    masks = crisp.prune(model, data, config)
    found = crisp.masks_of(model, config.nm, config.block)
    assert found.model == masks.model == "Sequential"
    assert list(found.layers) == list(masks.layers)
    for name, mask in masks.layers.items():
        assert np.array_equal(found.layers[name], mask)


def test_masks_of_torch_s_own_pruning() -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    keep = nm_mask((4, 8), 0)
    prune.custom_from_mask(model[0], "weight", torch.from_numpy(keep))
    assert np.array_equal(crisp.masks_of(model, "2:4", 16).layers["0"], keep)


def test_a_kept_weight_of_zero_fits_but_a_kept_block_of_zeros_does_not() -> None:
    keep = nm_mask((8, 32), 0)
    keep[:4, 4:8] = keep[4:, 20:24] = False  # one 4 x 4 block in each of two block-rows
    model = nn.Sequential(nn.Linear(32, 8))
    crisp.apply_masks(model, crisp.Masks("x", NM24, 4, {"0": keep}))
    weight = model.get_parameter("0.weight")
    with torch.no_grad():
        weight[tuple(np.argwhere(keep)[0])] = 0.0
    found = crisp.masks_of(model, "2:4", 4).layers["0"]
    assert found.sum() == keep.sum() - 1
    with torch.no_grad():
        weight[:4, :4] = 0.0
    with pytest.raises(crisp.CrispLoopError, match="0 and 1 keep 6 and 7 blocks"):
        crisp.masks_of(model, "2:4", 4)


def test_layers_without_the_pattern_are_all_named() -> None:
    model = small()
    with torch.no_grad():
        model.stem.weight[0, 0, 0, 0] = 0.0
        model.hidden.weight[0, 0] = 0.0
        model.head.weight.zero_()
    message = (
        r"^Small does not follow 2:4 in blocks of 16: stem \(its 1 input channels are not a"
        r" multiple of 4\), hidden \(row 0, columns 4 to 7 keep 4 weights, more than 2:4\),"
        r" head \(all its weights are zero\)\.$"
    )
    with pytest.raises(crisp.CrispLoopError, match=message):
        crisp.masks_of(model, "2:4", 16)
    crisp.apply_masks(model, small_masks())
    assert list(crisp.masks_of(model, "2:4", 16, names=["hidden"]).layers) == ["hidden"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nm": "4:2"}, "'4:2' cannot be used; expected N:M"),
        ({"block": 0}, "side 0 cannot be used; expected 1 or more"),
        ({"names": ["fc9"]}, "no layer 'fc9'"),
        ({"names": ["norm"]}, "is a BatchNorm2d"),
        ({"names": ["head"]}, r"head \(none of its weights is zero\)"),
        ({}, "no conv or linear layer with a weight of zero"),
    ],
)
def test_masks_of_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(crisp.CrispLoopError, match=message):
        crisp.masks_of(small(), **({"nm": "2:4", "block": 16} | options))  # type: ignore[arg-type]


def test_grouped_convolutions_follow_no_pattern() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2))
    crisp.apply_masks(model, crisp.Masks("x", NM24, 4, {"0": nm_mask((8, 4, 3, 3), 0)}))
    with pytest.raises(crisp.CrispLoopError, match=r"0 \(it has 2 groups\)"):
        crisp.masks_of(model, "2:4", 4)


def test_public_names() -> None:
    assert crisp.__all__ == sorted(crisp.__all__, key=lambda name: (not name.isupper(), name))
    for name in crisp.__all__:
        assert getattr(crisp, name).__doc__


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    script = ROOT / "examples" / "own_model.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["dense", "pruned", "trained"]
    masks = crisp.load_masks(tmp_path / "runs" / "own_model" / "masks.safetensors")
    assert list(masks.layers) == ["2", "4"]
