"""The native engine, with stand-ins for the tool and, where it is installed, for real."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.cost import frontend
from crisp_loop.cost.stats import parse_stats
from crisp_loop.cost.timeloop import Timeloop
from crisp_loop.tools.failures import EvaluationError

DATA = Path(__file__).parent / "data"
GOLDEN = sorted(path.parent.name for path in DATA.glob("*/timeloop-model.stats.txt"))


def stats_text(case: str) -> str:
    return (DATA / case / "timeloop-model.stats.txt").read_text(encoding="utf-8")


FakeTool = Callable[[str], Path]

ANSWER = f"""
stats = Path({str(DATA / "dense-conv5-1x1" / "timeloop-model.stats.txt")!r}).read_text()
def answer(text=stats):
    (out / "timeloop-model.stats.txt").write_text(text)
"""


def spec(name: str = "some spec") -> Spec:
    return Spec(source=f"dir/{name}", sections={"problem": {"instance": {"name": name}}})


def evaluate(specs: list[Spec], keep: Path, **options: float) -> list[Evaluation]:
    engine = dataclasses.replace(Timeloop(keep_dir=keep, workers=2, use_front_end=False), **options)
    return list(engine.evaluate(specs, Quiet()))


def refused(specs: list[Spec], keep: Path, **options: float) -> EvaluationError:
    with pytest.raises(EvaluationError) as caught:
        evaluate(specs, keep, **options)
    return caught.value


def test_answers_come_in_order(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(ANSWER + "time.sleep(0.3 if 'slow' in source.read_text() else 0)\nanswer()\n")
    found = evaluate([spec("slow"), spec("b"), spec("c")], tmp_path / "keep")
    assert [item.spec for item in found] == ["dir/slow", "dir/b", "dir/c"]
    assert found[0].cycles == 262144
    assert found[0].engine_version.startswith("timeloop-model sha256:")
    assert not (tmp_path / "keep").exists()


def test_scratch_directories_go_away(
    fake_tool: FakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch with spaces"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    fake_tool(ANSWER + "sys.exit(1) if 'bad' in source.read_text() else answer()\n")
    assert len(evaluate([spec()], tmp_path / "keep")) == 1
    refused([spec("bad")], tmp_path / "keep")
    assert list(scratch.iterdir()) == []


def test_timeout_ends_the_tool_and_its_children(fake_tool: FakeTool, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    fake_tool(
        f"child = subprocess.Popen(['sleep', '60'])\n"
        f"Path({str(pid_file)!r}).write_text(str(child.pid))\nchild.wait()\n"
    )
    start = time.monotonic()
    error = refused([spec()], tmp_path / "keep", timeout_s=1.0)
    assert time.monotonic() - start < 20
    assert "did not finish within 1 s" in str(error)
    assert _ends(int(pid_file.read_text()))


def _ends(pid: int) -> bool:
    """Whether ``pid`` is gone (or a zombie that nobody waits for) within seconds."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1]
            if state.split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


def test_a_failure_ends_the_others_and_keeps_only_itself(
    fake_tool: FakeTool, tmp_path: Path
) -> None:
    fake_tool("sys.exit('ERROR: bad.') if 'bad' in source.read_text() else time.sleep(60)\n")
    start = time.monotonic()
    error = refused([spec("bad"), spec("b"), spec("c")], tmp_path / "keep")
    assert time.monotonic() - start < 20
    assert error.spec == "dir/bad"
    assert len(list((tmp_path / "keep").iterdir())) == 1


def test_stopping_early_ends_the_rest(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(ANSWER + "time.sleep(60) if 'slow' in source.read_text() else answer()\n")
    engine = Timeloop(keep_dir=tmp_path / "keep", workers=2, use_front_end=False)
    start = time.monotonic()
    running = engine.evaluate([spec("a"), spec("slow")], Quiet())
    assert next(iter(running)).spec == "dir/a"
    running.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert time.monotonic() - start < 20
    assert not (tmp_path / "keep").exists()


def test_abort_keeps_input_log_and_rerun_command(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(
        "print(\"ERROR: couldn't map level SMEM: mapped tile size 313344 exceeds buffer"
        ' capacity 262144", file=sys.stderr, flush=True)\nsys.exit(1)\n'
    )
    error = refused([spec("x y")], tmp_path / "keep $HOME")
    kept = Path(error.log).parent
    assert kept.parent == tmp_path / "keep $HOME"
    assert "313344 words, more than its capacity of 262144" in str(error)
    assert "dir/x y" in str(error)
    assert load_sections(kept / "input.yaml") == spec("x y").sections
    again = subprocess.run(error.rerun, shell=True, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "313344" in again.stderr
    script = subprocess.run(["sh", str(kept / "rerun.sh")], capture_output=True, check=False)
    assert script.returncode == 1


def load_sections(path: Path) -> object:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_failed_spec_replaces_what_it_kept_before(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool("os.kill(os.getpid(), signal.SIGABRT)\n")
    first = refused([spec()], tmp_path / "keep")
    assert "SIGABRT" in str(first)
    assert refused([spec()], tmp_path / "keep").log == first.log


def test_without_a_place_failures_stay_in_a_temporary_one(
    fake_tool: FakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fake_tool("sys.exit(2)\n")
    with pytest.raises(EvaluationError) as caught:
        list(Timeloop(use_front_end=False).evaluate([spec()], Quiet()))
    assert Path(caught.value.log).is_relative_to(tmp_path)
    assert Path(caught.value.log).is_file()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("pass\n", "wrote no timeloop-model.stats.txt"),
        ("answer('garbage\\n')\n", "it has no section 'Buffer and Arithmetic Levels'"),
        ("answer(stats[:5000])\n", "not a whole timeloop-model.stats.txt"),
        (
            "(out / 'timeloop-model.stats.txt').write_bytes(bytes(range(128, 256)) * 100)\n",
            "is not UTF-8 text",
        ),
        ("sys.stdout.buffer.write(bytes(range(256)) * 9999)\nsys.exit(9)\n", "status 9"),
    ],
)
def test_garbage_is_one_sentence(
    fake_tool: FakeTool, tmp_path: Path, body: str, message: str
) -> None:
    fake_tool(ANSWER + body)
    error = refused([spec()], tmp_path / "keep")
    assert message in str(error)
    assert "crisp_loop-timeloop-" not in str(error)  # the scratch directory is gone


def test_a_tool_that_cannot_start(fake_tool: FakeTool, tmp_path: Path) -> None:
    tool = fake_tool("pass\n")
    tool.write_bytes(b"\x7fELF is not quite it")
    assert "cannot be started" in str(refused([spec()], tmp_path / "keep"))


def test_a_place_that_cannot_be_written(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool("sys.exit(1)\n")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CrispLoopError, match=r"cannot be written.*was not evaluated"):
        evaluate([spec()], tmp_path / "file" / "keep")


def test_switches_in_the_environment_do_not_reach_the_tool(
    fake_tool: FakeTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIMELOOP_ENABLE_FIRST_READ_ELISION", "0")
    monkeypatch.setenv("TIMELOOP_DIR", "/somewhere")
    fake_tool(
        ANSWER + "names = [n for n in os.environ if n.startswith('TIMELOOP')]\n"
        "answer() if names == ['TIMELOOP_DIR'] else sys.exit(str(names))\n"
    )
    assert len(evaluate([spec()], tmp_path / "keep")) == 1


def test_version_follows_the_binary(fake_tool: FakeTool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRISP_LOOP_BASE_IMAGE", raising=False)
    tool = fake_tool("pass\n")
    before = Timeloop().version()
    tool.write_text("#!/bin/sh\nexit 1 # another build\n", encoding="utf-8")
    assert Timeloop().version() != before
    plain = Timeloop().version()
    monkeypatch.setenv("CRISP_LOOP_BASE_IMAGE", "some/image@sha256:55")
    assert Timeloop().version() == f"{plain} in some/image@sha256:55"


def test_missing_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = Timeloop().unavailable()
    assert reason is not None
    assert "timeloop-model is not on PATH" in reason
    with pytest.raises(CrispLoopError, match="not on PATH"):
        list(Timeloop().evaluate([spec()], Quiet()))


def test_front_end_gets_no_code_and_no_shell_characters(tmp_path: Path) -> None:
    assert frontend.suits("a: 1\n", tmp_path)
    assert not frontend.suits("a: '{{ cycler }}'\n", tmp_path)
    assert not frontend.suits("a: '{% x %}'\n", tmp_path)
    assert not frontend.suits("a: 1\n", Path("/tmp/$(touch x)"))


FAKE_CALL_MODEL = """
import subprocess
def call_model(specification, output_dir, return_proc=False):
    return subprocess.Popen(["timeloop-model", "-o", output_dir, specification])
"""


@pytest.fixture
def fake_front_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package pytimeloop that passes its input on."""
    package = tmp_path / "site" / "pytimeloop" / "timeloopfe"
    for folder in (package.parent, package, package / "v3", package / "common"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").write_text("", encoding="utf-8")
    (package / "common" / "backend_calls.py").write_text(FAKE_CALL_MODEL, encoding="utf-8")
    (package / "v3" / "__init__.py").write_text(
        "class Specification:\n    from_yaml_files = staticmethod(lambda path: path)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    frontend._import_problem.cache_clear()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("fake_front_end")
def test_front_end_route(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(ANSWER + "sys.exit('ERROR: no.') if 'bad' in source.read_text() else answer()\n")
    engine = Timeloop(keep_dir=tmp_path / "keep")
    assert engine.goes_through_front_end
    assert [found.cycles for found in engine.evaluate([spec()], Quiet())] == [262144]
    with pytest.raises(EvaluationError, match=r"crisp_loop\.cost\.frontend"):
        list(engine.evaluate([spec("bad")], Quiet()))


@pytest.mark.usefixtures("fake_front_end")
def test_broken_front_end_is_passed_over(tmp_path: Path) -> None:
    module = tmp_path / "site" / "pytimeloop" / "__init__.py"
    module.write_text("raise ImportError('libbarvinok.so: no such file')\n", encoding="utf-8")
    reason = frontend.unavailable()
    assert reason is not None
    assert "libbarvinok.so" in reason
    assert not Timeloop().goes_through_front_end


live = pytest.mark.skipif(
    Timeloop().unavailable() is not None, reason="timeloop-model is not on PATH"
)


@live
@pytest.mark.timeloop
@pytest.mark.parametrize("through_front_end", [False, True])
def test_live_golden(through_front_end: bool, tmp_path: Path) -> None:
    frontend._import_problem.cache_clear()  # pyright: ignore[reportPrivateUsage]
    engine = Timeloop(keep_dir=tmp_path, use_front_end=through_front_end)
    if reason := engine.unavailable():
        pytest.skip(reason)
    specs = [load_spec(DATA / case / "spec.yaml") for case in GOLDEN]
    for case, found in zip(GOLDEN, engine.evaluate(specs, Quiet()), strict=True):
        golden = parse_stats(stats_text(case), found.spec, engine_version=found.engine_version)
        assert found == golden


@live
@pytest.mark.timeloop
@pytest.mark.parametrize("through_front_end", [False, True])
def test_live_capacity_error(through_front_end: bool, tmp_path: Path) -> None:
    engine = Timeloop(keep_dir=tmp_path, use_front_end=through_front_end)
    if reason := engine.unavailable():
        pytest.skip(reason)
    case = load_spec(DATA / "crisp14-b16-conv4-3x3" / "spec.yaml")
    with pytest.raises(EvaluationError, match="313344 words, more than its capacity") as caught:
        list(engine.evaluate([case], Quiet()))
    again = subprocess.run(
        caught.value.rerun, shell=True, capture_output=True, text=True, check=False
    )
    assert "313344" in again.stderr
