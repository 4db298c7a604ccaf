"""The figures that can be measured again."""

from __future__ import annotations

from importlib import import_module

from crisp_loop.core.errors import InputError
from crisp_loop.reproduce.figure import PaperFigure

FIGURES = ("fig1", "fig2", "fig3", "fig4", "fig7", "fig8")
"""In the paper's order; each is a module of this package with a ``FIGURE``. Figures 5 and 6 are
drawings of the method and the hardware, with nothing to measure."""
STUDIES = ("fig8-settings",)
"""What goes beyond a figure of the paper; part of ``all`` no more than on request."""
ALL = "all"


def chosen(names: tuple[str, ...] | list[str]) -> tuple[PaperFigure, ...]:
    """The figures ``names``, or every one for ``all``, in the paper's order.

    Raises:
        InputError: an unknown name, or none at all.
    """
    known = (*FIGURES, *STUDIES)
    for name in names or ("",):
        if name not in (*known, ALL):
            raise InputError("figure", "", name, f"expected {', '.join(known)} or {ALL}")
    wanted = (*FIGURES, *names) if ALL in names else names
    return tuple(
        import_module(f"crisp_loop.reproduce.{name.replace('-', '_')}").FIGURE
        for name in known
        if name in wanted
    )
