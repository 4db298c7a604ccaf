"""Results are kept by content: no call twice, and none lost with the run that made it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.cost.store import ResultStore, user_store
from crisp_loop.cost.timeloop import Timeloop

DATA = Path(__file__).parent / "data"
FakeTool = Callable[[str], Path]


def counted(folder: Path, seconds: float = 0.0) -> str:
    """A tool's body that leaves a file a call in ``folder`` and answers."""
    folder.mkdir(exist_ok=True)
    return (
        "import uuid\n"
        f"(Path({str(folder)!r}) / uuid.uuid4().hex).touch()\n"
        f"time.sleep({seconds})\n"
        f"text = Path({str(DATA / 'dense-conv5-1x1' / 'timeloop-model.stats.txt')!r}).read_text()\n"
        "(out / 'timeloop-model.stats.txt').write_text(text)\n"
    )


def specs(count: int) -> list[Spec]:
    return [Spec(f"spec {i}", {"problem": {"instance": {"M": i}}}) for i in range(count)]


def evaluate(wanted: list[Spec], **options: object) -> list[str]:
    engine = Timeloop(workers=2, use_front_end=False, **options)  # type: ignore[arg-type]
    return [found.spec for found in engine.evaluate(wanted, Quiet())]


def test_no_call_is_made_twice(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(counted(tmp_path / "calls"))
    assert evaluate(specs(3)) == ["spec 0", "spec 1", "spec 2"]
    assert evaluate(specs(5)) == ["spec 0", "spec 1", "spec 2", "spec 3", "spec 4"]
    assert len(list((tmp_path / "calls").iterdir())) == 5


def test_the_same_content_under_another_name(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(counted(tmp_path / "calls"))
    (one,) = specs(1)
    evaluate([one])
    assert evaluate([Spec("a copy", one.sections)]) == ["a copy"]
    assert len(list((tmp_path / "calls").iterdir())) == 1


def test_specs_of_one_content_share_a_call(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool(counted(tmp_path / "calls", seconds=0.1))
    one, two = specs(2)
    wanted = [one, Spec("again", one.sections), two, Spec("and again", one.sections)]
    assert evaluate(wanted, store=None) == ["spec 0", "again", "spec 1", "and again"]
    assert len(list((tmp_path / "calls").iterdir())) == 2


def test_another_build_of_the_tool_is_asked_again(fake_tool: FakeTool, tmp_path: Path) -> None:
    tool = fake_tool(counted(tmp_path / "calls"))
    evaluate(specs(1))
    tool.write_text(tool.read_text() + "# another build\n", encoding="utf-8")
    evaluate(specs(1))
    assert len(list((tmp_path / "calls").iterdir())) == 2


def test_a_damaged_result_is_made_again(
    fake_tool: FakeTool, tmp_path: Path, own_store: Path
) -> None:
    fake_tool(counted(tmp_path / "calls"))
    evaluate(specs(1))
    (file,) = own_store.rglob("*.txt")
    file.write_text(file.read_text()[:1000], encoding="utf-8")
    assert evaluate(specs(1)) == ["spec 0"]
    assert len(list((tmp_path / "calls").iterdir())) == 2


def test_without_a_store(fake_tool: FakeTool, tmp_path: Path, own_store: Path) -> None:
    fake_tool(counted(tmp_path / "calls"))
    evaluate(specs(1), store=None)
    evaluate(specs(1), store=None)
    assert len(list((tmp_path / "calls").iterdir())) == 2
    assert list(own_store.iterdir()) == []


def test_failures_are_not_remembered(fake_tool: FakeTool, tmp_path: Path, own_store: Path) -> None:
    fake_tool("sys.exit(1)\n")
    with pytest.raises(Exception, match="was not evaluated"):
        evaluate(specs(1), keep_dir=tmp_path / "failed")
    assert not list(own_store.rglob("*.txt"))


def test_a_store_that_cannot_be_written_costs_no_result(
    fake_tool: FakeTool, tmp_path: Path
) -> None:
    fake_tool(counted(tmp_path / "calls"))
    (tmp_path / "file").touch()
    assert evaluate(specs(2), store=ResultStore(tmp_path / "file" / "below")) == [
        "spec 0",
        "spec 1",
    ]


def test_the_users_store_is_where_the_variable_says(own_store: Path) -> None:
    assert user_store().root == own_store


def test_the_users_store_is_in_the_place_for_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform != "linux":
        pytest.skip("XDG_CACHE_HOME is for Linux")
    monkeypatch.delenv("CRISP_LOOP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_store().root == tmp_path / "crisp_loop" / "results"


RUN = """
import sys
from pathlib import Path
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec
from crisp_loop.cost.timeloop import Timeloop
specs = [Spec(f"spec {i}", {"problem": {"instance": {"M": i}}}) for i in range(12)]
print(len(list(Timeloop(workers=2, use_front_end=False).evaluate(specs, Quiet()))))
"""


def test_a_run_that_was_killed_goes_on_where_it_was(
    fake_tool: FakeTool, tmp_path: Path, own_store: Path
) -> None:
    calls = tmp_path / "calls"
    fake_tool(counted(calls, seconds=0.2))
    run = subprocess.Popen([sys.executable, "-c", RUN], start_new_session=True)
    until = time.monotonic() + 60
    while len(list(own_store.rglob("*.txt"))) < 4:
        assert time.monotonic() < until, "nothing was kept"
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    time.sleep(0.5)  # the tool's own processes outlive it by a moment
    kept = len(list(own_store.rglob("*.txt")))
    assert 4 <= kept < 12
    shutil.rmtree(calls)
    calls.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "12\n"
    assert len(list(calls.iterdir())) == 12 - kept


@pytest.mark.timeloop
@pytest.mark.skipif(shutil.which("timeloop-model") is None, reason="no timeloop-model on PATH")
def test_what_is_remembered_is_what_the_tool_said(own_store: Path) -> None:
    spec = load_spec(DATA / "stc24-conv5-1x1")
    engine = Timeloop(use_front_end=False)
    (first,) = engine.evaluate([spec], Quiet())
    assert list(own_store.rglob("*.txt"))
    (second,) = engine.evaluate([spec], Quiet())
    assert first == second
