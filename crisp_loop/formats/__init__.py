"""Formats for sparse weight matrices: exact encoders, decoders and counts of bits.

One module a format, each a frozen dataclass with ``encode``, ``decode`` and ``bits``
(:class:`~crisp_loop.formats.base.Encoded`); :mod:`~crisp_loop.formats.accounting` counts the same
bits in closed form, and :mod:`~crisp_loop.formats.registry` holds them by name.
"""
