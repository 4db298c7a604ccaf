"""The page beside the tables that it shows, and beside the figures behind its figures."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from base64 import b64decode
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_cases import EXPERIMENT, NAMES

from crisp_loop.core.evaluation import Evaluation, Evaluations
from crisp_loop.core.files import read_json
from crisp_loop.core.manifest import Manifest, SpecEntry
from crisp_loop.cost.run import evaluate_specs
from crisp_loop.pipeline.run import RunDirectory
from crisp_loop.report.background import Background, BackgroundFiles, read_background
from crisp_loop.report.lookup import Lookup
from crisp_loop.report.page.energy import Energies
from crisp_loop.report.page.render import ALL_TOTAL_HEADS, LAYER_HEADS, render_page
from crisp_loop.report.page.roofline import traffic_of
from crisp_loop.report.page.scale import LogScale, round_ticks
from crisp_loop.report.run import Report, write_report

VOID = {"meta", "br", "img"}


class Page(HTMLParser):
    """Elements with their attributes, texts, and the tables as rows of (exact, shown)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[tuple[str, str]]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self._cell: list[str] | None = None
        self._exact = ""
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        assert len(known) == len(attrs), f"an attribute of {tag} stands there twice"
        self.elements.append((tag, known))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell, self._exact = [], known.get("data-value", "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag
        if tag in ("td", "th") and self._cell is not None:
            self.tables[-1][-1].append((self._exact, "".join(self._cell)))
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._cell is not None:
            self._cell.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def file_of(report: Report, name: str) -> Path:
    (found,) = (file for file in report.files if file.name == name)
    return found


def test_every_number_of_the_tables_is_on_the_page(reported: Report, parsed: Page) -> None:
    results = rows_of(file_of(reported, "results.csv"))
    totals = rows_of(file_of(reported, "totals.csv"))
    designs = list(dict.fromkeys(row["accelerator"] for row in results))
    by_design = [[row for row in results if row["accelerator"] == name] for name in designs]
    sortable = [
        table
        for table, attributes in zip(parsed.tables, parsed.all("table"), strict=True)
        if attributes.get("class") == "sortable"
    ]
    assert len(sortable) == 1 + len(designs) == 5
    for table, rows, heads in zip(
        sortable, [totals, *by_design], [ALL_TOTAL_HEADS, *[LAYER_HEADS] * 4], strict=True
    ):
        assert [shown for _, shown in table[0]] == [head.title for head in heads]
        exact = [[exact for exact, _ in row] for row in table[1:]]
        assert exact == [[row[head.column] for head in heads] for row in rows]
        for row, shown in zip(rows, table[1:], strict=True):
            texts = {head.column: text for head, (_, text) in zip(heads, shown, strict=True)}
            assert texts["cycles"].replace(",", "") == row["cycles"]
            assert float(texts["speedup"].removesuffix("x")) == pytest.approx(
                float(row["speedup"]), abs=0.0051
            )


def test_what_the_tables_leave_out_is_told_once(reported: Report, parsed: Page) -> None:
    facts = {row[0][1]: row[1][1] for row in parsed.tables[-1]}
    shown = {head.column for head in LAYER_HEADS} | {"model", "accelerator"}
    rows = rows_of(file_of(reported, "results.csv"))
    for column in set(rows[0]) - shown:
        values = dict.fromkeys(row[column] for row in rows)
        for value in list(values)[:6]:
            assert value in facts[column]
        assert (f"and {len(values) - 6} more" in facts[column]) == (len(values) > 6)


def test_the_page_loads_nothing(page: str, parsed: Page) -> None:
    assert not re.search(r"https?:|@import|ftp:", page)
    for tag, attributes in parsed.elements:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        for name, value in attributes.items():
            if name in {"href", "src", "xlink:href", "data", "action", "poster", "srcset"}:
                assert value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    (policy,) = (each for each in parsed.all("meta") if "http-equiv" in each)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_every_reference_has_its_target(page: str, parsed: Page) -> None:
    identities = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    references = {each["href"] for tag in ("a", "use") for each in parsed.all(tag)}
    references |= {f"#{name}" for name in re.findall(r"url\(#([^)]*)\)", page)}
    assert references <= {f"#{identity}" for identity in identities}


def test_foreign_names_are_text(page: str, parsed: Page) -> None:
    assert len(parsed.all("script")) == 1
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    text = "".join(parsed.texts)
    for name in NAMES:
        assert name in text
    assert EXPERIMENT in text
    assert all(each["src"].startswith("data:") for each in parsed.all("img"))


def test_bars_are_as_high_as_their_cycles(page: str, reported: Report) -> None:
    drawn = re.findall(
        r"<title>([^<]*) on ([a-z-]*): ([0-9,]*) cycles, (\w*) sets the pace</title>"
        r'<rect [^>]*height="([0-9.]*)"',
        page,
    )
    results = reported.results
    assert [int(cycles.replace(",", "")) for _, _, cycles, _, _ in drawn] == [
        cycles
        for design in dict.fromkeys(results["accelerator"])
        for cycles in results.loc[results["accelerator"] == design, "cycles"]
    ]
    heights = np.array([float(height) for *_, height in drawn])
    cycles = np.array([int(each[2].replace(",", "")) for each in drawn])
    np.testing.assert_allclose(heights, cycles * heights.max() / cycles.max(), atol=0.02)
    bottlenecks = results.set_index(["accelerator", "layer"])["bottleneck"]
    named = [each for each in drawn if each[0] in ("conv9", "conv10")]
    assert len(named) == 8
    for layer, design, _, bottleneck, _ in named:
        assert bottlenecks[design, layer] == bottleneck


def priced_entries(run: RunDirectory) -> list[tuple[SpecEntry, Evaluation]]:
    manifest = read_json(run.manifest, Manifest)
    lookup = Lookup(read_json(run.evaluations, Evaluations), run.specs)
    found = [(entry, lookup.get(entry.spec)) for entry in manifest.entries]
    return [(entry, evaluation) for entry, evaluation in found if evaluation is not None]


def test_rooflines_by_the_words_that_the_engine_counts(priced: RunDirectory) -> None:
    """The dense design has no metadata, so its words are those of the evaluations."""
    for entry, evaluation in priced_entries(priced):
        if entry.accelerator != "dense":
            continue
        traffic = traffic_of(entry, evaluation, evaluation.cycles, priced.specs)
        assert [each.memory for each in traffic] == ["DRAM", "SMEM"]
        for each in traffic:
            tensors = evaluation.level(each.memory).tensors.values()
            reads = sum(tensor.reads.actual for tensor in tensors)
            writes = sum(tensor.fills.actual + tensor.updates.actual for tensor in tensors)
            assert each.intensity == pytest.approx(evaluation.compute.actual / max(reads, writes))


def test_no_layer_is_above_a_roof_and_bottlenecks_are_on_theirs(
    priced: RunDirectory, reported: Report
) -> None:
    rows = reported.results.set_index(["accelerator", "layer"])
    bound = set()
    for entry, evaluation in priced_entries(priced):
        row = rows.loc[(entry.accelerator, entry.layer)]
        for each in traffic_of(entry, evaluation, int(row["cycles"]), priced.specs):
            roof = each.bandwidth * each.intensity
            assert each.speed <= min(roof, each.peak) * (1 + 1e-9)
            if row["bottleneck"] == each.memory:
                # Cycles are whole, so a memory-bound layer may be up to one short of its roof.
                assert each.speed == pytest.approx(roof, rel=2 / row["cycles"])
                bound.add(each.memory)
    assert bound, "no layer of the run tests a memory's roof"


def test_the_exact_engines_layers_stay_below_their_roofs(priced: RunDirectory) -> None:
    """That engine sees which inputs are gathered, so it needs fewer words and fewer cycles."""
    drawn = {entry.spec: entry for entry, _ in priced_entries(priced)}
    specs = [each for each in drawn if each.startswith("crisp-stc/")]
    found = evaluate_specs([priced.specs / each for each in specs], engine="analytic-exact")
    bounds = evaluate_specs([priced.specs / each for each in specs], engine="analytic")
    fewer = 0
    for spec, exact, bound in zip(specs, found, bounds, strict=True):
        ours, upper = (
            traffic_of(drawn[spec], each, each.cycles, priced.specs) for each in (exact, bound)
        )
        for each, most in zip(ours, upper, strict=True):
            assert each.speed <= min(each.bandwidth * each.intensity, each.peak) * (1 + 1e-9)
            assert each.intensity >= most.intensity * (1 - 1e-9)
            fewer += each.intensity > most.intensity
    assert fewer


def test_points_stand_where_their_titles_say(page: str) -> None:
    """Every point of a figure, read back through the ticks of its axes."""
    figures = re.findall(r'<svg class="plot".*?</svg>', page, re.S)
    assert len(figures) == 3
    for figure in figures:
        x_ticks = re.findall(r'<text x="([\d.]+)" y="303.0" text-anchor="middle">([\d.]+)<', figure)
        y_ticks = re.findall(r'<text x="40.0" y="([\d.]+)" text-anchor="end">([\d.]+)<', figure)
        points = re.findall(
            r'<use [^>]* x="([\d.]+)" y="([\d.]+)" [^>]*><title>.*?:'
            r" ([\d.]+) computes a cycle, ([\d.]+) a word<",
            figure,
        )
        assert len(points) >= 4
        (x0, low), (x1, high) = ((float(a), float(b)) for a, b in (x_ticks[0], x_ticks[-1]))
        for x, _, _, intensity in points:
            place = x0 + (x1 - x0) * np.log(float(intensity) / low) / np.log(high / low)
            assert float(x) == pytest.approx(place, abs=0.4)
        (y0, low), (y1, high) = ((float(a) - 4, float(b)) for a, b in (y_ticks[0], y_ticks[-1]))
        for _, y, speed, _ in points:
            place = y0 + (y1 - y0) * np.log(float(speed) / low) / np.log(high / low)
            assert float(y) == pytest.approx(place, abs=0.4)


def test_energies_add_up(priced: RunDirectory, reported: Report, page: str) -> None:
    sums = defaultdict(Energies)
    for entry, evaluation in priced_entries(priced):
        alone = Energies()
        alone.add(evaluation, 1)
        assert sum(alone.levels.values()) == pytest.approx(evaluation.energy_uJ)
        assert sum(alone.tensors.values()) == pytest.approx(evaluation.energy_uJ)
        sums[entry.accelerator].add(evaluation, entry.scale)
    totals = reported.totals.set_index("accelerator")["energy_uJ"]
    for design, energies in sums.items():
        assert sum(energies.levels.values()) == pytest.approx(totals[design])
        assert next(iter(energies.levels)) == "DRAM"
        share = energies.levels["DRAM"] / totals[design]
        assert re.search(rf"<title>DRAM: [\d.,]+ µJ, {re.escape(f'{share:.1%}')}</title>", page)


def test_mask_pictures_show_the_gathers(priced: RunDirectory, parsed: Page) -> None:
    """Pixel by pixel what the specs of crisp-stc say is gathered."""
    pictures = parsed.all("img")
    gathered = {
        entry.layer: json.loads((priced.specs / entry.spec / "gather.json").read_text())
        for entry, _ in priced_entries(priced)
        if (priced.specs / entry.spec / "gather.json").is_file()
    }
    assert len(pictures) == len(gathered) >= 3
    for picture in pictures:
        layer = picture["alt"].rsplit(": ", 1)[0]
        (indices,) = (value for value in gathered[layer].values() if isinstance(value, list))
        data = b64decode(picture["src"].split(",")[1])
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        assert [np.flatnonzero(row).tolist() for row in pixels] == [
            sorted(each) for each in indices
        ]
        height, width = pixels.shape
        assert int(picture["width"]) * height == int(picture["height"]) * width


def test_equal_inputs_make_equal_pages(priced: RunDirectory, page: str, tmp_path: Path) -> None:
    files = BackgroundFiles(priced.workload, priced.summary, priced.experiment)
    write_report(priced.manifest, priced.evaluations, tmp_path, files)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def moved(run: RunDirectory, folder: Path, **changes: object) -> tuple[Path, Path]:
    """Manifest and evaluations of a run in ``folder``, away from its specs."""
    manifest = json.loads(run.manifest.read_text()) | changes
    said = json.loads(run.evaluations.read_text())
    for each in said["evaluations"]:
        each["spec"] = Path(each["spec"]).relative_to(run.specs).as_posix()
    files = folder / "manifest.json", folder / "evaluations.json"
    for file, content in zip(files, (manifest, said), strict=True):
        file.write_text(json.dumps(content))
    return files


def test_a_page_without_specs_and_background(priced: RunDirectory, tmp_path: Path) -> None:
    """What is not there is left out, and the page says so where it could be missed."""
    report = write_report(*moved(priced, tmp_path), tmp_path)
    text = file_of(report, "report.html").read_text(encoding="utf-8")
    bare = Page(text)
    assert not bare.all("img")
    assert "Rooflines" not in text
    assert "experiment.yaml" not in text
    assert "crisp-loop cost specs/*/*/" in text


def test_specs_that_cannot_be_drawn_are_counted(priced: RunDirectory, tmp_path: Path) -> None:
    shutil.copytree(priced.specs, tmp_path / "specs")
    shutil.rmtree(tmp_path / "specs/dense/conv9")
    report = write_report(*moved(priced, tmp_path / "specs"), tmp_path)
    assert "1 specs are not drawn" in file_of(report, "report.html").read_text(encoding="utf-8")


SUMMARY = {
    "network": "layers",
    "dataset": "digits",
    "user_classes": [1, 4, 7],
    "config": {"method": "crisp", "nm": {"n": 2, "m": 4}, "block": 16, "sparsity": 0.9},
    "dense": {"test": {"samples": 108, "top1": 0.875, "top1_among_user_classes": 0.9}},
    "dense_finetuned": None,
    "pruned": {"test": {"samples": 108, "top1": 0.8125, "top1_among_user_classes": 0.85}},
    "sparsity": 0.9,
    "sparsity_all": 0.5,
    "macs_ratio": 0.11,
    "anything": "else",
}


def known(priced: RunDirectory, tmp_path: Path, **changes: object) -> Background:
    summary = tmp_path / "summary.json"
    workload = json.loads(priced.workload.read_text())
    ours = {"network": workload["model"], "sparsity_all": workload["sparsity"]}
    summary.write_text(json.dumps(SUMMARY | ours | changes))
    return read_background(BackgroundFiles(priced.workload, summary), workload["model"])


def test_accuracy_is_told(priced: RunDirectory, reported: Report, tmp_path: Path) -> None:
    manifest = read_json(priced.manifest, Manifest)
    said = read_json(priced.evaluations, Evaluations)
    background = known(priced, tmp_path)
    text = render_page(reported.results, reported.totals, manifest, said, priced.specs, background)
    (table,) = (table for table in Page(text).tables if table[0][0][1] == "weights")
    assert [[shown for _, shown in row] for row in table[1:]] == [
        ["dense, as trained on all classes", "87.5%", "90.0%"],
        ["pruned", "81.2%", "85.0%"],
    ]


@pytest.mark.parametrize("change", [{"network": "other"}, {"sparsity_all": 0.123}])
def test_the_pruning_of_another_experiment_is_not_told(
    priced: RunDirectory, tmp_path: Path, change: dict[str, object]
) -> None:
    assert known(priced, tmp_path).pruning is not None
    assert known(priced, tmp_path, **change).pruning is None


def test_ticks() -> None:
    assert round_ticks(749_000, most=3) == [0, 250_000, 500_000, 750_000]
    assert round_ticks(3, most=3) == [0, 1, 2, 3]
    assert round_ticks(0) == [0, 1]
    scale = LogScale(0.25, 512, 0, 110)
    assert scale.ticks == [0.25, 1, 4, 16, 64, 256]
    assert [scale(tick) for tick in scale.ticks] == pytest.approx([0, 20, 40, 60, 80, 100])


def test_two_models_on_one_page(priced: RunDirectory, tmp_path: Path) -> None:
    entries = json.loads(priced.manifest.read_text())["entries"]
    twice = [*entries, *(entry | {"model": "twin"} for entry in entries)]
    report = write_report(*moved(priced, tmp_path, entries=twice), tmp_path)
    both = Page(file_of(report, "report.html").read_text(encoding="utf-8"))
    assert sum(each.get("class") == "sortable" for each in both.all("table")) == 10
    assert pd.read_csv(tmp_path / "totals.csv")["model"].nunique() == 2
