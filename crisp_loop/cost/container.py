"""What runs inside the container of the docker engine, by the image's own Python.

It is handed to ``python3 -c`` as text, so it needs nothing but the standard library and Python 3.8.
One line of JSON comes in for each call, and one goes out::

    {"id": 3, "input": "architecture: ..."}
    {"id": 3, "status": 0, "stats": "...", "log": "..."}

``status`` is null for a call that took too long, and ``stats`` is null where no file was written.
Before the first answer it says ``{"ready": true}``, or ``{"missing": "timeloop-model"}`` and ends.
When its input ends, so does it, with all that runs: the caller keeps the input open while it waits
for answers, so a caller that was killed leaves no container behind.

Arguments: seconds that a call may take, and how many run at a time (0: as many as there are cores).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MODEL = "timeloop-model"
STATS = "timeloop-model.stats.txt"
LOG_TAIL_BYTES = 64 * 1024
HARMLESS_VARIABLES = ("TIMELOOP_DIR", "TIMELOOP_PROBLEM_SHAPE_DIR", "TIMELOOP_PROBLEM_SHAPE_DIRS")

_speaking = threading.Lock()


def main(arguments: list[str]) -> None:
    """Answer every line of the input."""
    timeout_s, workers = float(arguments[0]), int(arguments[1])
    if shutil.which(MODEL) is None:
        _say({"missing": MODEL})
        return
    _say({"ready": True})
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
    for line in sys.stdin:
        pool.submit(_answer, json.loads(line), timeout_s)
    os._exit(0)  # Threads still wait for their calls; the container's end ends those too.


def _answer(call: dict[str, Any], timeout_s: float) -> None:
    """Make one call and say what it came to."""
    try:
        _say({"id": call["id"], **_run(call["input"], timeout_s)})
    except OSError as error:
        _say({"id": call["id"], "status": 1, "stats": None, "log": f"ERROR: {error}"})


def _run(text: str, timeout_s: float) -> dict[str, Any]:
    """One call of the tool, in a directory that goes away."""
    # Timeloop takes switches that change its figures from the environment.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TIMELOOP_") or name in HARMLESS_VARIABLES
    }
    with tempfile.TemporaryDirectory() as folder:
        source, written = Path(folder) / "input.yaml", Path(folder) / STATS
        source.write_text(text, encoding="utf-8")
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [MODEL, "-o", folder, str(source)],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status: int | None
            try:
                status = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                status = None
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            said = log.read().decode("utf-8", errors="replace")
        stats = None
        if written.is_file():
            stats = written.read_text(encoding="utf-8", errors="replace")
    return {"status": status, "stats": stats, "log": said}


def _say(message: dict[str, Any]) -> None:
    """One line of JSON."""
    with _speaking:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
