"""Which tensor a layer's feature map is, and that watching leaves no trace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.scores.feature_maps import watch_feature_maps


def seen(
    model: nn.Module, name: str, inputs: Tensor, activated: bool = True
) -> tuple[list[Tensor], Tensor]:
    """All maps that the measure was given for one layer, in order, and the sums."""
    maps: list[Tensor] = []

    def measure(values: Tensor) -> Tensor:
        maps.append(values.clone())
        return values

    with watch_feature_maps(model, [name], measure, activated=activated) as observe:
        found = observe(inputs)[name]
    assert found.positions == maps[-1].shape[2]
    assert found.sums.dtype == torch.float64
    assert torch.allclose(found.sums, maps[-1].double().sum(dim=2))
    return maps, found.sums


class Net(nn.Module):
    """One convolution and batch norm, then whatever a test wants."""

    def __init__(self, after: Callable[[Net, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.bn = nn.BatchNorm2d(2)
        self.relu = nn.ReLU()
        self.inplace = nn.ReLU(inplace=True)
        self.gelu = nn.GELU()
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(0.9)
        self.identity = nn.Identity()
        self.shift = nn.LeakyReLU(-1.0)  # |x|: tells itself apart from a rectified map
        self.after = after
        self.bn.running_mean = torch.tensor([0.3, -0.2])
        self.bn.running_var = torch.tensor([0.5, 2.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self, self.conv(x), x)


def conv(net: Net, x: Tensor) -> Tensor:
    return nn.functional.conv2d(x, net.conv.weight, net.conv.bias, padding=1)


def norm(net: Net, y: Tensor) -> Tensor:
    return nn.functional.batch_norm(
        y, net.bn.running_mean, net.bn.running_var, net.bn.weight, net.bn.bias
    )


def add_in_place(net: Net, y: Tensor, x: Tensor) -> Tensor:
    y = net.bn(y)
    y += 10 * x
    return net.inplace(y)


ENDS: dict[str, tuple[Callable[[Net, Tensor, Tensor], Tensor], str]] = {
    "nothing": (lambda net, y, x: y + 0, "conv"),
    "norm": (lambda net, y, x: net.bn(y), "norm"),
    "relu": (lambda net, y, x: net.relu(net.bn(y)), "relu"),
    "relu in place": (lambda net, y, x: net.inplace(net.bn(y)), "relu"),
    "no norm, in place": (lambda net, y, x: net.inplace(y), "conv relu"),
    "gelu": (lambda net, y, x: net.gelu(net.bn(y)), "gelu"),
    "two activations": (lambda net, y, x: net.relu(net.gelu(net.bn(y))), "gelu"),
    "|x|": (lambda net, y, x: net.shift(net.bn(y)), "abs"),
    "identities": (lambda net, y, x: net.shift(net.dropout(net.identity(net.bn(y)))), "abs"),
    "function": (lambda net, y, x: torch.relu(net.bn(y)), "norm"),
    "function in place": (lambda net, y, x: torch.relu_(net.bn(y)), "norm"),
    "function, then module": (lambda net, y, x: net.shift(torch.tanh(net.bn(y))), "norm"),
    "addition": (lambda net, y, x: net.shift(net.bn(y) + 10 * x), "norm"),
    "addition in place": (add_in_place, "norm"),
    "pool first": (lambda net, y, x: net.shift(net.pool(net.bn(y))), "norm"),
    "activation of another": (lambda net, y, x: net.shift(x) + net.bn(y), "norm"),
}


@pytest.mark.parametrize("case", ENDS)
def test_map_is_the_last_norm_or_activation_rectified(case: str) -> None:
    torch.manual_seed(0)
    after, end = ENDS[case]
    net = Net(after)
    x = torch.randn(3, 2, 6, 5)
    with torch.no_grad():
        y = conv(net, x)
        z = norm(net, y)
        expected = {
            "conv": y,
            "conv relu": y,
            "norm": z,
            "relu": z,
            "gelu": nn.functional.gelu(z),
            "abs": z.abs(),
        }[end].clamp(min=0)
        before = {"conv": y, "conv relu": y}.get(end, z)
    maps, _ = seen(net, "conv", x)
    assert maps[-1].shape == (3, 2, 30)
    assert torch.allclose(maps[-1], expected.flatten(2), atol=1e-6)
    maps, _ = seen(net, "conv", x, activated=False)
    assert torch.allclose(maps[-1], before.flatten(2), atol=1e-6)


def test_positions_of_a_linear_layer_are_its_middle_axes() -> None:
    layer = nn.Linear(3, 4)
    for shape, positions in [((5, 3), 1), ((5, 7, 3), 7), ((5, 2, 6, 3), 12)]:
        x = torch.randn(shape)
        maps, _ = seen(nn.Sequential(layer, nn.ReLU()), "0", x)
        expected = layer(x).relu().reshape(5, positions, 4).transpose(1, 2)
        assert torch.allclose(maps[-1], expected)


def test_a_layer_that_runs_twice_adds_up() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x)[:, :2])

    net, x = Twice(), torch.randn(3, 5, 4)
    with watch_feature_maps(net, ["layer"], lambda values: values) as observe:
        found = observe(x)["layer"]
    first = net.layer(x)
    both = first.relu().sum(dim=1) + net.layer(first[:, :2]).relu().sum(dim=1)
    assert found.positions == 7
    assert torch.allclose(found.sums.float(), both, atol=1e-6)


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_no_trace() -> None:
    torch.manual_seed(0)
    model = build("digits-resnet")
    model.get_submodule("layer1").eval()  # a part set apart
    names = [layer.name for layer in layer_table(model, (1, 8, 8)).layers]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    x = torch.randn(4, 1, 8, 8)
    torch.manual_seed(1)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    with watch_feature_maps(model, names, lambda values: values) as observe:
        assert not torch.is_grad_enabled()
        assert not any(part.training for part in model.modules())
        found = observe(x)
    assert torch.equal(torch.rand(1), drawn)
    assert not any(maps.sums.requires_grad for maps in found.values())
    assert hooks(model) == 0
    assert torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("failing", ["measure", "model", "block", "name"])
def test_hooks_go_on_errors_too(failing: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())

    def measure(values: Tensor) -> Tensor:
        if failing == "measure":
            raise RuntimeError
        return values

    names = ["0", "nowhere"] if failing == "name" else ["0"]

    def watch() -> None:
        with watch_feature_maps(model, names, measure) as observe:
            if failing == "block":
                raise RuntimeError
            observe(torch.ones(2, 5 if failing == "model" else 4))

    with pytest.raises((RuntimeError, CrispLoopError)):
        watch()
    assert hooks(model) == 0
    assert model.training
    assert torch.is_grad_enabled()


def test_passes_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = build("digits-resnet")
    x = torch.randn(6, 1, 8, 8)
    names = ["conv1", "layer2.0.conv2", "fc"]
    with watch_feature_maps(model, names, lambda values: values) as observe:
        whole = observe(x)
        parts = [observe(part) for part in x.split([1, 3, 2])]
    for name in names:
        together = torch.cat([part[name].sums for part in parts])
        assert torch.allclose(together, whole[name].sums, rtol=1e-4, atol=1e-4)


def test_inference_mode() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with (
        torch.inference_mode(),
        watch_feature_maps(model, ["0"], lambda values: values) as observe,
    ):
        x = torch.ones(2, 4)
        assert torch.allclose(observe(x)["0"].sums.float(), model(x))


def test_refusals() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(2, 2)
            self.norm = nn.BatchNorm1d(2)
            self.folded = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.folded(x.reshape(-1, 2))

    model, x = Odd(), torch.ones(3, 4)
    for name, says in [("unused", "does not run"), ("folded", "6 items for a batch of 3")]:
        with (
            watch_feature_maps(model, [name], lambda values: values) as observe,
            pytest.raises(CrispLoopError, match=says),
        ):
            observe(x)
    for name, says in [("nowhere", "no layer nowhere"), ("norm", "BatchNorm1d")]:
        with (
            pytest.raises(CrispLoopError, match=says),
            watch_feature_maps(model, [name], lambda values: values),
        ):
            pass


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("resnet20", (3, 32, 32)),
        ("digits-resnet", (1, 8, 8)),
        ("vit-tiny-cifar", (3, 32, 32)),
        ("mobilenetv2", (3, 64, 64)),
    ],
)
def test_every_layer_of_a_network_has_a_map(network: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = build(network, 10)
    table = layer_table(model, shape)
    names = [layer.name for layer in table.layers]
    with watch_feature_maps(model, names, lambda values: values.gt(0)) as observe:
        found = observe(torch.randn(2, *shape))
    assert list(found) == names
    for layer in table.layers:
        maps = found[layer.name]
        assert maps.sums.shape == (2, layer.out_channels)
        assert maps.positions == layer.output_size[0] * layer.output_size[1] * layer.batch
        assert 0 < maps.sums.mean() < maps.positions
