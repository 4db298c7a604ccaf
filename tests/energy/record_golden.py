"""Record Accelergy's own answers for the tests: python tests/energy/record_golden.py

``tests/golden/accelergy`` gets, for two designs that hold all shipped components, the tables that
Accelergy writes, and ``srams.json``: SRAMs whose figures follow exactly (rows, narrow, shallow,
between nodes), and SRAMs between the rows.
"""

from __future__ import annotations

import json
import random
import shutil
from math import exp, log
from pathlib import Path

from crisp_loop.accelerators import load_accelerator
from crisp_loop.energy.accelergy import Accelergy
from crisp_loop.primitives import SRAM
from crisp_loop.render import render_accelergy

GOLDEN = Path(__file__).parents[1] / "golden/accelergy"
EXACT = [
    (45, SRAM(depth=8192, width=256, banks=2)),
    (45, SRAM(depth=8192, width=256, banks=2, ports=2)),
    (45, SRAM(depth=16384, width=256, banks=2)),
    (45, SRAM(depth=5461, width=48, banks=2)),
    (45, SRAM(depth=1024, width=8)),
    (45, SRAM(depth=64, width=8)),
    (45, SRAM(depth=64, width=8, ports=2)),
    (45, SRAM(depth=16, width=8)),
    (45, SRAM(depth=64, width=4)),
    (45, SRAM(depth=2, width=250, banks=2)),
    (45, SRAM(depth=20, width=44, banks=4)),
    (45, SRAM(depth=10240, width=509, banks=32, ports=2)),
    (22, SRAM(depth=8192, width=256, banks=2)),
    (28, SRAM(depth=8192, width=256, banks=2)),
    (32, SRAM(depth=96, width=6)),
    (50, SRAM(depth=2048, width=64)),
    (65, SRAM(depth=8192, width=256, banks=4)),
    (90, SRAM(depth=30, width=30, ports=2)),
]


def between_rows() -> list[tuple[int, SRAM]]:
    """Drawn without a look at the tables."""
    draw = random.Random(1)
    found = []
    for _ in range(24):
        banks = draw.choice((1, 2, 4))
        depth = round(exp(draw.uniform(log(64 * banks), log(65536))))
        width = 8 * draw.randint(4, 64)
        found.append((45, SRAM(depth=depth, width=width, banks=banks, ports=draw.choice((1, 2)))))
    return found


def architecture(node: int, parts: dict[str, SRAM]) -> str:
    """An Accelergy architecture with each of ``parts`` once."""
    local = [
        {
            "name": name,
            "class": "SRAM",
            "attributes": part.attributes,
            "required_actions": ["read", "write", "leak"],
        }
        for name, part in parts.items()
    ]
    attributes = {"technology": f"{node}nm", "global_cycle_seconds": 1e-9}
    top = {"name": "system", "attributes": attributes, "local": local}
    return json.dumps({"architecture": {"version": 0.4, "subtree": [top]}})


def main() -> None:
    """Ask Accelergy and write its answers."""
    accelergy = Accelergy.find()
    for name in ("dense", "dstc"):
        accelergy.ask(render_accelergy(load_accelerator(name)), GOLDEN / "fresh")
        (kept,) = (GOLDEN / "fresh").iterdir()
        shutil.rmtree(GOLDEN / name, ignore_errors=True)
        kept.rename(GOLDEN / name)
        (GOLDEN / "fresh").rmdir()
    rows = []
    for exact, asked in ((True, EXACT), (False, between_rows())):
        for node in sorted({node for node, _ in asked}):
            parts = {f"m{i}": part for i, (each, part) in enumerate(asked) if each == node}
            answer = accelergy.ask({"architecture.yaml": architecture(node, parts)})
            rows += [
                {
                    "node": node,
                    "sram": part.model_dump(exclude={"class_", "count"}),
                    "exact": exact,
                    "read_pJ": answer.energy_pJ[name]["read"],
                    "write_pJ": answer.energy_pJ[name]["write"],
                    "leakage_uW": answer.energy_pJ[name]["leak"] * 1e3,
                    "area_um2": answer.area_um2[name],
                }
                for name, part in parts.items()
            ]
    text = ",\n".join(json.dumps(row) for row in rows)
    (GOLDEN / "srams.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
