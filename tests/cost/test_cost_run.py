"""The stage: engines by name, checks before the call, the file it writes, the doctor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.progress import Progress
from crisp_loop.core.spec import Spec, load_spec
from crisp_loop.cost import doctor
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.doctor import diagnose
from crisp_loop.cost.engine import ENGINES, Engine, EngineOptions, find_engine
from crisp_loop.cost.preflight.energies import check_energies
from crisp_loop.cost.run import evaluate_specs, read_evaluations
from crisp_loop.cost.stats import parse_stats

DATA = Path(__file__).parent / "data"
GOLDEN = sorted(path.parent.name for path in DATA.glob("*/timeloop-model.stats.txt"))


def stats_text(case: str) -> str:
    return (DATA / case / "timeloop-model.stats.txt").read_text(encoding="utf-8")


T = TypeVar("T")


class Recorded:
    """An engine that knows the golden answers."""

    name = "recorded"

    def version(self) -> str:
        return "1"

    def unavailable(self) -> str | None:
        return None

    def evaluate(self, specs: Sequence[Spec], progress: Progress) -> Iterator[Evaluation]:
        for spec in progress.track(specs, self.name, total=len(specs)):
            text = stats_text(Path(spec.source).parent.name)
            yield parse_stats(text, spec.source, self.name, "1")


class Listener:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(self, items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
        yield from items

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_writes_what_it_returns(tmp_path: Path) -> None:
    paths = [DATA / case / "spec.yaml" for case in GOLDEN]
    out = tmp_path / "cost" / "evaluations.json"
    found = evaluate_specs(paths, Recorded(), out)
    assert [item.spec for item in found] == [str(path) for path in paths]
    stored = read_evaluations(out)
    assert (stored.engine, stored.engine_version) == ("recorded", "1")
    assert list(stored.evaluations) == found
    assert [path.name for path in out.parent.iterdir()] == ["evaluations.json"]


def test_nothing_is_written_when_a_spec_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "evaluations.json"
    with pytest.raises(CrispLoopError, match=r"none\.yaml: no such spec"):
        evaluate_specs([tmp_path / "none.yaml"], Recorded(), out)
    assert not out.exists()


def test_specs_in_memory_and_none_at_all(tmp_path: Path) -> None:
    spec = load_spec(DATA / "dense-conv5-1x1" / "spec.yaml")
    assert evaluate_specs([spec], Recorded())[0].cycles == 262144
    assert evaluate_specs([], Recorded(), tmp_path / "e.json") == []
    assert read_evaluations(tmp_path / "e.json").evaluations == ()


def test_damaged_evaluations_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text('{"engine": "x"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"e\.json"):
        read_evaluations(path)


def test_unknown_engine_names_the_known_ones() -> None:
    known = "auto, analytic, analytic-exact, docker, timeloop"
    with pytest.raises(InputError, match=f"'sparseloop' cannot be used; .*{known}"):
        find_engine("sparseloop")


def test_auto_prefers_timeloop(fake_tool: Callable[[str], Path]) -> None:
    fake_tool("pass\n")
    assert find_engine("auto").name == "timeloop"


def test_auto_falls_back_on_analytic(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Analytic, "unavailable", lambda self: None)
    assert find_engine("auto").name == "analytic"
    with pytest.raises(CrispLoopError, match=r"engine timeloop cannot be used: .*docs/engines"):
        find_engine("timeloop")


def test_no_engine_at_all_tells_every_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(Analytic, "unavailable", lambda self: "it is gone")
    with pytest.raises(CrispLoopError, match=r"timeloop cannot be used.*analytic cannot be used"):
        find_engine("auto")


def test_engines_carry_their_names() -> None:
    for name, make in ENGINES.items():
        engine: Engine = make(EngineOptions())
        assert engine.name == name


@pytest.mark.skipif(Analytic().unavailable() is not None, reason="the model is not there yet")
@pytest.mark.parametrize("case", GOLDEN)
def test_analytic_agrees(case: str) -> None:
    (found,) = evaluate_specs([DATA / case / "spec.yaml"], "analytic")
    golden = parse_stats(stats_text(case), found.spec)
    assert found.engine == "analytic"
    assert found.cycles == golden.cycles
    assert found.energy_uJ == pytest.approx(golden.energy_uJ, rel=1e-3)


def golden_sections() -> dict[str, Any]:
    return copy.deepcopy(load_spec(DATA / "crisp24-b64-conv4-3x3" / "spec.yaml").sections)


def test_a_table_for_another_name_is_refused() -> None:
    sections = golden_sections()
    sections["ERT"]["tables"][1]["name"] = "system.SM.SMEN"
    with pytest.raises(CrispLoopError, match=r"x: ERT\.tables prices .*SMEN but not SMEM"):
        check_energies(Spec("x", sections))


@pytest.mark.parametrize(("table", "action"), [(0, "read"), (1, "write"), (4, "mac_random")])
def test_a_missing_action_is_refused(table: int, action: str) -> None:
    sections = golden_sections()
    actions = sections["ERT"]["tables"][table]["actions"]
    actions[:] = [item for item in actions if item["name"] != action]
    with pytest.raises(InputError, match=r"ERT\.tables\.(DRAM|SMEM|MAC)\.actions.*expected one"):
        check_energies(Spec("x", sections))


def test_unpriced_metadata_is_said_once() -> None:
    listener = Listener()
    evaluate_specs([DATA / case / "spec.yaml" for case in GOLDEN], Recorded(), progress=listener)
    (note,) = listener.notes
    assert "DRAM holds metadata, but its energy table has no metadata_read" in note
    assert "more like this" in note


@pytest.mark.parametrize("junk", [None, 5, "x", [1], {"subtree": 3}, {"tables": [None, {}]}])
def test_checks_leave_junk_to_the_engines(junk: Any) -> None:
    sections = dict.fromkeys(("architecture", "problem", "mapping", "ERT"), junk)
    assert check_energies(Spec("x", {**sections, "sparse_optimizations": junk})) == ()


def test_diagnose_names_everything() -> None:
    found = {finding.name: finding for finding in diagnose()}
    assert set(found) == {
        "python", "torch", "engine analytic", "engine timeloop", "pytimeloop", "accelergy",
        "docker", "engine docker", "energy tables",
    }  # fmt: skip
    assert found["python"].usable
    for finding in found.values():
        assert finding.detail
        assert finding.usable or finding.remedy


def test_diagnose_on_a_bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = {finding.name: finding for finding in diagnose()}
    assert not found["engine timeloop"].usable
    assert "build Timeloop" in found["engine timeloop"].remedy
    assert not found["docker"].usable


@pytest.mark.parametrize(
    ("script", "usable", "detail"),
    [
        ("echo '28.2.2, daemon 28.2.2'", True, "28.2.2, daemon 28.2.2"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", False, "Cannot connect"),
        ("sleep 30", False, "did not answer"),
    ],
)
def test_docker_client_and_daemon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, usable: bool, detail: str
) -> None:
    client = tmp_path / "docker"
    client.write_text(f"#!/bin/sh\n{script.replace('sleep', 'exec sleep')}\n", encoding="utf-8")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(doctor, "_DOCKER_TIMEOUT_S", 0.5)
    found = doctor._docker()  # pyright: ignore[reportPrivateUsage]
    assert found.usable is usable
    assert detail in found.detail
