"""Layer files of every kind: the same layers whatever they are written in, mistakes in one line."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import write_json
from crisp_loop.core.layers import Layer
from crisp_loop.layers import read_layers
from crisp_loop.networks.trace import operation_table


class Zoo(nn.Module):
    """One layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.c2 = nn.Conv2d(8, 16, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 1))
        self.grouped = nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.up = nn.ConvTranspose2d(32, 8, 4, stride=2, padding=1)
        self.c1 = nn.Conv1d(8, 12, 5, padding=4, dilation=2)
        self.fc = nn.Linear(12, 20)
        self.c3 = nn.Conv3d(1, 6, 3, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.up(self.depthwise(self.grouped(self.c2(x)))).flatten(2)
        y = self.fc(self.c1(y).transpose(1, 2))
        score = y @ y.transpose(1, 2)
        return self.c3(score[:, None, None].expand(-1, 1, 9, -1, -1))


ENTRIES = """
- {name: c2, kind: conv, in_channels: 8, out_channels: 16, kernel: [3, 5], stride: [2, 1],
   padding: [1, 2], input_size: 8x8}
- {name: grouped, kind: conv, in_channels: 16, out_channels: 32, kernel: 3, padding: 1, groups: 4,
   input_size: [4, 8]}
- {name: depthwise, kind: conv, in_channels: 32, out_channels: 32, kernel: 3x3, padding: 1,
   groups: 32, output_size: 4x8}
- {name: up, kind: conv_transpose, in_channels: 32, out_channels: 8, kernel: 4, stride: 2,
   padding: 1, input_size: 4x8}
- {name: c1, kind: conv, in_channels: 8, out_channels: 12, kernel: [5], padding: 4, dilation: 2,
   input_size: [128]}
- {name: fc, kind: linear, in_channels: 12, out_channels: 20, batch: 128}
- {name: matmul0, kind: matmul, in_channels: 20, out_channels: 128, batch: 128}
- {name: c3, kind: conv, in_channels: 1, out_channels: 6, kernel: 3x3x3, stride: 2,
   input_size: [9, 128, 128]}
"""


def traced() -> list[Layer]:
    return list(operation_table(Zoo(), (8, 8, 8)).layers)


def shapes(layers: list[Layer]) -> list[tuple[object, ...]]:
    return [(each.name, each.kind, each.groups, each.S, each.K, each.N) for each in layers]


def test_a_list_says_what_torch_traces(tmp_path: Path) -> None:
    (tmp_path / "l.yaml").write_text(ENTRIES)
    listed = read_layers(tmp_path / "l.yaml")
    assert shapes(list(listed.layers)) == shapes(traced())
    assert listed.layers[0] == traced()[0]
    parameters = sum(each.numel() for name, each in Zoo().named_parameters() if "bias" not in name)
    assert listed.parameters == parameters


def _cell(value: object) -> str:
    return f"[{'x'.join(map(str, value))}]" if isinstance(value, list) else str(value)


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "l.yaml").write_text(ENTRIES)
    rows = yaml.safe_load(ENTRIES)
    columns = sorted({key for row in rows for key in row})
    lines = [",".join(columns)]
    for row in rows:
        cells = (row.get(key, "") for key in columns)
        lines.append(",".join(_cell(each) for each in cells))
    (tmp_path / "l.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    table = read_layers(tmp_path / "l.yaml")
    assert read_layers(tmp_path / "l.csv") == table
    write_json(tmp_path / "l.json", table)
    assert read_layers(tmp_path / "l.json") == table


def test_products_of_activations_have_no_weights() -> None:
    (product,) = [each for each in traced() if each.kind == "matmul"]
    assert (product.weights, product.macs) == (0, 128 * 20 * 128)


def test_attention_is_one_product_a_head_and_input() -> None:
    table = operation_table("vit-tiny-cifar", batch=2)
    products = [each for each in table.layers if each.kind == "matmul"]
    assert len(products) == 12
    scores, sums = products[:2]
    tokens, width = 65, 64
    assert (scores.name, scores.groups) == ("blocks.0.attn.matmul0", 6)
    assert scores.macs == sums.macs == 2 * 3 * tokens * tokens * width


def test_torchs_own_attention_has_its_projection_and_products() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    before = torch.backends.mha.get_fastpath_enabled()
    layers = operation_table(Own(), (10, 32), batch=2).layers
    assert torch.backends.mha.get_fastpath_enabled() == before
    assert sum(each.macs for each in layers) == 20 * 32 * 128 + 2 * 8 * 10 * 10 * 8
    assert sum(each.weights for each in layers) == 4 * 32 * 32


# ---- Timeloop problems -------------------------------------------------------------------------

SHAPE = """
  shape:
    coefficients: [{name: Wstride, default: 1}, {name: Wdilation, default: 1}]
    dimensions: [C, M, R, S, N, P, Q, G]
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]], [[G]]]}
    - name: Inputs
      projection:
      - [[N]]
      - [[C]]
      - [[R, Wdilation], [P, Wstride]]
      - [[S], [Q]]
      - [[G]]
    - {name: Outputs, projection: [[[N]], [[M]], [[P]], [[Q]], [[G]]], read_write: true}
"""
INSTANCE = (
    "  instance: {C: 4, M: 6, R: 3, S: 5, N: 2, P: 7, Q: 9, G: 8, WStride: 2, Wdilation: 3}\n"
)


def test_a_cnn_problem_is_read_by_its_projections(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(f"problem:\n  version: 0.4{SHAPE}{INSTANCE}")
    (layer,) = read_layers(tmp_path / "p.yaml").layers
    assert (layer.groups, layer.S, layer.K, layer.N) == (8, 48, 4 * 3 * 5, 2 * 7 * 9)
    assert (layer.kind, layer.kernel, layer.stride) == ("conv", (3, 5), (2, 1))
    # (7 - 1) * 2 + 3 * (3 - 1) + 1 rows of input are read.
    assert (layer.dilation, layer.input_size) == ((3, 1), (19, 13))
    assert layer.in_channels == 32


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("problem: {shape: cnn-layer, R: 3, S: 3, P: 8, Q: 8, C: 16, K: 32, N: 1}",
         (32, 16 * 9, 64)),
        ("problem: {C: 16, K: 32, P: 8, Q: 8}", (32, 16, 64)),
        ("problem: {shape: gemm_ABZ, instance: {M: 5, K: 7, N: 11}}", (5, 7, 11)),
        ("problem: {shape: {dimensions: [K, M], data_spaces: [{name: A, projection: [[[K]]]},"
         " {name: B, projection: [[[K]]]}, {name: Z, projection: [[[M]]], read_write: true}]},"
         " instance: {M: 1, K: 16}}", (1, 16, 1)),
    ],
)  # fmt: skip
def test_problems_with_a_shape_by_name(tmp_path: Path, text: str, shape: tuple[int, ...]) -> None:
    (tmp_path / "p.yaml").write_text(text)
    (layer,) = read_layers(tmp_path / "p.yaml").layers
    assert shape == (layer.S, layer.K, layer.N)


def test_a_directory_with_a_shared_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "problem_base: &base\n  version: 0.4\n"
        "  instance: {C: 1, M: 1, R: 1, S: 1, N: 1, P: 1, Q: 1, G: 1}\n" + SHAPE
    )
    shapes = tmp_path / "net"
    shapes.mkdir()
    for name, channels in (("10", 32), ("9", 16)):
        (shapes / f"{name}.yaml").write_text(
            "{{include_text('../base.yaml')}}\n"
            f"problem:\n  <<<: *base\n  instance: {{C: {channels}, M: 4, P: 3}}\n"
        )
    (shapes / "notes.yaml").write_text("nothing: here")
    table = read_layers(shapes)
    assert [(each.name, each.K, each.N) for each in table.layers] == [("9", 16, 3), ("10", 32, 3)]
    assert table.model == "net"


def test_an_include_does_not_leave_its_place(tmp_path: Path) -> None:
    for target in ("/etc/passwd", "../../secret.yaml", "../secret.txt", "deep/er.yaml"):
        (tmp_path / "p.yaml").write_text(f"{{{{include_text('{target}')}}}}\nproblem: {{C: 1}}\n")
        with pytest.raises(CrispLoopError, match="file of the same directory"):
            read_layers(tmp_path / "p.yaml")


# ---- ONNX --------------------------------------------------------------------------------------


def test_an_onnx_graph(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (the extra onnx)")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def weight(name: str, *dims: int) -> object:
        numbers = torch.zeros(dims).flatten().tolist()
        return helper.make_tensor(name, kind, dims, numbers)

    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "c", pads=[1, 1, 1, 1], group=2),
        helper.make_node("ConvTranspose", ["a", "w1"], ["b"], "up", strides=[2, 2]),
        helper.make_node("Reshape", ["b", "shape"], ["t"]),
        helper.make_node("MatMul", ["t", "w2"], ["u"], "fc"),
        helper.make_node("Transpose", ["u"], ["v"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["u", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", kind, ["batch", 4, 6, 6])],
        [helper.make_tensor_value_info("y", kind, None)],
        [
            weight("w0", 8, 2, 3, 3),
            weight("w1", 8, 5, 2, 2),
            weight("w2", 144, 7),
            helper.make_tensor("shape", onnx.TensorProto.INT64, [3], [1, 5, 144]),
        ],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "g.onnx"))
    layers = read_layers(tmp_path / "g.onnx").layers
    assert shapes(list(layers)) == [
        ("c", "conv", 2, 8, 18, 36),
        *((f"up.phase{y}x{x}", "conv", 1, 5, 8, 36) for y in (0, 1) for x in (0, 1)),
        ("fc", "linear", 1, 7, 144, 5),
        ("MatMul_5", "matmul", 1, 5, 7, 5),
    ]
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x00 no graph")
    with pytest.raises(CrispLoopError, match="not a readable ONNX graph"):
        read_layers(tmp_path / "bad.onnx")


def test_onnx_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    (tmp_path / "g.onnx").write_bytes(b"")
    with pytest.raises(CrispLoopError, match=r"pip install 'crisp-loop\[onnx\]'"):
        read_layers(tmp_path / "g.onnx")


# ---- mistakes ----------------------------------------------------------------------------------

CONV = "name: a, kind: conv, in_channels: 4, out_channels: 4"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("l.yaml", "[{name: a}]", "layers.0.kind"),
        ("l.yaml", f"[{{{CONV}, input_size: 8, kernal: 3}}]", "layers.0.kernal.*the known keys"),
        ("l.yaml", f"[{{{CONV}, input_size: 0}}]", "layers.0.input_size"),
        ("l.yaml", f"[{{{CONV}, input_size: big}}]", "as 3x3, "),
        ("l.yaml", f"[{{{CONV}}}]", "needs input_size or output_size"),
        ("l.yaml", f"[{{{CONV}, input_size: 2, kernel: 5}}]", "reaches beyond the input"),
        ("l.yaml", f"[{{{CONV}, input_size: 8, groups: 3}}]", "3 groups do not divide 4 and 4"),
        ("l.yaml", f"[{{{CONV}, input_size: [8, 8], kernel: [3]}}]", "1 and 2 dimensions mixed"),
        ("l.yaml", f"[{{{CONV}, input_size: 2x2x2x2}}]", "4 spatial dimensions; expected 1 to 3"),
        ("l.yaml", f"[{{{CONV}, input_size: 8, output_size: 5}}]", r"gives \(8, 8\)"),
        ("l.yaml", f"[{{{CONV}, output_size: 8}}, {{{CONV}, output_size: 9}}]", "two layers are"),
        ("l.yaml", "[{name: a, kind: linear, in_channels: 4, out_channels: 4, kernel: 3}]",
         "a linear layer has no kernel"),
        ("l.yaml", f"[{{name: a, kind: linear, in_channels: {2**31}, out_channels: 4}}]",
         "layers.0.in_channels"),
        ("l.yaml", f"[{{name: a, kind: linear, in_channels: {2**31 - 1}, out_channels:"
         f" {2**31 - 1}, batch: 9}}]", "at most 2\\^62"),
        ("l.yaml", "layers: []", "holds no layers"),
        ("l.yaml", "just words", "expected a list of layers"),
        ("l.csv", "name,kind,in_channels,out_channels\na,linear,4\n", "line 2 has not the header"),
        ("l.csv", "name,kind,in_channels,out_channels\na,linear,4,x\n", "line 2: out_channels"),
        ("l.csv", "name,name\na,b\n", "header: 'name' .* two columns are called so"),
        ("l.json", "{}", "model"),
        ("l.json", '{"model": "x", "parameters": 1, "layers": [{"name": "a", "kind": "conv",'
         ' "in_channels": -4, "out_channels": 4}]}', "layers.0.in_channels: -4"),
        ("l.json", '{"model": "x", "parameters": 1, "layers": [{"name": "a", "kind": "conv",'
         ' "in_channels": 6, "out_channels": 4, "groups": 4}]}', "4 groups do not divide 6 and 4"),
        ("l.txt", "", "the known kinds of layer file are"),
        ("p.yaml", "problem: &a {shape: gemm, instance: *a}", "an alias of itself"),
        ("p.yaml", "problem: {shape: {dimensions: [[M]], data_spaces: []}}", "expected dimensions"),
        ("p.yaml", "problem: 3", "expected a mapping with shape and instance"),
        ("p.yaml", "problem: {shape: lstm}", "problem.shape: 'lstm'.*gemm"),
        ("p.yaml", "problem: {shape: {dimensions: [M]}}", "expected dimensions and data_spaces"),
        ("p.yaml", "problem: {shape: gemm, instance: {M: many}}", "problem.instance.M: 'many'"),
        ("p.yaml", "problem: {shape: gemm, instance: {M: 0}}", "whole number from 1"),
        ("p.yaml", "problem: {shape: {dimensions: [K, M], data_spaces: [{name: A, projection:"
         " [[[K]]]}, {name: B, projection: [[[K]]]}, {name: Z, projection: [[[M]]],"
         " read_write: true}]}, instance: {M: 2, K: 16}}", "problem.instance.M: 2 .*so expected 1"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_and_field(
    tmp_path: Path, name: str, text: str, sentence: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        read_layers(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_walked_once(tmp_path: Path) -> None:
    lines = ["bomb0: &b0 {x: 1}"]
    lines += [f"bomb{i}: &b{i} [{', '.join(10 * [f'*b{i - 1}'])}]" for i in range(1, 12)]
    problem = "problem: {shape: gemm, instance: {M: 2, K: 3, N: 4}, extra: *b11}"
    (tmp_path / "p.yaml").write_text("\n".join([*lines, problem]))
    assert read_layers(tmp_path / "p.yaml").layers[0].macs == 24


def test_a_missing_file(tmp_path: Path) -> None:
    for name in ("l.yaml", "l.csv", "l.json", "l.onnx", "l"):
        with pytest.raises(CrispLoopError, match=r"no such|known kinds|needs the package onnx"):
            read_layers(tmp_path / name)
    with pytest.raises(CrispLoopError, match="holds no Timeloop problems"):
        read_layers(tmp_path)


def test_layers_json_of_the_command_line_is_a_layer_file(tmp_path: Path) -> None:
    table = operation_table("digits-resnet")
    write_json(tmp_path / "t.json", table)
    assert json.loads((tmp_path / "t.json").read_text())["model"] == "digits-resnet"
    assert read_layers(tmp_path / "t.json") == table
