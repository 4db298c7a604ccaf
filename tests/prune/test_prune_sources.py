"""Weights of a user's own and data in files, through the whole stage."""

from __future__ import annotations

import io
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.progress import Quiet
from crisp_loop.networks.registry import build
from crisp_loop.pipeline.experiment import load_experiment
from crisp_loop.pipeline.run import prune_experiment
from crisp_loop.prune.checkpoints import load_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.run import prune_network

QUICK = PruneConfig(
    train_epochs=1, ste_epochs=1, iteration_epochs=0, final_epochs=0, iterations=1, train_lr=0.01
)


def state(classes: int = 10) -> dict[str, Tensor]:
    torch.manual_seed(7)
    return build("digits-resnet", classes).state_dict()


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3, "best": [0.5]},
        lambda s: {"model": s},
        lambda s: {f"module.{key}": value for key, value in s.items()},
        lambda s: {"state_dict": {f"module.{key}": value for key, value in s.items()}},
        lambda s: {key: v for key, v in s.items() if not key.endswith("num_batches_tracked")},
        lambda s: {key: v.double() if v.is_floating_point() else v for key, v in s.items()},
    ],
)
def test_checkpoints_as_people_save_them(tmp_path: Path, wrapped: Any) -> None:
    torch.save(wrapped(state()), tmp_path / "w.pth")
    model = build("digits-resnet")
    assert not load_weights(tmp_path / "w.pth", model, "m", "fc", True)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state().items())


def test_prefix_in_safetensors(tmp_path: Path) -> None:
    save_file(
        {f"module.{key}": value for key, value in state().items()}, tmp_path / "w.safetensors"
    )
    load_weights(tmp_path / "w.safetensors", build("digits-resnet"), "m")


class Evil:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.victim),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Namespace(lr=1), "asks for argparse.Namespace, which is not loaded"),
        (torch.zeros(3), "holds a Tensor and no plain state_dict"),
        ({}, "holds an empty dictionary and no plain state_dict"),
        ({"epoch": 3}, "'epoch' is a int; expected names and tensors"),
        ({"net": {"a": torch.zeros(1)}}, "'net' is a dict"),
        ({1: torch.zeros(1)}, "1 is a Tensor"),
        ({"a": torch.zeros(1)}, r"lacks conv1.weight, which m needs; it holds a instead"),
        ({**state(), "more": torch.zeros(1)}, "holds more, which m does not have"),
        (
            {**state(), "bn1.bias": torch.zeros(3)},
            r"bn1.bias is shaped \(3,\), but m needs \(32,\)",
        ),
        ({**state(), "bn1.bias": torch.zeros(32, dtype=torch.int64)}, "bn1.bias holds int64"),
        (state(4), r"fc.weight is shaped \(4, 128\), .* resize_head: true starts a new head"),
    ],
)
def test_wrong_checkpoints_are_one_sentence(tmp_path: Path, content: Any, words: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CrispLoopError, match=words) as caught:
        load_weights(tmp_path / "w.pth", build("digits-resnet"), "m", "fc")
    assert str(tmp_path / "w.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_damaged_and_hostile_files(tmp_path: Path, name: str) -> None:
    path, model = tmp_path / name, build("digits-resnet")
    for data in (b"", b"text, no tensors", bytes(100)):
        path.write_bytes(data)
        with pytest.raises(CrispLoopError, match="is not a readable"):
            load_weights(path, model, "m")
    torch.save({"a": Evil(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(CrispLoopError, match=r"asks for \w+\.mkdir, which is not loaded"):
        load_weights(tmp_path / "evil.pth", model, "m")
    assert not (tmp_path / "ran").exists()


def test_only_the_head_may_differ(tmp_path: Path) -> None:
    torch.save(state(4), tmp_path / "w.pth")
    model = build("digits-resnet")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert load_weights(tmp_path / "w.pth", model, "m", "fc", True)
    loaded, given = model.state_dict(), state(4)
    for key, value in loaded.items():
        assert torch.equal(value, before[key] if key.startswith("fc.") else given[key])
    torch.save({**state(4), "bn1.bias": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(CrispLoopError, match=r"bn1\.bias"):
        load_weights(tmp_path / "w.pth", model, "m", "fc", True)


class Notes(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_a_new_head_is_said_and_trained(tmp_path: Path) -> None:
    given = tmp_path / "w.pth"
    torch.save(state(4), given)
    notes = Notes()

    def run() -> Any:
        return prune_network(
            "digits-resnet", "digits", (1, 2), QUICK, tmp_path / "r",
            weights=given, resize_head=True, progress=notes,
        )  # fmt: skip

    first = run()
    assert first.dense_weights == f"{given}, new head"
    assert any("fc starts anew with 10" in said for said in notes.said)
    assert first.dense_all_classes.val.top1 > 0.2
    before = load_file(tmp_path / "r" / "prune" / "weights.safetensors")
    again = run()
    assert any("dense weights reused" in said for said in notes.said)
    assert again.pruned == first.pruned
    after = load_file(tmp_path / "r" / "prune" / "weights.safetensors")
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_folder_of_pictures_is_pruned_and_noticed_when_it_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, base in (("dark", 40), ("light", 200)):
        (tmp_path / "d" / label).mkdir(parents=True)
        for number in range(10):
            noise = rng.integers(0, 40, (12, 10, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(noise + np.uint8(base)).save(file, "PNG")
            (tmp_path / "d" / label / f"{number}.png").write_bytes(file.getvalue())
    options = {
        "data": f"folder:{tmp_path / 'd'}",
        "user_classes": (0, 1),
        "prune": QUICK.model_dump(mode="json"),
    }
    experiment = load_experiment(None, options)
    assert experiment.network == "digits-resnet"  # 8 x 8 grey levels
    out, notes = tmp_path / "r", Notes()
    first = prune_experiment(experiment, out, notes)
    assert first.samples == 16
    assert first.sources.data
    assert prune_experiment(experiment, out, notes) == first
    assert any("earlier run" in said for said in notes.said)
    os.utime(tmp_path / "d" / "dark" / "0.png", (1, 1))
    assert prune_experiment(experiment, out, notes).sources != first.sources


def test_images_must_fit_the_network(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"resnet20: input_shape: '3x32x32' .* digits holds") as e:
        prune_network("resnet20", "digits", (1,), QUICK, tmp_path)
    assert "images of 1x8x8, which digits-resnet, digits-vgg" in str(e.value)
    with pytest.raises(
        CrispLoopError, match=r"none\.pth does not exist; expected a file of weights"
    ):
        prune_network(
            "digits-resnet", "digits", (1,), QUICK, tmp_path, weights=tmp_path / "none.pth"
        )
    assert not list(tmp_path.iterdir())
