"""The mapping stage: what is known is not searched again, and what was found is not lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from crisp_loop.accelerators import Accelerator, Problem, load_accelerator
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import write_json
from crisp_loop.core.gemm import Gemm, Workload, dense
from crisp_loop.core.mappings import Mapped, read_mappings, write_mappings
from crisp_loop.core.pattern import NM
from crisp_loop.mapping import run
from crisp_loop.mapping.library import fingerprint
from crisp_loop.mapping.mappers import BranchAndBound
from crisp_loop.mapping.objective import OBJECTIVES
from crisp_loop.mapping.run import MapRequest, explain_mappings, map_workload

GEMMS = tuple(Gemm(f"layer{m}", 1, m, 24, 6, dense(24 * m)) for m in (8, 16, 40))


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "workload.json"
    write_json(path, Workload("toy", NM(2, 4), 16, 0.0, "none", GEMMS))
    return path


class Counting:
    """The analytic mapper, which notes what it is asked for and may stop in the middle."""

    tool = "crisp_loop"

    def __init__(self, stop_at: str = "") -> None:
        self.asked: list[str] = []
        self.stop_at = stop_at

    def map(self, accelerator: Accelerator, problem: Problem, layer: str) -> Mapped:
        if layer == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(layer)
        return BranchAndBound(OBJECTIVES["cycles-energy"]).map(accelerator, problem, layer)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[Counting], Counting]:
    def install(mapper: Counting) -> Counting:
        monkeypatch.setattr(run, "mapper_called", lambda *_: mapper)
        return mapper

    return install


def test_a_run_that_was_stopped_goes_on(
    workload: Path,
    tmp_path: Path,
    ask: Callable[[Counting], Counting],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "WRITE_EVERY_S", 0.0)
    out = tmp_path / "mapping"
    ask(Counting(stop_at="layer40"))
    with pytest.raises(KeyboardInterrupt):
        map_workload(workload, ["dense"], out)
    assert len(read_mappings(out / "dense.yaml").mappings) == 2
    second = ask(Counting())
    found = map_workload(workload, ["dense"], out)
    assert second.asked == ["layer40"]
    assert found["dense"] == read_mappings(out / "dense.yaml")
    assert ask(Counting()).asked == []
    third = ask(Counting())
    map_workload(workload, ["dense"], out, request=MapRequest(fresh=True))
    assert third.asked == ["layer8", "layer16", "layer40"]


def test_another_objective_or_design_is_searched_anew(workload: Path, tmp_path: Path) -> None:
    out = tmp_path / "mapping"
    first = map_workload(workload, ["dense"], out)["dense"]
    by_energy = map_workload(workload, ["dense"], out, request=MapRequest("energy"))["dense"]
    for key, mapped in by_energy.mappings.items():
        assert mapped.found is not None
        before = first.mappings[key].found
        assert before is not None
        assert mapped.found.objective == "energy"
        assert mapped.found.energy_uJ <= before.energy_uJ
    stale = by_energy.model_copy(update={"arch": "another"})
    write_mappings(out / "dense.yaml", stale)
    again = map_workload(workload, ["dense"], out, request=MapRequest("energy"))["dense"]
    assert again.arch == fingerprint(load_accelerator("dense"))


def test_a_mapping_by_hand_stays(workload: Path, tmp_path: Path) -> None:
    out = tmp_path / "mapping"
    found = map_workload(workload, ["dense"], out)["dense"]
    key = next(iter(found.mappings))
    by_hand = Mapped(loops=found.mappings[key].loops)
    edited = found.model_copy(update={"mappings": {**found.mappings, key: by_hand}})
    write_mappings(out / "dense.yaml", edited)
    kept = map_workload(workload, ["dense"], out, request=MapRequest("edp"))["dense"]
    assert kept.mappings[key] == by_hand
    assert read_mappings(out / "dense.yaml").mappings[key].found is None
    explained = explain_mappings(workload, out, ["dense"])
    assert [each.layers for each in explained] == [("layer8",), ("layer16",), ("layer40",)]
    assert explained[0].found is None


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (MapRequest(objective="speed"), "objective: 'speed' is unknown; expected one of cycles-en"),
        (MapRequest(mapper="magic"), "mapper: 'magic' is unknown; expected one of analytic, timel"),
    ],
)
def test_unknown_names_are_listed(
    workload: Path, tmp_path: Path, request_: MapRequest, sentence: str
) -> None:
    with pytest.raises(CrispLoopError, match=sentence):
        map_workload(workload, ["dense"], tmp_path / "mapping", request=request_)
