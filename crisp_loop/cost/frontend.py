"""The timeloopfe route to timeloop-model, as a process of its own.

``python -m crisp_loop.cost.frontend INPUT.yaml DIRECTORY`` hands INPUT to pytimeloop's v0.3
front end, which checks it against its own schema and calls timeloop-model in DIRECTORY.
Without arguments it only imports the front end, to tell whether that works.

A process of its own, because pytimeloop loads C++ bindings, keeps global state, calls a shell
without a time limit, and must not be able to take the caller down.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

MODULE = "crisp_loop.cost.frontend"
_PROBE_TIMEOUT_S = 60.0


def main(arguments: list[str]) -> int:
    """Call timeloop-model through the front end; its exit status."""
    from pytimeloop.timeloopfe.common.backend_calls import (  # pyright: ignore[reportMissingImports]
        call_model,
    )
    from pytimeloop.timeloopfe.v3 import (  # pyright: ignore[reportMissingImports]
        Specification,
    )

    if not arguments:
        return 0
    source, directory = arguments
    specification = Specification.from_yaml_files(source)
    # return_proc: without it call_model goes on to read the statistics with its own parser,
    # which misreads sparse runs.
    return call_model(specification, directory, return_proc=True).wait()


def unavailable() -> str | None:
    """Why the front end cannot be used by this interpreter, with what to do; None if it can."""
    spec = find_spec("pytimeloop")
    places = (spec.submodule_search_locations if spec else None) or []
    if not any((Path(place) / "timeloopfe" / "v3").is_dir() for place in places):
        return (
            "the Python package pytimeloop is not installed in this environment;"
            " it is optional, see docs/engines.md"
        )
    return _import_problem()


@functools.cache
def _import_problem() -> str | None:
    try:
        done = subprocess.run(
            command(),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"pytimeloop cannot be imported ({error}); install it again"
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return f"pytimeloop cannot be imported ({last}); install it again"


def suits(text: str, directory: Path) -> bool:
    """Whether the front end may be given the spec ``text``, to run in ``directory``.

    It renders Jinja expressions in whatever YAML it reads, so a spec could run code; and it
    puts the directory into a shell command between double quotes.
    """
    return not re.search(r"\{\{|\{%|\{#", text) and not re.search(r'["$`\\!\n]', str(directory))


def command(*arguments: str) -> list[str]:
    """The command line of this module."""
    return [sys.executable, "-m", MODULE, *arguments]


def environment() -> dict[str, str]:
    """The process environment in which :func:`command` finds what this process imports."""
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
