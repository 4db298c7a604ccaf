"""Rows that were measured, kept with what they depend on: nothing is measured twice."""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from crisp_loop import __version__
from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import read_json, replacing, sha256, write_json
from crisp_loop.core.tables import read_csv
from crisp_loop.reproduce.figure import PaperFigure
from crisp_loop.reproduce.scale import Scale


@dataclass(frozen=True)
class Measurement:
    """``figN.json``: when the rows beside it were measured, by what, and what decides them."""

    key: str
    """Hash of settings and versions."""
    rows: str
    """SHA-256 of the CSV file, so that one that was edited is measured again."""
    date: datetime.date
    seconds: float
    """Wall-clock time, without what an earlier run had measured."""
    versions: dict[str, str]

    @classmethod
    def now(cls, key: str, date: datetime.date, seconds: float) -> Measurement:
        """A measurement that was just made."""
        return cls(key, "", date, seconds, _versions() | {"python": platform.python_version()})


def key_of(figure: PaperFigure, scale: Scale) -> str:
    """Hash of all that the rows of ``figure`` depend on."""
    depends_on = {"figure": figure.name, "settings": figure.settings(scale), **_versions()}
    return sha256(json.dumps(depends_on, sort_keys=True, default=str))


def kept_rows(figure: PaperFigure, key: str, out: Path) -> tuple[pd.DataFrame, Measurement] | None:
    """The rows in ``out``, if they are whole and of the same ``key``."""
    file, beside = _files(figure, out)
    try:
        measurement = read_json(beside, Measurement)
        if measurement.key == key and measurement.rows == sha256(file.read_bytes()):
            return read_csv(file), measurement
    except (CrispLoopError, OSError):
        pass
    return None


def keep(
    figure: PaperFigure, rows: pd.DataFrame, measurement: Measurement, out: Path
) -> pd.DataFrame:
    """Write the rows and what they depend on; returns them as they will be read again."""
    file, beside = _files(figure, out)
    beside.unlink(missing_ok=True)  # it says that the CSV file is whole, so it goes first
    with replacing(file) as temporary:
        rows.to_csv(temporary, index=False, lineterminator="\n")
    done = Measurement(
        measurement.key,
        sha256(file.read_bytes()),
        measurement.date,
        measurement.seconds,
        measurement.versions,
    )
    write_json(beside, done)
    return read_csv(file)


def _files(figure: PaperFigure, out: Path) -> tuple[Path, Path]:
    return out / f"{figure.name}.csv", out / f"{figure.name}.json"


def _versions() -> dict[str, str]:
    return {"crisp_loop": __version__, "torch": str(torch.__version__)}
