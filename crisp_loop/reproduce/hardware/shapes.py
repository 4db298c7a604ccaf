"""The layers that Fig. 8 compares: each different shape of ResNet-50 once, without its ends."""

from __future__ import annotations

import pandas as pd

from crisp_loop.core.layers import roles
from crisp_loop.networks.trace import layer_table

EARLY = ("layer1.", "layer2.")
"""The stages with large inputs: 3136 and 784 columns at batch 1."""
LATE = ("layer4.",)
"""The last stage: 49 columns but for one shape."""


def shapes(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first layer of each shape that pruning may prune; 19 of ResNet-50's 54."""
    ends = [name for model in rows["model"].unique() for name in roles(layer_table(model))]
    inner = rows.loc[~rows["layer"].isin(ends)]
    first = inner.drop_duplicates(["M", "K", "N"])["layer"]
    return inner.loc[inner["layer"].isin(first)]


def early(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of the first stages, whose inputs are large."""
    return rows.loc[rows["layer"].str.startswith(EARLY)]


def late(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of the last stage."""
    return rows.loc[rows["layer"].str.startswith(LATE)]
