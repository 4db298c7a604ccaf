"""CACTI, called as Accelergy's CACTI plug-in calls it, with the plug-in's own settings."""

from __future__ import annotations

import csv
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import sha256
from crisp_loop.primitives.tables import Figures, Macro

PLUG_IN = "cacti_wrapper.py"
"""The plug-in's module; CACTI and its settings lie beside it."""
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Cacti:
    """The program of one plug-in."""

    program: Path
    settings: str
    """Text of the plug-in's ``default_cfg.cfg``, to which an input adds the macro."""

    @classmethod
    def beside(cls, plug_in: Path) -> Cacti:
        """The program that the plug-in module ``plug_in`` would call.

        Raises:
            CrispLoopError: no program or settings there.
        """
        for name in ("cacti/cacti", "cacti"):
            program = plug_in.parent / name
            if program.is_file():
                break
        else:
            raise CrispLoopError(f"{plug_in.parent} holds no CACTI; install the plug-in again.")
        settings = plug_in.parent / "default_cfg.cfg"
        try:
            return cls(program, settings.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise CrispLoopError(f"{settings} cannot be read: {error.strerror or error}.") from None

    def fingerprint(self) -> str:
        """Twelve hex digits of the SHA-256 of the program file."""
        return sha256(self.program.read_bytes())[:12]

    def measure(self, macro: Macro) -> Figures:
        """What CACTI says of ``macro``.

        Raises:
            CrispLoopError: CACTI failed, or found no solution.
        """
        block = macro.width // 8
        asked = {
            "size (bytes)": block * macro.depth,
            "read-write port": macro.ports,
            "block size (bytes)": block,
            "technology (u)": macro.node / 1000,
            "output/input bus width": macro.width,
            "UCA bank": macro.banks,
            "cache type": '"ram"',
            "tag size (b)": 0,
            "associativity": 1,
        }
        with tempfile.TemporaryDirectory(prefix="crisp_loop-cacti-") as scratch:
            source = Path(scratch) / "macro.cfg"
            lines = [f"-{name} {value}" for name, value in asked.items()]
            source.write_text("\n".join([self.settings, *lines, ""]), encoding="utf-8")
            try:
                done = subprocess.run(
                    [str(self.program), "-infile", str(source)],
                    cwd=self.program.parent,  # it reads its technology files from there
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise _failed(macro, f"it did not finish within {_TIMEOUT_S:g} s") from None
            except OSError as error:
                raise _failed(macro, f"it cannot be started ({error.strerror or error})") from None
            answer = source.with_name(source.name + ".out")
            if done.returncode != 0 or not answer.is_file():
                raise _failed(macro, f"it ended with status {done.returncode} and no answer")
            rows = list(csv.DictReader(answer.read_text(encoding="utf-8").splitlines()))
        try:
            said = {name.strip(): float(rows[-1][name]) for name in rows[-1] if name in _WANTED}
            return Figures(
                read_pJ=_six_digits(said["Dynamic read energy (nJ)"] * 1e3),
                write_pJ=_six_digits(said["Dynamic write energy (nJ)"] * 1e3),
                leakage_uW=_six_digits(said["Standby leakage per bank(mW)"] * 1e3 * macro.banks),
                area_um2=_six_digits(said["Area (mm2)"] * 1e6),
            )
        except (IndexError, KeyError, ValueError):
            raise _failed(macro, "its answer lacks energies, leakage or area") from None


_WANTED = {
    " Dynamic read energy (nJ)",
    " Dynamic write energy (nJ)",
    " Standby leakage per bank(mW)",
    " Area (mm2)",
}


def _six_digits(value: float) -> float:
    """CACTI prints six significant digits; a change of units adds noise below them."""
    return float(f"{value:.6g}")


def _failed(macro: Macro, why: str) -> CrispLoopError:
    return CrispLoopError(
        f"CACTI does not estimate SRAM {macro.depth} x {macro.width} b ({macro.banks} banks,"
        f" {macro.ports} ports, {macro.node} nm): {why}."
    )
