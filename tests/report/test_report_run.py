import math
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console

from crisp_loop.core.corrections import corrected_cycles
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import (
    Accesses,
    ComputeStats,
    Evaluation,
    Evaluations,
    FormatAccesses,
    LevelStats,
    TensorStats,
)
from crisp_loop.core.files import sha256, write_json
from crisp_loop.core.manifest import Manifest, SpecEntry
from crisp_loop.report.rows import COLUMNS
from crisp_loop.report.run import Report, read_results, report_of_table, write_report
from crisp_loop.report.table import layers_for_terminal, totals_for_terminal


def tensor(reads: int, fills: int, updates: int, instances: float) -> TensorStats:
    # Algorithmic, gated and skipped counts are there to be left out.
    def counts(actual: int) -> Accesses:
        return Accesses(algorithmic=actual * 7, actual=actual, gated=5, skipped=3)

    none = FormatAccesses()
    return TensorStats(
        tile_shape=1,
        utilized_capacity=1,
        instances=instances,
        reads=counts(reads),
        fills=counts(fills),
        updates=counts(updates),
        format_reads=none,
        format_fills=none,
        format_updates=none,
        temporal_reductions=0,
        energy_pJ=0.0,
    )


def evaluation(
    spec: str, compute: int, smem: int, dram: int, energy: float, words: int = 100
) -> Evaluation:
    """An evaluation as timeloop makes it: no level is faster than the arithmetic."""
    cycles = max(compute, smem, dram)
    levels = (
        LevelStats("RF", compute, 1.0, {"A": tensor(9, 9, 9, 4.0)}, 0.0),
        LevelStats(
            "SMEM",
            max(smem, compute),
            1.0,
            {"A": tensor(words, 10, 1, 1.0), "B": tensor(words, 0, 0, 2.0)},
            0.0,
        ),
        LevelStats("DRAM", max(dram, compute), 1.0, {"Z": tensor(3, 0, words, 1.0)}, 0.0),
    )
    mac = ComputeStats("MAC", 256, 256.0, compute, 1, 1, 0, 0, 0.0)
    return Evaluation(spec, "analytic", "9.9", cycles, energy, 0.5, mac, levels)


def entry(layer: str, accelerator: str, **changes: object) -> SpecEntry:
    fields = {
        "spec": f"{accelerator}/{layer}",
        "model": "net",
        "layer": layer,
        "accelerator": accelerator,
        "n": 2,
        "m": 4,
        "block": 64 if accelerator == "crisp-stc" else None,
        "form": "dense",
        "weight_density": 1.0,
        "activation_density": 0.6,
        "groups": 1,
        "M": 64,
        "K": 576,
        "N": 49,
        "N_padding": 15,
        "metadata_bits": 7,
        "ert": "abc",
        "mapping": "def",
    }
    return SpecEntry(**(fields | changes))  # type: ignore[arg-type]


ENTRIES = (
    entry("conv1", "dense", n=4, m=4, metadata_bits=0),
    entry("conv1", "dstc", cycle_correction=1.25, weight_density=0.125),
    entry("conv1", "crisp-stc", weight_density=0.125),
    entry("conv2", "dense", scale=2),
    entry("conv2", "dstc", cycle_correction=1.25, scale=2),
    entry("conv2", "crisp-stc"),
)
EVALUATIONS = (
    evaluation("dense/conv1", compute=1000, smem=1000, dram=1000, energy=10.0),
    evaluation("dstc/conv1", compute=200, smem=210, dram=200, energy=5.0),
    evaluation("crisp-stc/conv1", compute=100, smem=100, dram=125, energy=2.0),
    evaluation("dense/conv2", compute=800, smem=800, dram=800, energy=6.0),
    evaluation("dstc/conv2", compute=200, smem=200, dram=400, energy=3.0),
    evaluation("crisp-stc/conv2", compute=100, smem=100, dram=100, energy=3.0, words=7),
)

Write = Callable[..., tuple[Path, Path]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(
        entries: tuple[SpecEntry, ...] = ENTRIES,
        evaluations: tuple[Evaluation, ...] = EVALUATIONS,
        baseline: str = "dense",
    ) -> tuple[Path, Path]:
        manifest, said = tmp_path / "specs/manifest.json", tmp_path / "cost/evaluations.json"
        versions = {"crisp_loop": "1.2", "jinja2": "3.4"}
        write_json(
            manifest,
            Manifest(model="net", baseline=baseline, entries=entries, versions=versions),
        )
        write_json(said, Evaluations("analytic", "9.9", evaluations))
        return manifest, said

    return write


@pytest.fixture
def report(write: Write, tmp_path: Path) -> Report:
    return write_report(*write(), tmp_path / "run")


def column(report: Report, name: str) -> list[object]:
    return report.results[name].tolist()


def test_columns_are_the_documented_ones_in_order(report: Report) -> None:
    header = report.files[0].read_text().splitlines()[0]
    assert header == (
        "model,layer,accelerator,n,m,block,weight_density,activation_density,M,K,N,N_padding,"
        "cycles_model,cycles,energy_uJ,edp,utilization,bottleneck,dram_words,smem_words,"
        "metadata_bits,speedup,energy_gain,engine,engine_version,ert,mapping,spec,rendered_by"
    )
    document = Path(__file__).parents[2] / "docs" / "results-table.md"
    described = [
        line.split("`")[1] for line in document.read_text().splitlines() if line[:3] == "| `"
    ]
    assert described[: len(COLUMNS)] == list(COLUMNS)


def test_rows_by_hand(report: Report) -> None:
    assert column(report, "layer") == ["conv1"] * 3 + ["conv2"] * 3
    assert column(report, "cycles_model") == [1000, 210, 125, 1600, 800, 100]
    # DSTC: 200 * 1.25 = 250 > 210 on conv1; DRAM's 400 stays above 250 on conv2.
    assert column(report, "cycles") == [1000, 250, 125, 1600, 800, 100]
    assert column(report, "energy_uJ") == [10.0, 5.0, 2.0, 12.0, 6.0, 3.0]
    assert column(report, "edp") == pytest.approx([1e-2, 1.25e-3, 2.5e-4, 1.92e-2, 4.8e-3, 3e-4])
    assert column(report, "speedup") == [1.0, 4.0, 8.0, 1.0, 2.0, 16.0]
    assert column(report, "energy_gain") == [1.0, 2.0, 5.0, 1.0, 2.0, 4.0]
    assert column(report, "bottleneck") == ["MAC", "MAC", "DRAM", "MAC", "DRAM", "MAC"]
    # 0.5 of the model's 210 cycles is 0.42 of the corrected 250.
    assert column(report, "utilization") == pytest.approx([0.5, 0.42, 0.5, 0.5, 0.5, 0.5])
    # DRAM: 3 + words; SMEM: words + 10 + 1 and 2 instances of words; twice where scale is 2.
    assert column(report, "dram_words") == [103, 103, 103, 206, 206, 10]
    assert column(report, "smem_words") == [311, 311, 311, 622, 622, 32]
    assert column(report, "metadata_bits") == [0, 7, 7, 7, 7, 7]
    assert column(report, "engine_version") == ["9.9"] * 6
    assert column(report, "rendered_by") == ["crisp_loop 1.2, jinja2 3.4"] * 6


def test_a_spec_is_told_by_all_of_its_files() -> None:
    one = {"problem.yaml": "a" * 64, "mapping.yaml": "b" * 64}
    assert (
        entry("x", "dense", files=one).spec_hash
        == sha256(f"mapping.yaml {'b' * 64}\nproblem.yaml {'a' * 64}")[:12]
    )
    assert len({entry("x", "dense", files=one | more).spec_hash for more in ({}, {"q": "c"})}) == 2
    assert entry("x", "dense").spec_hash == ""


def test_totals_by_hand(report: Report) -> None:
    totals = report.totals.set_index("accelerator")
    assert list(totals.index) == ["dense", "dstc", "crisp-stc"]
    assert totals["baseline"].tolist() == ["dense"] * 3
    assert totals["layers"].tolist() == [2, 2, 2]
    assert totals["cycles_model"].tolist() == [2600, 1010, 225]
    assert totals["cycles"].tolist() == [2600, 1050, 225]
    assert totals["energy_uJ"].tolist() == [22.0, 11.0, 5.0]
    assert totals["edp"].tolist() == pytest.approx([22e-6 * 2600, 11e-6 * 1050, 5e-6 * 225])
    assert totals["speedup"].tolist() == pytest.approx([1, 2600 / 1050, 2600 / 225])
    assert totals["energy_gain"].tolist() == pytest.approx([1, 2, 4.4])
    assert totals["speedup_geomean"].tolist() == pytest.approx([1, math.sqrt(8), math.sqrt(128)])
    assert totals["energy_gain_geomean"].tolist() == pytest.approx([1, 2, math.sqrt(20)])
    assert totals["dram_words"].tolist() == [309, 309, 113]
    written = pd.read_csv(report.files[1])
    assert written["speedup"].tolist() == report.totals["speedup"].tolist()


def test_totals_compare_the_same_layers(write: Write, tmp_path: Path) -> None:
    totals = write_report(*write(ENTRIES[:5]), tmp_path / "run").totals.set_index("accelerator")
    assert totals.loc["crisp-stc", "layers"] == 1
    assert totals.loc["crisp-stc", "speedup"] == 8
    assert totals.loc["crisp-stc", "energy_gain"] == 5


def test_correction_never_makes_the_model_faster() -> None:
    found = [int(corrected_cycles(150, 100, q)) for q in (0.5, 1.0, 1.5, 1.504, 2.0)]
    assert found == [150, 150, 150, 151, 200]
    assert corrected_cycles(100, 100, 1.1) == 110


@pytest.mark.parametrize("style", ["absolute", "from here", "relative to the manifest"])
def test_specs_are_found_however_their_path_is_written(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    monkeypatch.chdir(tmp_path)
    prefix = {"absolute": f"{tmp_path}/specs/", "from here": "specs/"}.get(style, "./")
    said = tuple(replace(item, spec=prefix + item.spec) for item in EVALUATIONS)
    report = write_report(*write(evaluations=said), Path("run"))
    assert column(report, "speedup") == [1.0, 4.0, 8.0, 1.0, 2.0, 16.0]


def test_two_layers_may_share_a_spec(write: Write, tmp_path: Path) -> None:
    twin = tuple(replace(item, layer="conv3") for item in ENTRIES[:3])
    report = write_report(*write((*ENTRIES, *twin)), tmp_path / "run")
    assert column(report, "cycles")[-3:] == [1000, 250, 125]


def test_a_spec_without_smem_leaves_its_words_empty(write: Write, tmp_path: Path) -> None:
    bare = tuple(replace(item, levels=item.levels[:1]) for item in EVALUATIONS)
    report = write_report(*write(evaluations=bare), tmp_path / "run")
    assert report.results["smem_words"].isna().all()
    assert report.totals["dram_words"].isna().all()
    pd.testing.assert_frame_equal(read_results(report.files[0]), report.results, check_dtype=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"evaluations": EVALUATIONS[1:]}, "spec dense/conv1 has no evaluation"),
        ({"entries": ()}, "lists no specs"),
        ({"entries": ENTRIES[1:]}, "conv1 of net is missing on the baseline dense"),
        ({"entries": (*ENTRIES, ENTRIES[0])}, "conv1 of net stands there twice for dense"),
        ({"baseline": "none"}, "missing on the baseline none"),
    ],
)
def test_refused_in_one_sentence(
    write: Write, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(CrispLoopError, match=sentence) as caught:
        write_report(*write(**change), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_unreadable_files(write: Write, tmp_path: Path) -> None:
    manifest, said = write()
    with pytest.raises(CrispLoopError, match="no such manifest"):
        write_report(tmp_path / "none", said, tmp_path)
    manifest.write_text(manifest.read_text().replace('"scale": 2', '"scale": 0'))
    with pytest.raises(CrispLoopError, match=r"entries.3.scale: 0 cannot be used"):
        write_report(manifest, said, tmp_path)


def test_read_results_gives_back_what_was_written(report: Report) -> None:
    pd.testing.assert_frame_equal(read_results(report.files[0]), report.results, check_dtype=False)
    assert read_results(report.files[0])["block"].dtype == "Int64"


def test_report_of_a_table_alone(report: Report, tmp_path: Path) -> None:
    again = report_of_table(report.files[0])
    assert again.baseline == "dense"
    pd.testing.assert_frame_equal(again.totals, report.totals, check_dtype=False)
    sparse = report.results[report.results["accelerator"] != "dense"]
    sparse.to_csv(tmp_path / "sparse.csv", index=False)
    with pytest.raises(CrispLoopError, match="holds no baseline"):
        report_of_table(tmp_path / "sparse.csv")


def test_numbers_are_read_as_they_were_written(report: Report, tmp_path: Path) -> None:
    many = pd.concat([report.results] * 200, ignore_index=True)
    many["energy_uJ"] = np.random.default_rng(0).lognormal(3, 5, len(many))
    many.to_csv(tmp_path / "many.csv", index=False)
    pd.testing.assert_series_equal(
        read_results(tmp_path / "many.csv")["energy_uJ"], many["energy_uJ"], check_exact=True
    )


def test_rows_go_layer_by_layer_in_the_manifests_order(write: Write, tmp_path: Path) -> None:
    by_design = sorted(
        ENTRIES, key=lambda item: ["dense", "dstc", "crisp-stc"].index(item.accelerator)
    )
    report = write_report(*write(tuple(by_design)), tmp_path / "run")
    assert column(report, "layer") == ["conv1"] * 3 + ["conv2"] * 3
    assert column(report, "accelerator") == ["dense", "dstc", "crisp-stc"] * 2


def test_read_results_refuses(report: Report, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    with pytest.raises(CrispLoopError, match="no such results table"):
        read_results(table)
    text = report.files[0].read_text()
    for broken, sentence in (
        (text.replace(",speedup,", ",faster,"), "lacks the column 'speedup'"),
        (text.replace(",64,576,49,", ",64,many,49,"), "K holds 'many'; expected a number"),
        ("", "is not a readable CSV table"),
        ('a,b\n"', "is not a readable CSV table"),
        ("a," * 1000 + text, "has a header of more than 1000 columns or 65536 characters"),
        ('"' + "a\n" * 40_000 + '",' + text, "more than 1000 columns or 65536 characters"),
    ):
        table.write_text(broken)
        with pytest.raises(CrispLoopError, match=sentence) as caught:
            read_results(table)
        assert "\n" not in str(caught.value)


def test_the_same_inputs_make_the_same_bytes(write: Write, tmp_path: Path) -> None:
    inputs = write()
    first = [file.read_bytes() for file in write_report(*inputs, tmp_path / "one").files]
    second = [file.read_bytes() for file in write_report(*inputs, tmp_path / "two").files]
    assert first == second
    assert sorted(file.name for file in (tmp_path / "one").iterdir()) == [
        "report.html",
        "results.csv",
        "speedup.png",
        "speedup.svg",
        "totals.csv",
        "totals.md",
        "totals.tex",
    ]


def test_figure_holds_a_bar_for_every_ratio(report: Report) -> None:
    from crisp_loop.report.figure import speedup_figure

    figure = speedup_figure(report.results, "dense")
    top, bottom = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in top.containers]  # type: ignore[union-attr]
    assert heights[0] == pytest.approx([4.0, 2.0, math.sqrt(8)])
    assert heights[1] == pytest.approx([8.0, 16.0, math.sqrt(128)])
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["conv1", "conv2", "geomean"]
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    assert "net" in texts
    assert "pattern 2:4  ·  blocks of 64  ·  engine analytic 9.9" in texts
    assert "dense = 1" in texts


def many_layers(count: int, report: Report) -> pd.DataFrame:
    parts = [report.results[:3].assign(layer=f"layer{i // 9}.{i}.conv2") for i in range(count)]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("count", [1, 12, 54])
def test_figure_at_other_sizes(report: Report, tmp_path: Path, count: int) -> None:
    from crisp_loop.report.figure import draw_speedup

    files = (tmp_path / "speedup.png", tmp_path / "speedup.svg")
    draw_speedup(many_layers(count, report), "dense", files)
    pixels = imread(files[0])
    assert pixels.shape[0] == 1024
    assert 1280 <= pixels.shape[1] <= 2560
    # Nothing is cut off: the outermost pixels are the white margin.
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert np.all(edge[..., :3] == 1)
    assert ElementTree.parse(files[1]).getroot().tag.endswith("svg")


def test_figure_with_the_baseline_alone_and_with_two_models(write: Write, tmp_path: Path) -> None:
    dense = tuple(item for item in ENTRIES if item.accelerator == "dense")
    assert write_report(*write(dense), tmp_path / "alone").files[-2].stat().st_size > 0
    other = tuple(replace(item, model="other") for item in ENTRIES)
    report = write_report(*write((*ENTRIES, *other)), tmp_path / "two")
    assert len(report.totals) == 6
    rows = [line.split()[:2] for line in shown(totals_for_terminal(report.totals)).splitlines()]
    assert ["other", "crisp-stc"] in rows


def shown(table: object, width: int = 80) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def test_tables_for_the_terminal(report: Report) -> None:
    text = shown(totals_for_terminal(report.totals))
    assert "net, 2 layers by the analytic engine, over dense" in text
    row = next(line for line in text.splitlines() if "crisp-stc" in line)
    assert row.split() == ["crisp-stc", "225", "5.00", "11.56x", "11.31x", "4.40x", "4.47x"]
    assert "…" not in text
    text = shown(layers_for_terminal(report.results, "dense"), 120)
    assert text.count("64 x 576 x 49") == 2
    row = next(line for line in text.splitlines() if "crisp-stc" in line)
    assert row.split() == ["crisp-stc", "0.125", "125", "2.00", "8.00x", "5.00x", "DRAM"]


def test_terminal_tables_show_names_as_they_are(report: Report) -> None:
    results = report.results.assign(layer="[red]x[/red]")
    assert "[red]x[/red]" in shown(layers_for_terminal(results, "dense"), 140)
