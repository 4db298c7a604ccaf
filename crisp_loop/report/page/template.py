"""The templates of pages, with style and script inside.

A page needs nothing but itself. Its content security policy forbids it to load anything and to run
any script but its own, whatever a layer's name may hold.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from crisp_loop import __version__
from crisp_loop.report import numbers


def fill(template: str, **context: object) -> str:
    """The text of ``template``, a file of this package, with ``context`` in it."""
    return _environment().get_template(template).render(version=__version__, **context)


@cache
def _environment() -> Environment:
    texts = {
        file.name: file.read_text(encoding="utf-8")
        for file in files("crisp_loop.report.page").iterdir()
        if file.name.endswith((".jinja2", ".css", ".js"))
    }
    environment = Environment(
        loader=DictLoader(texts),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    script = texts["sort.js"]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup(texts["style.css"]),
        "script": Markup(script),
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'",
    }
    environment.filters |= {
        name: getattr(numbers, name) for name in ("count", "energy", "times", "share", "short")
    }
    return environment
