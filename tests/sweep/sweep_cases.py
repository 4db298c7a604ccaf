"""What the tests of sweeps share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

GOLDEN_STATS = Path(__file__).parents[1] / "golden/dense-conv5-1x1/timeloop-model.stats.txt"
SMALL: dict[str, Any] = {
    "experiment": {"network": "digits-resnet", "masks": "draw", "engine": "analytic"},
    "grid": {
        "nm": ["1:4", "2:4"],
        "sparsity": [0.8, 0.9],
        "accelerator": ["dense", "crisp-stc"],
        "arch": {"DRAM.read_bandwidth": [8, 9]},
    },
    "mappings": "keep",
}
"""16 points, a second's work once the mappings are known."""


def where(frame: pd.DataFrame, column: str, *values: object) -> pd.DataFrame:
    """The rows whose column has one of the values."""
    found = frame[frame[column].isin(values)]
    assert isinstance(found, pd.DataFrame)
    return found


def damage(file: Path, how: str) -> None:
    """Damage a file as disks and people do."""
    if how == "emptied":
        os.truncate(file, 0)
    elif how == "cut":
        os.truncate(file, file.stat().st_size * 2 // 3)
    else:
        data = bytearray(file.read_bytes())
        data[40] ^= 0x10  # inside the first page
        file.write_bytes(data)
