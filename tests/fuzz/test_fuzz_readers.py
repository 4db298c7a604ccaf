"""Every reader under the fuzz suite, at a small size; and the suite's own judgement."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import fuzz_case
import pytest
from fuzz_files import KINDS, mutate
from fuzz_readers import READERS, Reader
from fuzz_text import mutated

from crisp_loop.core.errors import CrispLoopError

CASES = 600


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_valid_example_is_read(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    reader.make(tmp_path / "case")
    assert reader.read(tmp_path / "case", tmp_path / "out") is not None


def test_broken_files_are_read_or_refused_in_one_sentence() -> None:
    run = [sys.executable, str(Path(__file__).parent / "run.py"), "--cases", str(CASES)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"{CASES} cases of seed 0" in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("all "))
    read, refused, failed = (int(word.replace(",", "")) for word in line.split()[1:])
    # Neither is everything refused at the door, nor is nothing broken.
    assert read > CASES // 20
    assert refused > CASES // 3
    assert failed == 0


def test_a_case_is_made_from_its_number_alone(tmp_path: Path, back: None) -> None:
    made = []
    for attempt in ("a", "b"):
        (tmp_path / attempt / "x").mkdir(parents=True)
        fuzz_case.run_case(0, 1, tmp_path / attempt / "x")
        made.append((tmp_path / attempt / "x" / "case" / "experiment.yaml").read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_mutations_of_a_kind_differ_and_repeat(kind: str, tmp_path: Path) -> None:
    names = {"": "CIFAR-10", ".pickle": "CIFAR-10", ".pth": "weights .pth", ".zip": "pictures .zip",
             ".csv": "results table", ".json": "evaluations", ".txt": "statistics",
             ".yaml": "spec", ".onnx": "layers .onnx", ".safetensors": "masks",
             ".parquet": "sweep's results"}  # fmt: skip
    reader = next(reader for reader in READERS if reader.name == names[kind])
    reader.make(tmp_path)
    file = next(each for each in sorted(tmp_path.rglob("*")) if kind in (each.suffix, ".pickle"))
    data = file.read_bytes()
    made = [mutate(f"x{kind}", data, random.Random(n)) for n in range(40)]
    again = [mutate(f"x{kind}", data, random.Random(n)) for n in range(40)]
    if kind != ".zip":  # whose writer notes the time
        assert made == again
    assert len(set(made)) > 30
    assert sum(each != data for each in made) > 35


def test_trees_are_copied_before_they_are_broken() -> None:
    tree = {"a": [1, {"b": 2}], "c": "x"}
    for seed in range(200):
        mutated(tree, random.Random(seed))
    assert tree == {"a": [1, {"b": 2}], "c": "x"}


# ---- the judgement itself --------------------------------------------------------------------


@pytest.fixture
def back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what a case changes of its process: directory, environment, tempfile's memory."""
    monkeypatch.chdir(Path.cwd())
    monkeypatch.setenv("TMPDIR", os.environ.get("TMPDIR", tempfile.gettempdir()))
    monkeypatch.setenv("HOME", os.environ.get("HOME", "/"))


def good(folder: Path, out: Path) -> object:
    raise CrispLoopError(f"{folder}/a.yaml cannot be used.")


def traceback(folder: Path, out: Path) -> object:
    raise KeyError("a")


def nameless(folder: Path, out: Path) -> object:
    raise CrispLoopError("something is wrong.")


def unfinished(folder: Path, out: Path) -> object:
    raise CrispLoopError(f"{folder}: bad")


def leaving(folder: Path, out: Path) -> object:
    raise SystemExit(0)


def astray(folder: Path, out: Path) -> object:
    return Path("owned").write_text("")


def above(folder: Path, out: Path) -> object:
    return (out.parent.parent / "owned").write_text("")


def destroyed(folder: Path, out: Path) -> object:
    return (folder / "a.yaml").write_text("something longer than it was")


def half(folder: Path, out: Path) -> object:
    return (out / ".results.csv.x1y2").write_text("")


def endless(folder: Path, out: Path) -> object:
    while True:
        pass


def greedy(folder: Path, out: Path) -> object:
    return len(bytearray(b"x") * (1 << 28))


def starved(folder: Path, out: Path) -> object:
    try:
        raise MemoryError
    except MemoryError:
        raise CrispLoopError(f"{folder} is no readable file.") from None


@pytest.mark.parametrize(
    ("read", "outcome", "words"),
    [
        (good, "refused", "cannot be used"),
        (traceback, "failed", "KeyError"),
        (nameless, "failed", "names no file"),
        (unfinished, "failed", "no sentence"),
        (leaving, "failed", "SystemExit"),
        (astray, "failed", "owned"),
        (above, "failed", "owned"),
        (destroyed, "failed", "a.yaml"),
        (half, "failed", "half-written"),
        (endless, "failed", "took more than"),
        (greedy, "failed", "MiB"),
        (starved, "failed", "memory ran out"),
    ],
)
def test_what_breaks_a_rule_fails(
    read: Callable[[Path, Path], object],
    outcome: str,
    words: str,
    tmp_path: Path,
    back: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzz_case, "SECONDS", 0.3)
    monkeypatch.setattr(fuzz_case, "MEMORY", 1 << 27)
    reader = Reader(read.__name__, lambda folder: (folder / "a.yaml").write_text("a: 1\n"), read)
    monkeypatch.setattr(fuzz_case, "_ORDER", [reader])
    scratch = tmp_path / "x"
    scratch.mkdir()
    result = fuzz_case.run_case(0, 0, scratch)
    assert (result.reader, result.outcome) == (read.__name__, outcome)
    assert words in result.said
