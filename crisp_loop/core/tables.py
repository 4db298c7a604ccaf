"""CSV tables whose numbers are read as they were written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

_FAST_IS_EXACT = tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1)
"""Before, pandas misses the last bit of some numbers unless it is told to take its time."""


def read_csv(path: Path, texts: Iterable[str] = ()) -> pd.DataFrame:
    """The table in ``path``; empty cells hold nothing, and floats are exact.

    Args:
        path: A CSV file with a header.
        texts: Columns that are text, whatever they look like.

    Raises:
        ValueError: it cannot be read as a table (pandas' ParserError is one).
    """
    options: dict[str, Any] = {} if _FAST_IS_EXACT else {"float_precision": "round_trip"}
    as_text = dict.fromkeys(texts, str)
    return pd.read_csv(path, dtype=as_text, keep_default_na=False, na_values=[""], **options)
