"""Own networks against torchvision's published parameter counts and key names."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.layers import roles
from crisp_loop.networks.registry import NETWORKS, build, parameters
from crisp_loop.networks.trace import layer_table

COUNTS = {
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "mobilenetv2": 3_504_872,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_torchvisions(name: str) -> None:
    assert layer_table(name).parameters == COUNTS[name]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        (
            "resnet50",
            {
                "conv1.weight": (64, 3, 7, 7),
                "bn1.num_batches_tracked": (),
                "layer1.0.conv1.weight": (64, 64, 1, 1),
                "layer1.0.downsample.0.weight": (256, 64, 1, 1),
                "layer2.0.downsample.1.running_mean": (512,),
                "layer3.5.conv2.weight": (256, 256, 3, 3),
                "layer4.2.bn3.bias": (2048,),
                "fc.weight": (1000, 2048),
            },
        ),
        (
            "resnet18",
            {
                "conv1.weight": (64, 3, 7, 7),
                "layer1.0.conv2.weight": (64, 64, 3, 3),
                "layer2.0.downsample.0.weight": (128, 64, 1, 1),
                "layer4.1.bn2.running_var": (512,),
                "fc.weight": (1000, 512),
            },
        ),
        (
            "vgg16",
            {
                "features.0.weight": (64, 3, 3, 3),
                "features.28.weight": (512, 512, 3, 3),
                "classifier.0.weight": (4096, 25088),
                "classifier.3.bias": (4096,),
                "classifier.6.weight": (1000, 4096),
            },
        ),
        (
            "vgg16_bn",
            {"features.1.running_var": (64,), "features.40.weight": (512, 512, 3, 3)},
        ),
        (
            "mobilenetv2",
            {
                "features.0.0.weight": (32, 3, 3, 3),
                "features.0.1.weight": (32,),
                "features.1.conv.0.0.weight": (32, 1, 3, 3),
                "features.1.conv.1.weight": (16, 32, 1, 1),
                "features.1.conv.2.weight": (16,),
                "features.2.conv.0.0.weight": (96, 16, 1, 1),
                "features.2.conv.1.0.weight": (96, 1, 3, 3),
                "features.2.conv.2.weight": (24, 96, 1, 1),
                "features.17.conv.3.running_mean": (320,),
                "features.18.0.weight": (1280, 320, 1, 1),
                "classifier.1.weight": (1000, 1280),
            },
        ),
    ],
)
def test_keys_are_torchvisions(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    with torch.device("meta"):
        state = build(name).state_dict()
    for key, shape in shapes.items():
        assert tuple(state[key].shape) == shape


@pytest.mark.parametrize(
    ("name", "keys"),
    [("resnet18", 122), ("resnet50", 320), ("vgg16", 32), ("vgg16_bn", 97), ("mobilenetv2", 314)],
)
def test_number_of_keys_is_torchvisions(name: str, keys: int) -> None:
    with torch.device("meta"):
        assert len(build(name).state_dict()) == keys


def test_resnet50_table() -> None:
    table = layer_table("resnet50")
    assert len(table.layers) == 54
    by_name = {layer.name: layer for layer in table.layers}
    # MAC count of ResNet-50 v1.5 at 224 x 224, convolutions and classifier.
    assert sum(layer.macs for layer in table.layers) == 4_089_184_256
    conv = by_name["layer4.0.conv2"]
    assert (conv.S, conv.K, conv.N) == (512, 4608, 49)
    assert (conv.stride, conv.padding, conv.input_size) == ((2, 2), (1, 1), (14, 14))
    assert [table.layers[0].name, table.layers[-1].name] == ["conv1", "fc"]
    assert by_name["fc"].N == 1
    # The 52 convolutions that the paper prunes all divide by 64.
    blocks = [layer for layer in table.layers[1:-1] if not layer.S % 64 and not layer.K % 64]
    assert len(blocks) == 52


def test_tracing_is_quick_after_the_first() -> None:
    layer_table("resnet50")
    start = time.perf_counter()
    layer_table("resnet50")
    assert time.perf_counter() - start < 1.0


def test_batch_scales_n() -> None:
    one, four = layer_table("digits-resnet"), layer_table("digits-resnet", batch=4)
    assert [4 * layer.N for layer in one.layers] == [layer.N for layer in four.layers]


def test_depthwise_layers_are_known() -> None:
    table = layer_table("mobilenetv2")
    assert sum(layer.depthwise for layer in table.layers) == 17


def test_trace_of_a_module_leaves_it_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.BatchNorm2d(4), nn.ReLU())
    model[1].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = layer_table(model, (3, 5, 7), batch=2)
    layer = table.layers[0]
    assert (layer.N, layer.padding, layer.output_size) == (70, (1, 1), (5, 7))
    assert model.training
    assert not model[1].training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_trace_leaves_shared_parts_alone() -> None:
    """One module under two names, and one parameter in two modules."""
    part, tied = nn.Linear(8, 8), nn.Linear(8, 8)
    tied.weight = part.weight
    model = nn.Sequential(part, nn.ReLU(), part, tied)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = layer_table(model, (8,))
    assert [(layer.name, layer.batch) for layer in table.layers] == [("0", 2), ("3", 1)]
    assert tied.weight is part.weight
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_linear_on_a_sequence_and_shared_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shared(self.shared(x))

    layer = layer_table(Twice(), (5, 6), batch=2).layers[0]
    assert layer.N == 2 * 5 * 2


def test_macs_match_a_real_forward_of_the_digits_network() -> None:
    model = build("digits-resnet")
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    widths = [layer.out_channels for layer in layer_table(model, (1, 8, 8)).layers[:-1]]
    assert all(width % 32 == 0 for width in widths)


@pytest.mark.parametrize("name", ["digits-vgg", "digits-mobilenet"])
def test_blocks_of_16_divide_what_can_be_pruned_for_digits(name: str) -> None:
    assert build(name)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    table = layer_table(name)
    plain = [layer for layer in table.layers[1:-1] if not layer.depthwise]
    assert len(plain) >= 5
    assert all(layer.S % 16 == 0 and layer.K % 16 == 0 for layer in plain)


def test_unknown_name_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="alexnet") as caught:
        build("alexnet")
    assert all(name in str(caught.value) for name in NETWORKS)
    with pytest.raises(InputError, match="alexnet"):
        layer_table("alexnet")


def test_wrong_input_shape_is_one_sentence() -> None:
    with pytest.raises(InputError, match="resnet50") as caught:
        layer_table("resnet50", (1, 8, 8))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="input_shape"):
        layer_table(nn.Linear(3, 3))
    with pytest.raises(CrispLoopError, match="at least one class"):
        build("resnet50", 0)


# ---- CIFAR-sized networks ----------------------------------------------------------------


def test_resnet20_is_the_papers_with_convolution_shortcuts() -> None:
    table = layer_table("resnet20")
    # 269,722 parameters with option A (zero padding); option B adds two 1x1 convolutions
    # with batch norm: 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64.
    assert table.parameters == parameters("resnet20") == 269_722 + 2_752
    assert len([layer for layer in table.layers if layer.kernel == (3, 3)]) == 19
    sizes = [(layer.S, layer.output_size) for layer in table.layers if layer.kernel == (3, 3)]
    assert sizes == 7 * [(16, (32, 32))] + 6 * [(32, (16, 16))] + 6 * [(64, (8, 8))]
    assert build("resnet20", 7)(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


def test_vision_transformer_is_traced_token_by_token() -> None:
    table = layer_table("vit-tiny-cifar", batch=2)
    by_name = {layer.name: layer for layer in table.layers}
    assert len(table.layers) == 1 + 6 * 4 + 1
    assert [by_name["patch_embed.proj"].kind, by_name["patch_embed.proj"].N] == ["conv", 2 * 64]
    shapes = {"attn.qkv": (576, 192), "attn.proj": (192, 192), "mlp.fc1": (768, 192)}
    shapes["mlp.fc2"] = (192, 768)
    for index in range(6):
        for part, (rows, columns) in shapes.items():
            layer = by_name[f"blocks.{index}.{part}"]
            # 64 patches and the class token of each of the two images.
            assert (layer.kind, layer.S, layer.K, layer.N) == ("linear", rows, columns, 2 * 65)
            assert layer.S % 64 == layer.K % 64 == 0
    assert by_name["head"].N == 2
    assert roles(table) == {"patch_embed.proj": "stem", "head": "head"}
    weights = sum(layer.weights for layer in table.layers)
    others = 192 * (1 + 65 + 1) + 6 * (576 + 192 + 768 + 192 + 4 * 192) + 2 * 192 + 10
    assert table.parameters == parameters("vit-tiny-cifar") == weights + others


def test_vision_transformer_agrees_with_torchs_attention() -> None:
    torch.manual_seed(0)
    model = build("vit-tiny-cifar").eval()
    attention = model.get_submodule("blocks.0.attn")
    tokens = torch.randn(2, 65, 192)
    oracle = nn.MultiheadAttention(192, 3, batch_first=True).eval()
    renamed = {
        "in_proj_weight": "qkv.weight",
        "in_proj_bias": "qkv.bias",
        "out_proj.weight": "proj.weight",
        "out_proj.bias": "proj.bias",
    }
    state = attention.state_dict()
    oracle.load_state_dict({key: state[own] for key, own in renamed.items()})
    expected, _ = oracle(tokens, tokens, tokens)
    assert torch.allclose(attention(tokens), expected, atol=1e-5)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(InputError, match="the network refuses it"):
        layer_table("vit-tiny-cifar", (3, 28, 28))
