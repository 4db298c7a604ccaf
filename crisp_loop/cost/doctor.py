"""What this machine offers: engines, tools and energy tables."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from crisp_loop import __version__
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.cost import frontend
from crisp_loop.cost.analytic import Analytic
from crisp_loop.cost.docker import Docker
from crisp_loop.cost.timeloop import Timeloop
from crisp_loop.tools.programs import MODEL, fingerprint

if TYPE_CHECKING:
    # Its place moved with Python 3.11, and the old one warns.
    from importlib.abc import Traversable

_DOCKER_TIMEOUT_S = 10.0
_PYTHON_MIN = (3, 10)
_PYTHON_BEYOND = (3, 13)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Finding:
    """One thing that was looked for."""

    name: str
    usable: bool
    detail: str
    """Its version and place, or why it cannot be used."""
    remedy: str = ""
    """What to do about it; empty when there is nothing to do."""


def diagnose() -> tuple[Finding, ...]:
    """Look for everything that crisp_loop can use. Never raises."""
    return (
        _python(),
        _torch(),
        _analytic(),
        _timeloop(),
        _front_end(),
        _accelergy(),
        _docker(),
        _docker_engine(),
        _energy_tables(),
    )


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if _PYTHON_MIN <= sys.version_info[:2] < _PYTHON_BEYOND:
        return Finding("python", True, found)
    return Finding("python", False, found, "use Python 3.10, 3.11 or 3.12")


def _torch() -> Finding:
    # From its metadata: importing it takes seconds.
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return Finding("torch", False, "not installed", "pip install torch; only prune needs it")
    return Finding("torch", True, version)


def _analytic() -> Finding:
    reason = Analytic().unavailable()
    if reason is None:
        return Finding("engine analytic", True, f"crisp_loop {__version__}, nothing to install")
    return _split("engine analytic", reason)


def _timeloop() -> Finding:
    reason = Timeloop(use_front_end=False).unavailable()
    found = shutil.which(MODEL)
    if reason is not None or found is None:
        return _split("engine timeloop", reason or f"{MODEL} is not on PATH")
    try:
        version = fingerprint(Path(found))
    except CrispLoopError as error:
        return Finding("engine timeloop", False, str(error), "make the file readable")
    return Finding("engine timeloop", True, f"{found}, sha256 {version} (it tells no version)")


def _front_end() -> Finding:
    reason = frontend.unavailable()
    if reason is not None:
        return _split("pytimeloop", reason)
    spec = find_spec("pytimeloop")
    return Finding("pytimeloop", True, f"v0.3 front end at {spec.origin if spec else '?'}")


def _accelergy() -> Finding:
    found = shutil.which("accelergy")
    try:
        version = importlib.metadata.version("accelergy")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if found is None:
        return Finding(
            "accelergy",
            False,
            f"{version} is installed, but not on PATH" if version else "not on PATH",
            "none needed: the energy tables ship with crisp_loop; with Accelergy 0.4, crisp-loop"
            " energy checks them",
        )
    return Finding("accelergy", True, " at ".join(part for part in (version, found) if part))


def _docker() -> Finding:
    start = "start the Docker daemon, and let your user talk to it"
    if shutil.which("docker") is None:
        return Finding(
            "docker",
            False,
            "no docker client on PATH",
            "install Docker; only compose and the engine docker need it",
        )
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Client.Version}}, daemon {{.Server.Version}}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DOCKER_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"the daemon did not answer within {_DOCKER_TIMEOUT_S:g} s"
        return Finding("docker", False, why, start)
    except OSError as error:
        return Finding("docker", False, f"docker cannot be started: {error}", "install it again")
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    if done.returncode != 0:
        why = lines[0] if lines else f"status {done.returncode}"
        return Finding("docker", False, f"the daemon cannot be reached: {why}", start)
    return Finding("docker", True, done.stdout.strip())


def _docker_engine() -> Finding:
    engine = Docker()
    reason = engine.unavailable()
    if reason is not None:
        return _split("engine docker", reason)
    return Finding("engine docker", True, engine.version())


def _energy_tables() -> Finding:
    name = "energy tables"
    try:
        shipped = sorted(_tables(files("crisp_loop.arch")))
    except (ModuleNotFoundError, OSError):
        shipped = []
    if not shipped:
        return Finding(name, False, "crisp_loop.arch holds none", "install crisp-loop again")
    return Finding(name, True, ", ".join(shipped))


def _tables(folder: Traversable) -> Iterator[str]:
    """Designs, and the tables of what their parts cost."""
    for item in folder.iterdir():
        if item.is_dir():
            yield from _tables(item)
        elif item.name.endswith((".yaml", ".csv")):
            yield item.name


def _split(name: str, reason: str) -> Finding:
    """A finding from an engine's one sentence, ``why; what to do``."""
    why, _, remedy = reason.partition("; ")
    return Finding(name, False, why, remedy)
