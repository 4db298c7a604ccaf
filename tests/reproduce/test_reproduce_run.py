"""The facade and its writers, with a figure of which everything is known."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.progress import Progress
from crisp_loop.reproduce import registry, run
from crisp_loop.reproduce.figure import Claim, Outcome, PaperFigure
from crisp_loop.reproduce.judge import judge_number
from crisp_loop.reproduce.run import reproduce
from crisp_loop.reproduce.scale import Scale

CLAIM = Claim("a | b is 2", "Sec. I", 2, 2, "x")


@dataclass
class Known:
    """Counts how often it is measured."""

    value: float = 3.0
    times: int = 0
    scales: list[Scale] = field(default_factory=list)

    def measure(self, scale: Scale, out: Path, progress: Progress) -> pd.DataFrame:
        self.times += 1
        self.scales.append(scale)
        return pd.DataFrame({"x": [1, 2], "y": [self.value, 1 / 3], "said": ["", "no"]})

    def draw(self, rows: pd.DataFrame) -> Figure:
        figure = Figure()
        figure.subplots().plot(rows["x"], rows["y"])
        return figure

    def judge(self, rows: pd.DataFrame) -> Sequence[Outcome]:
        return [judge_number(CLAIM, float(rows["y"].iloc[0]), "the first row")]

    def figure(self, name: str) -> PaperFigure:
        return PaperFigure(
            name=name,
            title=f"what {name} shows",
            shows="Two points.",
            claims=(CLAIM,),
            measure=self.measure,
            draw=self.draw,
            judge=self.judge,
            describe=lambda rows, scale: f"It has {len(rows)} rows.",
            settings=lambda scale: {"data": scale.data},
        )


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Known]:
    makers = {name: Known() for name in registry.FIGURES}

    def chosen(names: Sequence[str]) -> tuple[PaperFigure, ...]:
        return tuple(maker.figure(name) for name, maker in makers.items() if name in names)

    monkeypatch.setattr(run, "chosen", chosen)
    return makers


def test_a_figure_leaves_table_pictures_and_page(tmp_path: Path, known: dict[str, Known]) -> None:
    done = reproduce(["fig3", "fig1"], out=tmp_path / "a")
    assert [each.figure.name for each in done] == ["fig1", "fig3"]
    files = {path.name for path in (tmp_path / "a").iterdir()}
    ends = ("csv", "json", "md", "png", "svg")
    assert files == {f"{name}.{end}" for name in ("fig1", "fig3") for end in ends} | {
        "reproduce.md"
    }
    assert (tmp_path / "a" / "fig1.csv").read_text() == (
        "x,y,said\n1,3.0,\n2,0.3333333333333333,no\n"
    )
    assert (tmp_path / "a" / "fig1.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "<svg" in (tmp_path / "a" / "fig1.svg").read_text()
    page = (tmp_path / "a" / "fig1.md").read_text()
    assert r"| a \| b is 2 | Sec. I | 2 x | 3 x | +1 x (+50%) | does not follow |" in page
    assert "It has 2 rows." in page
    assert "`crisp-loop reproduce fig1 --scale ci`" in page
    index = (tmp_path / "a" / "reproduce.md").read_text()
    assert re.findall(r"\]\((fig\d\.md)\)", index) == ["fig1.md", "fig3.md"]
    again = reproduce(["fig1", "fig3"], out=tmp_path / "b")
    assert again[0].outcomes == done[0].outcomes
    for name in ("fig1.csv", "fig1.png", "fig1.svg"):  # equal bytes from equal rows
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_was_measured_is_not_measured_again(tmp_path: Path, known: dict[str, Known]) -> None:
    first = known["fig1"]
    reproduce(["fig1"], out=tmp_path)
    reproduce(["fig1"], out=tmp_path)
    assert first.times == 1
    first.value = 2.0  # other code, same settings: what is kept is shown
    assert reproduce(["fig1"], out=tmp_path)[0].outcomes[0].measured == (3.0,)
    reproduce(["fig1"], Scale(data="digits"), out=tmp_path)  # other settings
    assert first.times == 2
    reproduce(["fig1"], Scale(data="digits"), out=tmp_path)
    assert first.times == 2
    table = tmp_path / "fig1.csv"
    table.write_text(table.read_text().replace("2.0", "9.0"))  # an edited table
    assert reproduce(["fig1"], Scale(data="digits"), out=tmp_path)[0].outcomes[0].measured == (2.0,)
    (tmp_path / "fig1.json").write_text("{}")
    reproduce(["fig1"], Scale(data="digits"), out=tmp_path)
    assert first.times == 4


def test_a_figure_that_fails_leaves_the_others(
    tmp_path: Path, known: dict[str, Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> pd.DataFrame:
        raise CrispLoopError("no.")

    monkeypatch.setattr(known["fig2"], "measure", broken)
    with pytest.raises(CrispLoopError, match=r"^no\.$"):
        reproduce(["fig1", "fig2", "fig3"], out=tmp_path)
    assert {path.name for path in tmp_path.iterdir() if "2" in path.name} == set()
    assert json.loads((tmp_path / "fig1.json").read_text())["rows"]
    assert "[fig1]" in (tmp_path / "reproduce.md").read_text()
    assert known["fig3"].times == 0


@pytest.mark.parametrize("names", [["fig9"], ["fig5"], [], ["fig1", "Fig1"]])
def test_unknown_figures_are_refused_by_name(names: list[str]) -> None:
    with pytest.raises(InputError, match="expected fig1, fig2, fig3, fig4, fig7, fig8"):
        registry.chosen(names)


def test_every_figure_says_what_it_is() -> None:
    for figure in registry.chosen(["fig1", "fig2", "fig3", "fig4", "fig7"]):
        assert figure.claims
        for claim in figure.claims:
            assert claim.says
            assert re.match(r"(Sec\.|Fig\.) ", claim.where)
