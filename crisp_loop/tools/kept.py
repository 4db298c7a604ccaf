"""What stays of a call that failed: its input, its log, and how to repeat it."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.files import write_text

RERUN = "rerun.sh"


def keep_failure(
    scratch: Path,
    keep_dir: Path | None,
    name: str,
    command: Callable[[Path], list[str]],
) -> tuple[Path, str]:
    """Keep the files of a failed call.

    Args:
        scratch: The directory that it ran in.
        keep_dir: Where to make a directory for them; None for the system's temporary directory.
        name: What to call that directory, in any letters. An older one of this name is replaced.
        command: From where the files are kept to the command line that repeats the call there.

    Returns:
        Where they are now, and the command line, quoted for a shell; ``rerun.sh`` holds it too.

    Raises:
        CrispLoopError: they cannot be written.
    """
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[-100:] or "call"
    if keep_dir is None:
        kept = Path(tempfile.mkdtemp(prefix=f"crisp_loop-failed-{slug}-"))
    else:
        kept = keep_dir.absolute() / slug
    try:
        # Two workers may fail on the same input, listed twice: no error over who was first.
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(scratch, kept, dirs_exist_ok=True)
        rerun = shlex.join(command(kept))
        write_text(kept / RERUN, f"#!/bin/sh\n{rerun}\n")
    except OSError as error:
        raise CrispLoopError(
            f"{kept} cannot be written: {error.strerror or error};"
            f" it was to hold the input of {name}, whose call failed."
        ) from None
    return kept, rerun
