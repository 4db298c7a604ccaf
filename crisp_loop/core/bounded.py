"""Types of the numbers that files hold, no larger than the rest of the package can take.

Files come from anywhere: a count beyond 64 bits overflows numpy, and an infinity turns a whole
table into NaN.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

T = TypeVar("T")

LARGEST = 2**62
"""Counts stay in 64 bits, with room for a sum of two."""

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Size = Annotated[int, Field(ge=1, le=LARGEST)]
Amount = Annotated[float, Field(ge=0, le=1e30)]
"""Of energy, time or area: finite, and so are sums of products with counts."""
Share = Annotated[float, Field(ge=0, le=1)]

Rows = Annotated[tuple[T, ...], Field(fail_fast=True)]
"""A list of any length, refused at its first mistake: a report of each would outgrow the list."""
