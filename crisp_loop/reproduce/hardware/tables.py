"""The hardware study as Markdown: settings against claims, and where energy goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from crisp_loop.reproduce.figure import FOLLOWS, UNJUDGED, Outcome
from crisp_loop.reproduce.hardware.claims import CLAIMS, CRISP, DSTC, NVIDIA, of
from crisp_loop.reproduce.hardware.settings import SETTINGS, Setting
from crisp_loop.reproduce.hardware.shapes import early, late, shapes
from crisp_loop.reproduce.text import markdown_table
from crisp_loop.reproduce.write import measured_text

LEVELS = ("DRAM", "SMEM", "RF", "LRF", "MAC")


def measured_settings(rows: pd.DataFrame) -> Iterator[tuple[Setting, pd.DataFrame]]:
    """Each setting that was measured, with the rows of its shapes."""
    chosen = shapes(rows)
    for setting in SETTINGS:
        part = chosen.loc[chosen["setting"] == setting.name]
        if not part.empty:
            yield setting, part


def ranges_table(rows: pd.DataFrame) -> str:
    """A row a setting: least to most of the shapes, blocks of 64."""
    header = (
        "varied", "setting", "CRISP 1:4", "CRISP 2:4", "CRISP 3:4", "NVIDIA-STC",
        "DSTC, stages 1-2", "DSTC, stage 4", "CRISP energy, most", "DSTC energy, most",
    )  # fmt: skip
    told = []
    for setting, part in measured_settings(rows):
        at = part.loc[part["B"] == 64]
        cells = [
            *(_span(of(at, CRISP, nm)["speedup"]) for nm in ("1:4", "2:4", "3:4")),
            _span(of(at, NVIDIA, "2:4")["speedup"]),
            _span(early(of(at, DSTC, "2:4"))["speedup"]),
            _span(late(of(at, DSTC, "2:4"))["speedup"]),
            _most(of(at, CRISP)["energy_gain"]),
            _most(of(at, DSTC)["energy_gain"]),
        ]
        told.append([setting.group, setting.title, *cells])
    return markdown_table(header, told, texts=2)


def verdicts_table(rows: pd.DataFrame) -> str:
    """A row a claim: under which settings it follows, and under which it does not."""
    judged: dict[str, list[tuple[Setting, Outcome]]] = {each.key: [] for each in CLAIMS}
    for setting, part in measured_settings(rows):
        for each in CLAIMS:
            judged[each.key].append((setting, each.judged(part)))
    told = []
    for each in CLAIMS:
        (_, base), *_ = judged[each.key]
        asked = [(s, o) for s, o in judged[each.key] if o.verdict != UNJUDGED]
        agree = sum(outcome.verdict == FOLLOWS for _, outcome in asked)
        flips = [
            f"{setting.group}: {setting.title} ({measured_text(outcome)})"
            for setting, outcome in asked
            if outcome.verdict != base.verdict
        ]
        at_base = f"{base.verdict}: {measured_text(base)}"
        share = f"{agree} of {len(asked)}"
        told.append([each.claim.says, at_base, share, "; ".join(flips) or "none"])
    header = ("the paper", "at the base", "follows in", "otherwise than at the base in")
    return markdown_table(header, told, texts=4)


def energy_table(rows: pd.DataFrame, layers: Sequence[str], nm: str = "2:4") -> str:
    """Microjoules by level of some layers at the base, and what of DRAM's are inputs."""
    at = rows.loc[(rows["setting"] == "base") & (rows["nm"] == nm) & (rows["B"] == 64)]
    columns = [f"uJ_{level}" for level in LEVELS]
    header = ["layer", "design", *LEVELS, "of DRAM: inputs", "all", "gain", "gain on chip"]
    told = []
    for layer in layers:
        part = at.loc[at["layer"] == layer].set_index("accelerator")
        on_chip = part["energy_uJ"] - part["uJ_DRAM"]
        for design, row in part.iterrows():
            cells = [f"{row[column]:.1f}" for column in columns]
            cells += [f"{row['uJ_DRAM_inputs']:.1f}", f"{row['energy_uJ']:.1f}"]
            gain = on_chip["dense"] / on_chip[design]
            cells += [f"{row['energy_gain']:.2f} x", f"{gain:.2f} x"]
            told.append([layer, str(design), *cells])
    return markdown_table(header, told, texts=2)


def _span(values: pd.Series) -> str:
    return f"{values.min():.2f} - {values.max():.2f}" if len(values) else ""


def _most(values: pd.Series) -> str:
    return f"{values.max():.2f}" if len(values) else ""
