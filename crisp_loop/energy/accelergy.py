"""Accelergy on this machine: one call an architecture, and its answer read back."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_text, read_yaml, sha256, write_text

PROGRAM = "accelergy"
ERT, ART, SUMMARY = "ERT.yaml", "ART.yaml", "ERT_summary_verbose.yaml"
_DIGITS = 12
"""Significant digits that Accelergy is asked for; its default is six."""
_TIMEOUT_S = 1800.0
MISSING = (
    f"{PROGRAM} is not on PATH; install Accelergy 0.4 with its CACTI, Aladdin and Library"
    " plug-ins, or do without: the energy tables ship with crisp_loop"
)


@dataclass(frozen=True)
class Answer:
    """What Accelergy says of an architecture; components by their name without its path."""

    energy_pJ: Mapping[str, Mapping[str, float]]
    """Component and action to pJ."""
    area_um2: Mapping[str, float]
    """Component to um^2 an instance."""
    estimators: Mapping[str, Mapping[str, str]]
    """Component and part to the plug-in that estimated it; a primitive is its own part."""
    log: str
    """What it printed; empty for an answer that was kept from an earlier call."""


@dataclass(frozen=True)
class Accelergy:
    """The program."""

    program: Path

    @staticmethod
    def on_path() -> bool:
        """Whether there is one."""
        return shutil.which(PROGRAM) is not None

    @classmethod
    def find(cls) -> Accelergy:
        """The one on PATH.

        Raises:
            CrispLoopError: there is none.
        """
        found = shutil.which(PROGRAM)
        if found is None:
            raise CrispLoopError(f"{MISSING}.")
        return cls(Path(found).absolute())

    def ask(self, documents: Mapping[str, str], keep: Path | None = None) -> Answer:
        """Energies and areas of an architecture.

        Args:
            documents: File name to YAML text: an architecture and its compound components.
            keep: Directory of earlier answers, by the hash of what was asked and of the program.
                An answer found there is taken, and a new one put there.

        Raises:
            CrispLoopError: it cannot be started, fails, or leaves a table out.
        """
        asked = "\0".join(part for item in sorted(documents.items()) for part in item)
        kept = keep and keep / sha256(f"{asked}\0{self.program}\0{self.version()}")[:16]
        if kept and all((kept / name).is_file() for name in (ERT, ART, SUMMARY)):
            return _answer(kept, "")
        with tempfile.TemporaryDirectory(prefix="crisp_loop-accelergy-") as scratch:
            folder = Path(scratch)
            for name, text in documents.items():
                (folder / name).write_text(text, encoding="utf-8")
            log = self._run(folder, list(documents))
            answer = _answer(folder / "out", log)
            if kept:
                for name in (ERT, ART, SUMMARY):
                    write_text(kept / name, read_text(folder / "out" / name))
        return answer

    def version(self) -> str:
        """``accelergy`` and a fingerprint of its start script, which knows its installation."""
        return f"{PROGRAM} sha256:{sha256(self.program.read_bytes())[:12]}"

    def plug_in(self, module: str) -> Path:
        """The file of a Python plug-in, as Accelergy itself finds it.

        Raises:
            CrispLoopError: Accelergy does not load it.
        """
        log = self._started(["--list-components"], Path.cwd()).stdout
        found = re.search(rf"Loading Python plug-in: (.*{re.escape(module)})", log)
        if found is None:
            raise CrispLoopError(
                f"{self.program} loads no plug-in {module}; install Accelergy's CACTI plug-in."
            )
        return Path(found[1])

    def _run(self, folder: Path, names: list[str]) -> str:
        done = self._started([*names, "-o", "out", "-v", "-p", str(_DIGITS)], folder)
        if done.returncode != 0 or not (folder / "out" / SUMMARY).is_file():
            raise CrispLoopError(f"{self.program} failed: {_reason(done.stdout)}.")
        return done.stdout

    def _started(self, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [str(self.program), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CrispLoopError(f"{self.program} did not finish in {_TIMEOUT_S:g} s.") from None
        except OSError as error:
            raise CrispLoopError(
                f"{self.program} cannot be started: {error.strerror or error}."
            ) from None


def kept_answers() -> Path:
    """Where answers are kept on this machine."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "crisp_loop" / PROGRAM


def _answer(folder: Path, log: str) -> Answer:
    try:
        energy = {
            _bare(table["name"]): {
                str(action["name"]): float(action["energy"]) for action in table["actions"]
            }
            for table in _section(folder / ERT, "ERT")["tables"]
        }
        area = {
            _bare(table["name"]): float(table["area"])
            for table in _section(folder / ART, "ART")["tables"]
        }
        estimators = {
            _bare(table["name"]): dict(_estimators(table["primitive_estimation(s)"]))
            for table in _section(folder / SUMMARY, "ERT_summary")["table_summary"]
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CrispLoopError(
            f"{folder} holds an answer of {PROGRAM} in a form that is unknown here; expected"
            " version 0.4."
        ) from None
    return Answer(energy, area, estimators, log)


def _estimators(estimations: Any) -> Iterator[tuple[str, str]]:
    """(part, plug-in) of one component; compound and primitive ones are told in two ways."""
    for each in estimations:
        if "subaction_estimations" in each:
            for part in each["subaction_estimations"]:
                yield str(part["subcomponent_name"]), str(part["estimator"])
        else:
            for name, said in each.items():
                yield _bare(name), str(said["estimator"])


def _section(path: Path, name: str) -> Any:
    return read_yaml(path, "table of Accelergy")[name]


def _bare(name: str) -> str:
    """``system.SM.RF[0..3]`` as ``RF``."""
    return re.sub(r"\[[^]]*\]", "", str(name)).rsplit(".", 1)[-1]


def _reason(log: str) -> str:
    """Why Accelergy gave up, on one line: the query that no plug-in takes, or the last error."""
    lines = [
        re.sub(r"^[-0-9]+ [:0-9]+ [A-Z]+ +", "", line).strip(" |") for line in log.splitlines()
    ]
    lines = [line for line in lines if line.strip("=. ")]
    told = [line for line in lines if line.startswith("Can not find")]
    told = told or [line for line in lines if re.match(r"\w*Error\b", line)][-1:] or lines[-1:]
    return (told or ["it said nothing"])[0].rstrip(".")
