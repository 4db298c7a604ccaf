"""Layers in a table, one a line, under a header with the names of :class:`LayerEntry`'s fields."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError, InputError
from crisp_loop.core.files import read_text, validated
from crisp_loop.core.layers import LayerTable
from crisp_loop.layers.entries import LayerEntry
from crisp_loop.layers.yaml_list import table


def read(path: Path) -> LayerTable:
    """The layers of a CSV file; an empty cell is the field's default.

    Raises:
        CrispLoopError: a missing file, an unknown column or a value that cannot be used.
    """
    text = read_text(path, "layer file").removeprefix("\ufeff")
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    entries = []
    try:
        header = [name.strip() for name in rows.fieldnames or ()]
        if twice := [name for name in header if header.count(name) > 1]:
            raise InputError(path, "header", twice[0], "two columns are called so")
        for row in rows:
            where = f"{path} line {rows.line_num}"
            if None in row or None in row.values():
                raise CrispLoopError(
                    f"{where} has not the header's {len(rows.fieldnames or ())} columns."
                )
            cells = {key.strip(): value.strip() for key, value in row.items()}
            given = {key: value for key, value in cells.items() if value}
            entries.append(validated(given, LayerEntry, where))
    except csv.Error as error:
        raise CrispLoopError(f"{path} line {rows.line_num} is not valid CSV: {error}.") from None
    return table(path.stem, tuple(entries))
