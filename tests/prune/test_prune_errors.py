"""Every mistake is one sentence, from Python and from the command line, and leaves no result."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prune_cases import equal_states, net, options, samples, state_of
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

from crisp_loop.cli.main import app
from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import validated
from crisp_loop.networks.registry import build
from crisp_loop.networks.trace import layer_table
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.module import prune_module
from crisp_loop.prune.run import prune_network
from crisp_loop.prune.scores.saliency import score_weights

QUICK = PruneConfig(
    train_epochs=1, ste_epochs=1, iteration_epochs=0, final_epochs=0, iterations=1,
    samples_per_class=16, upper_bound=False,
)  # fmt: skip
RESULTS = ("summary.json", "masks.safetensors", "weights.safetensors", "dense.safetensors")


def weights(**changes: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = build("digits-resnet").state_dict()
    for name, value in changes.items():
        state[name.replace("__", ".")].view(-1)[0] = value
    return state


# ---- the command line --------------------------------------------------------------------


def write_inputs(folder: Path) -> None:
    save_file(weights(layer1__0__conv1__weight=float("nan")), folder / "nan.safetensors")
    save_file(weights(), folder / "good.safetensors")
    whole = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "cut.pth").write_bytes(b"PK\x03\x04 no archive")
    rng = np.random.default_rng(0)
    # The only picture of class c cannot be in all parts.
    for label, count in (("a", 10), ("b", 10), ("c", 1)):
        (folder / "pictures" / label).mkdir(parents=True)
        for number in range(count):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(file, "PNG")
            (folder / "pictures" / label / f"{number}.png").write_bytes(file.getvalue())


@pytest.mark.parametrize(
    ("experiment", "sentence"),
    [
        ({"user_classes": [1, 12]}, "user classes: 12 cannot be used; the class ids of digits"),
        ({"user_classes": [1, 1]}, "expected each class id once"),
        (
            {"data": "folder:pictures", "user_classes": [0, 2]},
            "the class c has 1 pictures, too few",
        ),
        ({"weights": "nan.safetensors"}, "weights of layer layer1.0.conv1 are NaN or infinite"),
        ({"weights": "cut.safetensors"}, "cut.safetensors is not a readable safetensors file"),
        ({"weights": "cut.pth"}, "cut.pth is not a readable file of tensors"),
        ({"weights": "none.pth"}, "none.pth does not exist"),
        ({"prune": {"nm": "1:4", "sparsity": 0.7}}, "prune.sparsity: 0.7 cannot be used; 1:4"),
        ({"prune": {"method": "channel", "nm": "2:4"}}, "channel has no N:M pattern"),
        ({"prune": {"method": "nm", "nm": "4:4"}}, "expected N below M, and M at most 32"),
        ({"prune": {"exclude": ["*"]}}, "digits-resnet has no conv or linear layer to prune"),
        ({"prune": {"device": "tpu"}}, "prune.device: 'tpu' cannot be used"),
        ({"prune": {"train_lr": 1e30}}, "The loss became NaN or infinite in epoch 1 of 'train'"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_the_command_says_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, experiment: dict[str, Any], sentence: str
) -> None:
    write_inputs(tmp_path)
    given = {
        "network": "digits-resnet", "masks": "prune", "user_classes": [1, 4], "data": "digits",
        **experiment,
    }  # fmt: skip
    defaults = {key: getattr(QUICK, key) for key in ("train_epochs", "samples_per_class")}
    given["prune"] = {**defaults, "upper_bound": False, **experiment.get("prune", {})}
    (tmp_path / "e.yaml").write_text(json.dumps(given))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["prune", "e.yaml", "--out", "out"], env={"COLUMNS": "1000"})
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    said = [line for line in done.stderr.strip().splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert sentence in said[0]
    assert done.stderr.strip().endswith(said[0])
    assert not [path for name in RESULTS for path in tmp_path.rglob(name)]


# ---- Python ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"nm": "1:4", "sparsity": 0.7},
        {"method": "blocks", "nm": "2:4"},
        {"method": "unstructured", "nm": "1:4"},
        {"method": "nm", "nm": "2:4", "sparsity": 0.9},
        {"method": "nm", "nm": "2:4", "target": "all"},
        {"method": "nm", "nm": "1:64"},
        {"method": "dense", "sparsity": 0.5},
        {"method": "channel", "mode": "rigl"},
        {"nm": "4:4"},
        {"nm": "2:8"},
        {"usage": {1: 0.0}},
        {"usage": {1: float("inf")}},
        {"min_blocks": 0},
        {"precision": "int8"},
    ],
    ids=str,
)
def test_options_that_do_not_go_together(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be used") as caught:
        validated(changes, PruneConfig, "experiment.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "given"),
    [("nm", {"nm": "2:16", "sparsity": 0.875}), ("blocks", {"nm": "4:4"}), ("dense", {})],
)
def test_what_a_method_implies_is_filled_in(method: str, given: dict[str, Any]) -> None:
    config = PruneConfig.model_validate({"method": method, **given})
    again = PruneConfig.model_validate_json(config.model_dump_json())
    assert again == config
    without = {key: value for key, value in given.items() if key != "sparsity"}
    assert PruneConfig.model_validate({"method": method, **without}) == config


BAD_DATA = {
    "nan": (lambda x, y: (x * float("nan"), y), "NaN or infinite"),
    "inf": (lambda x, y: (x.index_fill(0, torch.tensor([3]), float("inf")), y), "NaN or infinite"),
    "no samples": (lambda x, y: (x[:0], y[:0]), "holds no samples"),
    "fewer labels": (lambda x, y: (x, y[:5]), "48 inputs but 5 labels"),
    "label": (lambda x, y: (x, y + 1), "hold 3; expected int64 class ids from 0 to 2"),
    "negative": (lambda x, y: (x, y - 1), "hold -1; expected int64 class ids from 0 to 2"),
    "floats": (lambda x, y: (x, y.float()), "are float32; expected int64 class ids"),
    "shape": (lambda x, y: (x[:, :2], y), "input_shape"),
}


@pytest.mark.parametrize("way", [{}, {"method": "ocap"}, {"method": "unstructured"}], ids=str)
@pytest.mark.parametrize("kind", BAD_DATA)
def test_data_that_cannot_be_used(kind: str, way: dict[str, Any]) -> None:
    change, words = BAD_DATA[kind]
    model = net()
    keys = list(model.state_dict())
    with pytest.raises(CrispLoopError, match=words) as caught:
        prune_module(model, change(*samples()), options(**way))
    assert "\n" not in str(caught.value)
    assert sorted(model.state_dict()) == sorted(keys)


def test_labels_of_a_loader_are_looked_at() -> None:
    images, labels = samples()
    loader = DataLoader(TensorDataset(images, labels + 3), batch_size=16)
    model = net()
    before = state_of(model)
    with pytest.raises(CrispLoopError, match="hold 3; expected"):
        prune_module(model, loader, options())  # type: ignore[arg-type]
    assert equal_states(before, state_of(model))


@pytest.mark.parametrize("method", ["crisp", "channel", "ocap", "capnn", "unstructured", "nm"])
@pytest.mark.parametrize("epochs", [0, 1])
def test_nan_weights(method: str, epochs: int) -> None:
    model = net()
    model.wide.weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(CrispLoopError, match=r"NaN or infinite.* check the data and the weights"):
        prune_module(model, samples(), options(method=method, ste_epochs=epochs))


def test_models_that_cannot_be_pruned() -> None:
    images, labels = samples()
    head_alone = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(CrispLoopError, match="no conv or linear layer to prune: head"):
        prune_module(head_alone, (images, labels), options())
    with pytest.raises(CrispLoopError, match="requires a gradient: nothing can train"):
        prune_module(net().requires_grad_(False), (images, labels), options())
    half_frozen = net()
    half_frozen.wide.requires_grad_(False)
    rigl = options(method="unstructured", mode="rigl")
    with pytest.raises(CrispLoopError, match="Layer wide gets no gradient"):
        prune_module(half_frozen, (images, labels), rigl)
    flat = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 3))
    with pytest.raises(CrispLoopError, match="Inputs of 64 cannot be mirrored"):
        prune_module(
            flat, (torch.randn(20, 64), torch.arange(20) % 3), options(augment="flip_shift")
        )
    with pytest.raises(CrispLoopError, match="usage names class 7"):
        prune_module(net(), (images, labels), options(method="capnn", usage={7: 1.0}))


def test_a_part_under_two_names_is_pruned_once() -> None:
    part = nn.Linear(64, 64)
    model = nn.Sequential(part, nn.ReLU(), part, nn.ReLU(), nn.Linear(64, 3))
    data = (torch.randn(20, 64), torch.arange(20) % 3)
    scores = score_weights(model, [data], ["0"], "synflow")  # type: ignore[arg-type]
    assert {value.device.type for value in model.state_dict().values()} == {"cpu"}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert scores["0"].gt(0).any()
    masks = prune_module(model, data, options())
    assert list(masks.layers) == ["0"]
    assert model.get_parameter("0.weight")[torch.from_numpy(~masks.layers["0"])].eq(0).all()
    assert [layer.name for layer in layer_table(model, (64,)).layers] == ["0", "4"]


def test_a_failed_run_leaves_no_result(tmp_path: Path) -> None:
    """Nor an earlier one's: it would stand beside files that are not its own."""
    good = tmp_path / "good.safetensors"
    save_file(weights(), good)
    out = tmp_path / "out"
    prune_network("digits-resnet", "digits", (1, 4), QUICK, out, weights=good)
    save_file(weights(conv1__weight=float("inf")), good)
    with pytest.raises(CrispLoopError, match="NaN or infinite"):
        prune_network("digits-resnet", "digits", (1, 4), QUICK, out, weights=good)
    assert not (out / "prune" / "summary.json").exists()
