"""Tables for documents: what their readers would read."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from crisp_loop.core.errors import InputError
from crisp_loop.report.export import as_csv, as_latex, as_markdown, text_format
from crisp_loop.report.grid import totals_grid
from crisp_loop.report.run import Report

NASTY = r"a_b & 50% #1 $x$ {y} ~z ^w \v <u> [t] *s* |r| `q`"

TOTALS = pd.DataFrame(
    {
        "model": "net",
        "accelerator": ["dense", NASTY],
        "cycles": [1234567, 89],
        "energy_uJ": [12.34, 0.056789],
        "speedup": [1.0, 13871.5393],
        "energy_gain": [1.0, 217.3],
    }
)


def test_csv_holds_values_in_full() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(totals_grid(TOTALS)))))
    assert rows == [
        ["accelerator", "cycles", "energy_uJ", "speedup", "energy_gain"],
        ["dense", "1234567", "12.34", "1.0", "1.0"],
        [NASTY, "89", "0.056789", "13871.5393", "217.3"],
    ]


def test_markdown_by_hand() -> None:
    lines = as_markdown(totals_grid(TOTALS)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert re.sub(" +", " ", lines[0]) == (
        "| design | cycles | energy (µJ) | speed-up | energy gain |"
    )
    assert re.sub("-+", "-", lines[1]) == "| - | -: | -: | -: | -: |"
    assert re.sub(" +", " ", lines[2]) == "| dense | 1,234,567 | 12.3 | 1.00x | 1.00x |"
    # A reader splits at bars without a backslash, and takes the backslashes away.
    for line in lines:
        assert len(re.split(r"(?<!\\)\|", line)) == 7
    name = re.split(r"(?<!\\)\|", lines[3])[1].strip()
    assert re.sub(r"\\(.)", r"\1", name) == NASTY


def test_latex_by_hand() -> None:
    lines = as_latex(totals_grid(TOTALS)).splitlines()
    assert lines[1:5] == [
        r"\begin{tabular}{lrrrr}",
        r"\toprule",
        r"design & cycles & energy ($\mu$J) & speed-up & energy gain \\",
        r"\midrule",
    ]
    assert lines[5] == r"dense & 1,234,567 & 12.3 & 1.00x & 1.00x \\"
    assert lines[6].startswith(
        r"a\_b \& 50\% \#1 \$x\$ \{y\} \textasciitilde{}z \textasciicircum{}w \textbackslash{}v"
        r" \textless{}u\textgreater{} {[}t] {*}s{*} |r| `q` & 89 & 0.0568"
    )


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    table = as_latex(totals_grid(TOTALS))
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    text = f"{head}\n{table}\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_several_models_are_named() -> None:
    twice = pd.concat([TOTALS, TOTALS.assign(model="other")])
    assert as_csv(totals_grid(twice)).splitlines()[0].startswith("model,accelerator,")


def test_the_files_beside_the_csv(reported: Report) -> None:
    folder = reported.files[0].parent
    for name, written in (("totals.md", as_markdown), ("totals.tex", as_latex)):
        assert (folder / name).read_text(encoding="utf-8") == written(totals_grid(reported.totals))


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InputError, match="'docx' cannot be used; expected one of csv, md, latex"):
        text_format("docx")
