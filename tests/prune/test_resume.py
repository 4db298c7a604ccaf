"""A run that was killed goes on to the very same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from prune_cases import equal_states, net, options, state_of, task_of
from safetensors.torch import load_file

from crisp_loop.networks.registry import build
from crisp_loop.prune.checkpoints import save_weights
from crisp_loop.prune.config import PruneConfig
from crisp_loop.prune.results import PruneSummary
from crisp_loop.prune.run import prune_network
from crisp_loop.prune.training.prune import prune_model
from crisp_loop.prune.training.resume import Checkpoint, Snapshot
from crisp_loop.prune.training.task import Outcome

T = TypeVar("T")


class Killed(Exception):
    """Instead of a real kill, which the last test does."""


# ---- one model ---------------------------------------------------------------------------


class Log:
    """Lines of a run; raises at line number ``last``."""

    def __init__(self, last: int | None = None) -> None:
        self.lines: list[dict[str, object]] = []
        self.last = last

    def __call__(self, line: dict[str, object]) -> None:
        self.lines.append(line)
        if len(self.lines) == self.last:
            raise Killed


def run_model(
    config: PruneConfig, path: Path | None, last: int | None = None
) -> tuple[Outcome, dict[str, torch.Tensor], list[dict[str, object]]]:
    model, log = net(dropout=0.3), Log(last)
    checkpoint = None if path is None else Checkpoint(path, "key")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        outcome = prune_model(task_of(model, config, log=log, checkpoint=checkpoint))
    return outcome, state_of(model), log.lines


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"augment": "flip_shift"},
        {"mode": "lottery", "augment": "flip_shift"},
        {"method": "unstructured", "mode": "lottery"},
        {"method": "channel"},
        {"method": "ocap"},
        {"criterion": "random", "sr_ste_decay": 0.01},
        {"method": "dense", "augment": "flip_shift"},
        {"method": "unstructured", "mode": "rigl"},
    ],
    ids=lambda way: "-".join(map(str, way.values())) or "crisp",
)
def test_killed_anywhere(way: dict[str, Any], tmp_path: Path) -> None:
    config = options(**{"ste_epochs": 2, "final_epochs": 2, **way})
    expected, weights, lines = run_model(config, None)
    for last in range(1, len(lines) + 1, 2):
        path = tmp_path / f"{last}.checkpoint"
        with pytest.raises(Killed):
            run_model(config, path, last)
        # Killed again, later or at once, it still goes on.
        if path.exists() and last < len(lines):
            with pytest.raises(Killed):
                run_model(config, path, last + 1)
        outcome, found, said = run_model(config, path)
        assert outcome.iterations == expected.iterations
        assert said == lines
        assert equal_states(found, weights)
        for name, mask in expected.masks.layers.items():
            assert (outcome.masks.layers[name] == mask).all()


def test_the_work_before_is_not_done_again(tmp_path: Path) -> None:
    """A checkpoint that is looked into and changed shows in the result."""
    config, path = options(), tmp_path / "c.checkpoint"
    with pytest.raises(Killed):
        run_model(config, path, last=4)
    checkpoint = Checkpoint(path, "key")
    snapshot = checkpoint.load()
    assert snapshot is not None
    assert [report["iteration"] for report in snapshot.position["reports"]] == [1]
    snapshot.position["reports"][0]["kappa"] = 0.125
    checkpoint.save(snapshot)
    outcome, _, _ = run_model(config, path)
    assert [report.kappa for report in outcome.iterations] == [0.125, 0.7]


# ---- the file ----------------------------------------------------------------------------


def snapshot() -> Snapshot:
    return Snapshot({"epoch": 3, "lines": [{"loss": 0.1 + 0.2}]}, {"a": torch.arange(5.0)})


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "c.checkpoint"
    path.parent.mkdir()
    Checkpoint(path, "key").save(snapshot())
    found = Checkpoint(path, "key").load()
    assert found is not None
    assert found.position == snapshot().position
    assert equal_states(found.tensors, snapshot().tensors)
    Checkpoint(path, "key").remove()
    Checkpoint(path, "key").remove()
    assert not list(path.parent.iterdir())


def test_foreign_and_damaged_files_are_not_used(tmp_path: Path) -> None:
    path = tmp_path / "c.checkpoint"
    Checkpoint(path, "key").save(snapshot())
    whole = path.read_bytes()
    assert Checkpoint(path, "other").load() is None
    for damaged in (b"", b"words", bytes(64), whole[:10], whole[: len(whole) // 2], whole[:-1]):
        path.write_bytes(damaged)
        assert Checkpoint(path, "key").load() is None
    save_weights(path, torch.nn.Linear(2, 2))
    assert Checkpoint(path, "key").load() is None
    assert Checkpoint(tmp_path, "key").load() is None
    assert Checkpoint(tmp_path / "none", "key").load() is None


def test_too_young_a_state_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "c.checkpoint"
    Checkpoint(path, "key", every=1000.0).save(snapshot())
    assert not path.exists()


# ---- the whole stage ---------------------------------------------------------------------

QUICK = PruneConfig(
    train_epochs=3, ste_epochs=1, iteration_epochs=1, final_epochs=1, iterations=2,
    samples_per_class=16, batch_size=64, train_lr=0.05,
)  # fmt: skip
CLASSES = (3, 5, 8)


class Killing:
    """Raises before epoch ``epoch`` of ``phase``."""

    def __init__(self, phase: str, epoch: int = 1) -> None:
        self.phase, self.epoch = phase, epoch
        self.said: list[str] = []

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        for number, item in enumerate(items, 1):
            if (what, number) == (self.phase, self.epoch):
                raise Killed
            yield item

    def note(self, text: str) -> None:
        self.said.append(text)


def stage(out: Path, config: PruneConfig = QUICK, progress: Any = None) -> PruneSummary:
    return prune_network("digits-resnet", "digits", CLASSES, config, out, progress=progress)


def same_results(first: Path, second: Path, reused: bool) -> None:
    """All files of both runs agree, but for what says how they came about."""
    assert sorted(path.name for path in first.iterdir()) == sorted(
        path.name for path in second.iterdir()
    )
    for name in ("dense", "weights", "masks"):
        states = [load_file(folder / f"{name}.safetensors") for folder in (first, second)]
        assert equal_states(*states)
    assert (first / "layers.json").read_bytes() == (second / "layers.json").read_bytes()
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (first, second)]
    for summary in summaries:
        summary.pop("seconds")
        summary.pop("dense_weights")
    assert summaries[0] == summaries[1]
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (first, second)]
    if reused:
        logs[0] = [line for line in logs[0] if json.loads(line)["phase"] != "train"]
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    stage(out)
    return out / "prune"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "epoch", "left", "said"),
    [
        ("train", 3, "dense", "train: goes on after epoch 2."),
        ("dense fine-tuning", 4, "upper-bound", "dense fine-tuning: goes on after epoch 3."),
        ("iteration 2: recover", 1, "pruning", "Pruning goes on after iteration 1."),
        ("final", 1, "pruning", "Pruning goes on after iteration 2."),
    ],
)
def test_the_stage_goes_on(
    phase: str, epoch: int, left: str, said: str, whole: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("crisp_loop.prune.training.dense.EVERY", 0.0)
    folder = tmp_path / "prune"
    with pytest.raises(Killed):
        stage(tmp_path, progress=Killing(phase, epoch))
    assert (folder / f"{left}.checkpoint").exists()
    assert not (folder / "summary.json").exists()
    second = Killing("never")
    stage(tmp_path, progress=second)
    assert said in second.said
    assert not list(folder.glob("*.checkpoint"))
    same_results(whole, folder, reused=phase != "train")


@pytest.mark.slow
def test_other_options_begin_anew(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        stage(tmp_path, QUICK.model_copy(update={"lr": 0.04}), Killing("final"))
    second = Killing("never")
    stage(tmp_path, progress=second)
    assert not any("goes on" in said for said in second.said)
    same_results(whole, tmp_path / "prune", reused=True)


@pytest.mark.slow
def test_a_real_kill(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    save_weights(tmp_path / "given.safetensors", build("digits-resnet"))
    config = QUICK.model_copy(update={"iterations": 12, "upper_bound": False})
    experiment = {
        "network": "digits-resnet", "data": "digits", "masks": "prune", "user_classes": CLASSES,
        "weights": str(tmp_path / "given.safetensors"), "prune": config.model_dump(mode="json"),
    }  # fmt: skip
    (tmp_path / "e.yaml").write_text(json.dumps(experiment))
    command = [sys.executable, "-m", "crisp_loop.cli.main", "prune", "e.yaml", "--out"]
    env = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    killed = tmp_path / "killed" / "prune"
    with subprocess.Popen(
        [*command, "killed"], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None and not (killed / "pruning.checkpoint").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (killed / "pruning.checkpoint").exists()
    assert not (killed / "summary.json").exists()
    done = subprocess.run(
        [*command, "killed"], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert "Pruning goes on after iteration" in done.stdout + done.stderr
    given = tmp_path / "given.safetensors"
    prune_network("digits-resnet", "digits", CLASSES, config, tmp_path / "whole", weights=given)
    assert sorted(path.name for path in killed.iterdir()) == [
        "layers.json", "log.jsonl", "masks.safetensors", "summary.json", "weights.safetensors",
    ]  # fmt: skip
    for name in ("weights", "masks"):
        states = [load_file(d / f"{name}.safetensors") for d in (killed, tmp_path / "whole/prune")]
        assert equal_states(*states)
    logs = [(d / "log.jsonl").read_text() for d in (killed, tmp_path / "whole" / "prune")]
    assert logs[0] == logs[1]
