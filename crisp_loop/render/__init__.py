"""Spec text from the Jinja files of ``templates/``."""

from crisp_loop.render.spec import render_spec

__all__ = ["render_spec"]
