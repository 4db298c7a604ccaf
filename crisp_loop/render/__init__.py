"""Spec text from the Jinja files of ``templates/``."""

from crisp_loop.render.parsed import spec_of
from crisp_loop.render.spec import render_accelergy, render_energy, render_spec, templates_hash

__all__ = ["render_accelergy", "render_energy", "render_spec", "spec_of", "templates_hash"]
