"""Child processes that end when they should: on time, with their children, or all at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError

_ENDED = "The run was ended."
_every: weakref.WeakSet[Processes] = weakref.WeakSet()
"""Those of all runs of this process."""


def end_all_processes() -> None:
    """End all that runs below this process, which is about to end without unwinding."""
    for processes in list(_every):
        processes.end_all()


class Processes:
    """The child processes of one run, so that all of them can be ended."""

    def __init__(self) -> None:
        _every.add(self)
        self._lock = threading.RLock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(
        self,
        command: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        log: int,
        timeout_s: float,
        interrupt_s: float | None = None,
    ) -> int | None:
        """Run ``command`` with both of its outputs going to the file descriptor ``log``.

        Args:
            command: The program and its arguments.
            cwd: Where it runs.
            env: Its environment.
            log: A file descriptor.
            timeout_s: Seconds after which it is killed.
            interrupt_s: Seconds after which it is asked to come to an end, as by Ctrl-C.

        Returns:
            Its exit status, or None if it took longer than ``timeout_s``.

        Raises:
            CrispLoopError: :meth:`end_all` was called.
            OSError: it cannot be started.
        """
        with self._lock:
            if self._closed:
                raise CrispLoopError(_ENDED)
            # A session of its own, so that the shell that pytimeloop starts, and all that it
            # starts, ends with it.
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(process)
        late = threading.Event()

        def end() -> None:
            late.set()
            _send(process, signal.SIGKILL)

        # A timer rather than wait(timeout): that one polls, at up to half the time of a call.
        timers = [threading.Timer(timeout_s, end)]
        if interrupt_s is not None:
            timers.append(threading.Timer(interrupt_s, _send, (process, signal.SIGINT)))
        for timer in timers:
            timer.daemon = True
            timer.start()
        try:
            status = process.wait()
        finally:
            for timer in timers:
                timer.cancel()
            with self._lock:
                self._running.discard(process)
                closed = self._closed
        if closed:
            raise CrispLoopError(_ENDED)  # not this spec's failure
        return None if late.is_set() else status

    def end_all(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._closed = True
            for process in self._running:
                _send(process, signal.SIGKILL)


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal ``process`` and its descendants, unless it ended by itself."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
