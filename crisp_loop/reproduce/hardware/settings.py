"""The settings that Fig. 8 is measured at: the shipped designs, and one thing changed at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE = "base"
"""Name of the setting that the others differ from."""
STAGES = {"layer1.*": 0.8, "layer2.*": 0.85, "layer3.*": 0.88, "layer4.*": 0.93}
"""A profile with the later stages of ResNet-50 sparser, as global pruning leaves them."""
ALADDIN = {"class": "intmultiplier", "width": 8}
"""The Aladdin plug-in's multiplier, three times the Library plug-in's energy at 8 bits."""


ANY_PATTERN = ("2:4", "1:4", "3:4")


@dataclass(frozen=True)
class Setting:
    """One way to measure: what differs from the shipped designs at kappa .90."""

    name: str
    """Names its directory and its rows."""
    group: str
    """What the setting is varied in."""
    title: str
    """What it changes, in a few words."""
    arch: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the designs, as an experiment changes them."""
    others: Mapping[str, Any] = field(default_factory=dict)
    """Other keys of an experiment."""
    kappa: Mapping[str, float] = field(default_factory=dict)
    """Sparsity by N:M pattern, where it is not .90 for all."""
    patterns: tuple[str, ...] = ANY_PATTERN
    """Those that the setting can change anything for; all designs are measured at the first, dense
    and CRISP-STC alone at the others."""


def _bandwidth(level: str, words: float) -> dict[str, Any]:
    return {f"{level}.read_bandwidth": words, f"{level}.write_bandwidth": words}


def _sums(bits: int) -> dict[str, Any]:
    """Partial sums of ``bits`` in the same 1 KB of RF."""
    return {"RF.width": bits, "RF.datawidth": bits, "RF.depth": 8192 // bits}


def _store(kilobytes: int) -> dict[str, Any]:
    """SMEM's metadata store, 48 bits wide."""
    return {"SMEM.metadata.depth": kilobytes * 8192 // 48}


def _everywhere(kappa: float) -> dict[str, float]:
    return dict.fromkeys(ANY_PATTERN, kappa)


DSTC_ALONE = ("2:4",)
TILED = {"dataflow.0.dims.K": None}
"""K may be tiled at DRAM, which the shipped designs do only for layers that fit no other way."""
FREE_WAITING = {"MAC.energy.mac_gated": 0, "MAC.energy.mac_skipped": 0}
EITHER_ORDER = {"dstc/dataflow.5.orders": ["NKMRQ", "MKNRQ"]}
EXACT = {"engine": "analytic-exact"}
BY_PATTERN = {"1:4": 0.9, "2:4": 0.85, "3:4": 0.8}

SETTINGS: Sequence[Setting] = (
    Setting(BASE, "base", "DRAM 32 and SMEM 21 words a cycle, 8-bit sums, metadata store 32 KB"),
    *(
        Setting(f"dram-{words}", "DRAM bandwidth", f"{words} words a cycle",
                _bandwidth("DRAM", words))
        for words in (8, 16, 64, 128)
    ),
    *(
        Setting(f"smem-{words:g}", "SMEM bandwidth", f"{words:g} words a cycle",
                _bandwidth("SMEM", words))
        for words in (10.5, 42, 84)
    ),
    Setting("sums-16", "partial sums", "16 bits", _sums(16)),
    Setting("sums-32", "partial sums", "32 bits", _sums(32)),
    Setting("sums-32-smem-42", "partial sums", "32 bits, SMEM 42 words a cycle",
            _sums(32) | _bandwidth("SMEM", 42)),
    *(
        Setting(f"store-{size}", "metadata store", f"{size} KB", _store(size))
        for size in (16, 48, 64, 128)
    ),
    Setting("k-free", "dataflow", "K tiled at DRAM", TILED),
    Setting("k-free-store-64", "dataflow", "K tiled at DRAM, metadata store 64 KB",
            TILED | _store(64)),
    Setting("dstc-order", "dataflow", "DSTC's multipliers in either order", EITHER_ORDER,
            patterns=DSTC_ALONE),
    *(Setting(f"batch-{n}", "batch", f"{n} inputs", others={"batch": n}) for n in (4, 16)),
    *(
        Setting(f"columns-{n}", "padding", f"N padded to multiples of {n}", others={"columns": n})
        for n in (16, 64)
    ),
    *(
        Setting(f"kappa-{round(100 * kappa)}", "sparsity", f"kappa {kappa:.2f}",
                kappa=_everywhere(kappa))
        for kappa in (0.8, 0.85, 0.95, 0.97)
    ),
    Setting("kappa-by-pattern", "sparsity", "kappa .90 / .85 / .80 for 1:4 / 2:4 / 3:4",
            kappa=BY_PATTERN),
    Setting("kappa-by-stage", "sparsity", "kappa .80 / .85 / .88 / .93 by stage",
            others={"profile": STAGES}),
    *(
        Setting(f"activations-{density:g}", "activations", f"DSTC's at density {density:g}",
                others={"activation_density": density}, patterns=DSTC_ALONE)
        for density in (0.4, 0.8, 1.0)
    ),
    Setting("multiplier-aladdin", "energies", "multiply by the Aladdin plug-in, 0.79 pJ",
            {"compute.parts": {"multiplier": ALADDIN}}),
    Setting("dstc-bitmaps", "energies", "DSTC's bitmap store at the depth that it fills",
            {"dstc/LRF.parts": {}}, patterns=DSTC_ALONE),
    Setting("waiting-free", "energies", "a waiting multiplier costs nothing", FREE_WAITING),
    Setting("exact", "counting", "shared input blocks of CRISP-STC once a tile", others=EXACT),
    Setting("exact-rows", "counting", "the same, and several block-rows in SMEM at once",
            {"dataflow.1.dims.R": None}, EXACT),
)  # fmt: skip
"""The base first, then by group."""
