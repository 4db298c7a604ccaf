"""The docker engine, with a stand-in for Docker's client and, where it is there, for real."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.progress import Quiet
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.cost.docker import Docker, default_image
from crisp_loop.cost.timeloop import Timeloop
from crisp_loop.tools.docker import Image, explain_docker, inspect_image
from crisp_loop.tools.failures import EvaluationError

DATA = Path(__file__).parent / "data"
STATS = DATA / "dense-conv5-1x1" / "timeloop-model.stats.txt"
DIGEST = f"some/image@sha256:{'5' * 64}"

FakeDocker = Callable[..., Path]

CLIENT = """
import json, os, subprocess, sys
from pathlib import Path
log = Path({log!r})
with log.open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
def fail(said, status):
    sys.stderr.write(said + "\\n")
    sys.exit(status)
if sys.argv[1:3] == ["image", "inspect"]:
    {inspect}
if sys.argv[1] == "rm":
    sys.exit(0)
{run}
# What the container would do, on this machine.
arguments = sys.argv[sys.argv.index("-c"):]
sys.exit(subprocess.run([sys.executable, *arguments]).returncode)
"""
FOUND = f"print(json.dumps([{{'Id': 'sha256:abc', 'RepoDigests': [{DIGEST!r}]}}])); sys.exit(0)"


@pytest.fixture
def fake_docker(tmp_path: Path, program: Callable[[str, str], Path]) -> FakeDocker:
    """Put a ``docker`` on PATH that runs what the container would run; it logs its arguments."""

    def make(inspect: str = FOUND, run: str = "") -> Path:
        log = tmp_path / "docker.log"
        program("docker", CLIENT.format(log=str(log), inspect=inspect, run=run))
        return log

    return make


FakeTool = Callable[[str], Path]
ANSWER = f"(out / 'timeloop-model.stats.txt').write_text(Path({str(STATS)!r}).read_text())\n"


def specs(count: int) -> list[Spec]:
    return [Spec(f"dir/spec {i}", {"problem": {"instance": {"M": i}}}) for i in range(count)]


def evaluate(wanted: list[Spec], **options: object) -> list[Evaluation]:
    return list(Docker("docker", "some/image", **options).evaluate(wanted, Quiet()))  # type: ignore[arg-type]


def runs(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith('["run"')]


def test_one_container_for_all_specs(fake_docker: FakeDocker, fake_tool: FakeTool) -> None:
    log = fake_docker()
    fake_tool("time.sleep(0.3 if 'M: 0' in source.read_text() else 0)\n" + ANSWER)
    found = evaluate(specs(5))
    assert [item.spec for item in found] == [f"dir/spec {i}" for i in range(5)]
    assert {item.cycles for item in found} == {262144}
    assert found[0].engine_version == f"timeloop-model in {DIGEST}"
    assert len(runs(log)) == 1
    assert '"--network", "none"' in runs(log)[0]
    assert '"--rm"' in runs(log)[0]


def test_what_is_known_needs_no_container(fake_docker: FakeDocker, fake_tool: FakeTool) -> None:
    log = fake_docker()
    fake_tool(ANSWER)
    evaluate(specs(3))
    assert len(evaluate(specs(3))) == 3
    assert len(runs(log)) == 1


def test_specs_of_one_content_share_a_call(
    fake_docker: FakeDocker, fake_tool: FakeTool, tmp_path: Path
) -> None:
    fake_docker()
    fake_tool(f"open({str(tmp_path / 'calls')!r}, 'a').write('x')\n" + ANSWER)
    one, two = specs(2)
    found = evaluate([one, Spec("again", one.sections), two, one], store=None)
    assert [item.spec for item in found] == ["dir/spec 0", "again", "dir/spec 1", "dir/spec 0"]
    assert (tmp_path / "calls").read_text() == "xx"


def test_another_image_is_asked_again(fake_docker: FakeDocker, fake_tool: FakeTool) -> None:
    log = fake_docker()
    fake_tool(ANSWER)
    evaluate(specs(1))
    fake_docker("print(json.dumps([{'Id': 'sha256:def', 'RepoDigests': []}])); sys.exit(0)")
    (found,) = evaluate(specs(1))
    assert found.engine_version == "timeloop-model in some/image sha256:def"
    assert len(runs(log)) == 2


def test_a_failed_spec_is_told_and_kept(
    fake_docker: FakeDocker, fake_tool: FakeTool, tmp_path: Path
) -> None:
    fake_docker()
    fake_tool(
        "if 'M: 1' in source.read_text():\n"
        "    print('ERROR: key not found: shape, at line: 0'); sys.exit(1)\n" + ANSWER
    )
    with pytest.raises(
        EvaluationError, match=r"spec 1 was not evaluated.*lacks the key shape"
    ) as e:
        evaluate(specs(3), keep_dir=tmp_path / "failed")
    (kept,) = (tmp_path / "failed").iterdir()
    assert "M: 1" in (kept / "input.yaml").read_text()
    assert "key not found" in (kept / "timeloop-model.log").read_text()
    assert e.value.rerun.startswith("docker run --rm --volume")
    assert len(evaluate(specs(1))) == 1  # the one before it was kept


def test_time_that_is_up(fake_docker: FakeDocker, fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_docker()
    fake_tool("time.sleep(60)\n")
    with pytest.raises(EvaluationError, match=r"did not finish within 0\.5 s"):
        evaluate(specs(1), timeout_s=0.5, keep_dir=tmp_path / "failed")


def test_an_image_without_the_tool(fake_docker: FakeDocker, tmp_path: Path) -> None:
    fake_docker(run=f"os.environ['PATH'] = {str(tmp_path)!r}")
    with pytest.raises(CrispLoopError, match="has no timeloop-model on its PATH"):
        evaluate(specs(1))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("sys.exit(137)", "ran out of memory"),
        ("fail('docker: no space left on device', 125)", "disk is full"),
        ("print('hello'); sys.exit(0)", "is no answer"),
        ("fail('something new', 125)", "status 125, its last words: something new"),
    ],
)
def test_a_container_that_ends_early(fake_docker: FakeDocker, run: str, message: str) -> None:
    fake_docker(run=run)
    with pytest.raises(CrispLoopError, match=message):
        evaluate(specs(2))


def test_leaving_in_the_middle_removes_the_container(
    fake_docker: FakeDocker, fake_tool: FakeTool
) -> None:
    log = fake_docker()
    fake_tool("time.sleep(30 if 'M: 1' in source.read_text() else 0)\n" + ANSWER)
    answers = Docker("docker", "some/image").evaluate(specs(2), Quiet())
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    (run,) = runs(log)
    name = run.split('"--name", "')[1].split('"')[0]
    assert f'["rm", "--force", "{name}"]' in log.read_text()


SAID = {
    "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker"
    " daemon running?": "the Docker daemon is not running",
    "failed to connect to the docker API at unix:///x.sock; check if the path is correct and if the"
    " daemon is running: dial unix /x.sock: connect: no such file": "daemon is not running",
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/"
    "docker.sock: dial unix /var/run/docker.sock: connect: permission denied": "usermod -aG docker",
    "Error response from daemon: No such image: some/image:latest": "docker pull some/image",
    'exec: "python3": executable file not found in $PATH: unknown.': "has no python3",
}
"""What Docker's clients 20.10 and 28.2 say, and what it becomes."""


@pytest.mark.parametrize("said", SAID)
def test_recorded_failures(fake_docker: FakeDocker, said: str) -> None:
    assert SAID[said] in explain_docker(said, 125, "some/image")
    fake_docker(f"fail({said!r}, 1)")
    assert SAID[said] in (Docker("docker", "some/image").unavailable() or "")
    with pytest.raises(CrispLoopError, match="engine docker cannot be used"):
        evaluate(specs(1))


def test_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "no docker program on PATH" in str(inspect_image("x"))


def test_the_image_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRISP_LOOP_IMAGE", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert default_image().endswith(":latest-arm64")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert default_image().endswith(":latest-amd64")
    monkeypatch.setenv("CRISP_LOOP_IMAGE", DIGEST)
    assert default_image() == DIGEST


needs_image = pytest.mark.skipif(
    shutil.which("docker") is None or not isinstance(inspect_image(default_image()), Image),
    reason="no Docker here, or not the image of Timeloop",
)


def containers() -> str:
    done = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", "name=crisp_loop-"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.timeloop
@needs_image
def test_the_image_says_what_the_native_tool_says() -> None:
    wanted = [load_spec(DATA / case) for case in ("stc24-conv5-1x1", "dstc-d08-conv5-1x1")]
    found = list(Docker().evaluate(wanted, Quiet()))
    assert containers() == ""
    for spec, item in zip(wanted, found, strict=True):
        if shutil.which("timeloop-model"):
            (native,) = Timeloop(use_front_end=False).evaluate([spec], Quiet())
            same = {"engine": native.engine, "engine_version": native.engine_version}
            assert dataclasses.replace(item, **same) == native


@pytest.mark.timeloop
@needs_image
def test_no_container_is_left_behind() -> None:
    one = load_spec(DATA / "stc24-conv5-1x1")
    wanted = [
        Spec(
            f"{i}",
            one.sections
            | {"ART": {"version": 0.3, "tables": one.sections["ART"]["tables"], "i": i}},
        )
        for i in range(50)
    ]
    answers = Docker(store=None).evaluate(wanted, Quiet())
    next(answers)
    assert containers()
    answers.close()  # type: ignore[attr-defined]
    assert containers() == ""
