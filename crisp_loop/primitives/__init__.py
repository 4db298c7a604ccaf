"""Accelergy's primitives, and offline tables of what Accelergy says of them."""

from crisp_loop.primitives.errors import UnpricedError
from crisp_loop.primitives.lookup import Quote, look_up
from crisp_loop.primitives.schema import DRAM, SRAM, Logic, Primitive

__all__ = ["DRAM", "SRAM", "Logic", "Primitive", "Quote", "UnpricedError", "look_up"]
