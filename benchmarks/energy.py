"""How far the tables of SRAM energies are off between their rows: CACTI on random macros.

    python benchmarks/energy.py --macros 300 --node 45

Needs Accelergy with its CACTI plug-in on PATH. Macros are drawn evenly over the logarithm of the
depth; their width is one of the table, or (``--widths any``) any multiple of 8 bits in between.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Iterator
from math import exp, log
from statistics import mean, median

from crisp_loop.energy.accelergy import Accelergy
from crisp_loop.energy.cacti import PLUG_IN, Cacti
from crisp_loop.primitives import SRAM, look_up
from crisp_loop.primitives.tables import Macro, sram_table


def drawn(node: int, count: int, any_width: bool, seed: int) -> Iterator[Macro]:
    """Macros inside the table of ``node`` that are no rows of it."""
    table = sram_table(node)
    organisations = sorted({(macro.banks, macro.ports) for macro in table})
    random_ = random.Random(seed)
    while count:
        banks, ports = random_.choice(organisations)
        rows = [m for m in table if (m.banks, m.ports) == (banks, ports)]
        depths = [macro.depth for macro in rows]
        widths = sorted({macro.width for macro in rows})
        depth = round(exp(random_.uniform(log(min(depths)), log(max(depths)))))
        width = random_.choice(widths)
        if any_width:
            width = 8 * random_.randint(widths[0] // 8, widths[-1] // 8)
        macro = Macro(node, depth, width, banks, ports)
        if macro not in table:
            count -= 1
            yield macro


def main() -> None:
    """Print each macro's error as CSV, and a summary on standard error."""
    parser = argparse.ArgumentParser(description="Errors of the SRAM tables between rows.")
    parser.add_argument("--macros", type=int, default=300)
    parser.add_argument("--node", type=int, default=45)
    parser.add_argument("--widths", choices=("table", "any"), default="table")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cacti = Cacti.beside(Accelergy.find().plug_in(PLUG_IN))
    rows = csv.writer(sys.stdout)
    rows.writerow([*Macro._fields, "read", "write", "leakage", "area"])
    errors: dict[str, list[float]] = {"read": [], "write": [], "leakage": [], "area": []}
    for macro in drawn(options.node, options.macros, options.widths == "any", options.seed):
        true = cacti.measure(macro)
        node, depth, width, banks, ports = macro
        said = look_up(SRAM(depth=depth, width=width, banks=banks, ports=ports), node)
        found = {
            "read": said.energy_pJ["read"] / true.read_pJ - 1,
            "write": said.energy_pJ["write"] / true.write_pJ - 1,
            "leakage": said.leakage_uW / true.leakage_uW - 1,
            "area": said.area_um2 / true.area_um2 - 1,
        }
        rows.writerow([*macro, *(f"{value:.5f}" for value in found.values())])
        for name, value in found.items():
            errors[name].append(abs(value))
    for name, values in errors.items():
        values.sort()
        print(
            f"{name}: median {median(values):.2%}, mean {mean(values):.2%},"
            f" 95 % below {values[int(0.95 * len(values))]:.2%}, worst {values[-1]:.2%}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
