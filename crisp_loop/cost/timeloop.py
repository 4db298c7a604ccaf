"""The native engine: timeloop-model on this machine.

Each spec is written to one input file in a scratch directory and evaluated by a process of
its own, several at a time. If pytimeloop is installed, its v0.3 front end checks the input
and makes the call (:mod:`crisp_loop.cost.frontend`); otherwise the binary is called directly.
Both give the same figures.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.files import dump_yaml, read_text, sha256, write_text
from crisp_loop.core.progress import Progress
from crisp_loop.core.spec import Spec
from crisp_loop.cost import frontend
from crisp_loop.cost.failures import EvaluationError, explain
from crisp_loop.cost.stats import FILE_NAME, parse_stats

BINARY = "timeloop-model"
INPUT = "input.yaml"
PROCESSED_INPUT = "parsed-processed-input.yaml"
"""What the front end hands to the binary."""
LOG = "timeloop-model.log"
RERUN = "rerun.sh"

_ENDED = "The run was ended."
_LOG_TAIL_BYTES = 64 * 1024
_HARMLESS_VARIABLES = ("TIMELOOP_DIR", "TIMELOOP_PROBLEM_SHAPE_DIR", "TIMELOOP_PROBLEM_SHAPE_DIRS")


@dataclass(frozen=True)
class Timeloop:
    """Evaluates specs with timeloop-model."""

    name: str = "timeloop"
    timeout_s: float = 600.0
    """Seconds that one spec may take."""
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Processes at a time."""
    keep_dir: Path | None = None
    """Where the input, log and rerun command of a failed call are kept, in a directory each;
    None leaves them in the system's temporary directory."""
    use_front_end: bool | None = None
    """Whether to go through pytimeloop; None where it is installed."""

    def unavailable(self) -> str | None:
        """Why it cannot be used here, with what to install; None when it can."""
        if shutil.which(BINARY) is None:
            return (
                f"{BINARY} is not on PATH; build Timeloop or use the docker image,"
                " see docs/engines.md"
            )
        return frontend.unavailable() if self.use_front_end else None

    @property
    def goes_through_front_end(self) -> bool:
        """Whether calls go through pytimeloop."""
        if self.use_front_end is None:
            return frontend.unavailable() is None
        return self.use_front_end

    def version(self) -> str:
        """A fingerprint of the binary, which has no ``--version``."""
        return f"{BINARY} sha256:{fingerprint(_binary())}"

    def evaluate(self, specs: Sequence[Spec], progress: Progress) -> Iterator[Evaluation]:
        """Yield the evaluation of each spec, in order.

        Raises:
            EvaluationError: the first spec, in order, that was not evaluated. Calls that are
                still going on are ended.
        """
        binary, version = _binary(), self.version()
        through_front_end = self.goes_through_front_end
        processes = _Processes()

        def one(spec: Spec) -> Evaluation:
            return self._evaluate(spec, binary, version, through_front_end, processes)

        with ThreadPoolExecutor(self.workers) as pool:
            futures = [pool.submit(one, spec) for spec in specs]
            try:
                for future in progress.track(futures, self.name, total=len(futures)):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()
                processes.end_all()

    def _evaluate(
        self,
        spec: Spec,
        binary: Path,
        version: str,
        through_front_end: bool,
        processes: _Processes,
    ) -> Evaluation:
        # The parsed sections, not the files they came from: every engine evaluates the same
        # data, and one file is enough to repeat the call.
        text = dump_yaml(spec.sections)
        scratch = Path(tempfile.mkdtemp(prefix="crisp_loop-timeloop-"))
        try:
            (scratch / INPUT).write_text(text, encoding="utf-8")
            through_front_end = through_front_end and frontend.suits(text, scratch)
            cause = self._call(scratch, binary, through_front_end, processes)
            if cause is None:
                try:
                    return parse_stats(
                        read_text(scratch / FILE_NAME), spec.source, self.name, version
                    )
                except CrispLoopError as error:  # foreign bytes, or half a file
                    cause = str(error).replace(f"{scratch}{os.sep}", "").rstrip(".")
            raise self._keep(spec, text, cause, scratch, binary, through_front_end)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _call(
        self, scratch: Path, binary: Path, through_front_end: bool, processes: _Processes
    ) -> str | None:
        """Run the tool in ``scratch``; why it failed, or None."""
        environment = frontend.environment() if through_front_end else dict(os.environ)
        # The tool takes switches that change its figures from the environment.
        for variable in list(environment):
            if variable.startswith("TIMELOOP_") and variable not in _HARMLESS_VARIABLES:
                del environment[variable]
        environment["PATH"] = f"{binary.parent}{os.pathsep}{environment.get('PATH', '')}"
        with (scratch / LOG).open("wb") as log:
            try:
                status = processes.run(
                    _command(scratch, INPUT, binary, through_front_end),
                    cwd=scratch,
                    env=environment,
                    log=log.fileno(),
                    timeout_s=self.timeout_s,
                )
            except OSError as error:
                return f"{binary} cannot be started ({error.strerror or error})"
        if status is None:
            return (
                f"it did not finish within {self.timeout_s:g} s; hypergeometric densities take"
                " long, fixed_structured ones do not"
            )
        written = (scratch / FILE_NAME).is_file()
        if status == 0 and written:
            return None
        with (scratch / LOG).open("rb") as log:
            log.seek(max(0, (scratch / LOG).stat().st_size - _LOG_TAIL_BYTES))
            said = log.read().decode("utf-8", errors="replace")
        if status == 0:
            return f"it wrote no {FILE_NAME}, though it ended well"
        return explain(said, status)

    def _keep(
        self,
        spec: Spec,
        text: str,
        cause: str,
        scratch: Path,
        binary: Path,
        through_front_end: bool,
    ) -> EvaluationError:
        """Keep a failed call's files; the error that points to them."""
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(Path(spec.source).parts[-2:])).strip("-.")
        name = f"{slug[-80:] or 'spec'}-{sha256(text)[:8]}"
        if self.keep_dir is None:
            kept = Path(tempfile.mkdtemp(prefix=f"crisp_loop-failed-{name}-"))
        else:
            kept = self.keep_dir.absolute() / name
        try:
            # Two workers may fail on the same spec, listed twice: no error over who was first.
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(scratch, kept, dirs_exist_ok=True)
            # The front end leaves what it made of the input; from there on, the plain tool does.
            source = PROCESSED_INPUT if (kept / PROCESSED_INPUT).exists() else INPUT
            through_front_end = through_front_end and source == INPUT
            rerun = shlex.join(_command(kept, source, binary, through_front_end))
            write_text(kept / RERUN, f"#!/bin/sh\n{rerun}\n")
        except OSError as error:
            raise CrispLoopError(
                f"{kept} cannot be written: {error.strerror or error};"
                f" it was to hold the input of {spec.source}, which was not evaluated: {cause}."
            ) from None
        return EvaluationError(spec.source, cause, rerun, str(kept / LOG))


def _command(directory: Path, source: str, binary: Path, through_front_end: bool) -> list[str]:
    """The command line that evaluates the file ``source`` of ``directory``."""
    file = str(directory / source)
    if through_front_end:
        return frontend.command(file, str(directory))
    return [str(binary), "-o", str(directory), file]


def _binary() -> Path:
    found = shutil.which(BINARY)
    if found is None:
        raise CrispLoopError(f"{BINARY} is not on PATH; see docs/engines.md.")
    return Path(found).absolute()


def fingerprint(binary: Path) -> str:
    """Twelve hex digits of the SHA-256 of the program file."""
    try:
        status = binary.stat()
        return _fingerprint(binary.resolve(), status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise CrispLoopError(f"{binary} cannot be read: {error.strerror or error}.") from None


@functools.lru_cache(maxsize=8)
def _fingerprint(binary: Path, size: int, mtime_ns: int) -> str:
    """Cached by what changes when the file is built again."""
    digest = hashlib.sha256()
    with binary.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()[:12]


class _Processes:
    """The child processes of one run, so that all of them can be ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(
        self, command: list[str], *, cwd: Path, env: dict[str, str], log: int, timeout_s: float
    ) -> int | None:
        """The exit status of ``command``, or None if it took longer than ``timeout_s``."""
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
            _end(process)

        # A timer rather than wait(timeout): that one polls, at up to half the time of a call.
        timer = threading.Timer(timeout_s, end)
        timer.daemon = True
        timer.start()
        try:
            status = process.wait()
        finally:
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
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` and its descendants, unless it ended by itself."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
