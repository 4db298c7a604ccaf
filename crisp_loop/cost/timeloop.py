"""The native engine: timeloop-model on this machine.

Each spec is written to one input file in a scratch directory and evaluated by a process of
its own, several at a time. If pytimeloop is installed, its v0.3 front end checks the input
and makes the call (:mod:`crisp_loop.cost.frontend`); otherwise the binary is called directly.
Both give the same figures.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.files import dump_yaml, read_text, sha256
from crisp_loop.core.progress import Progress
from crisp_loop.core.spec import Spec
from crisp_loop.cost import frontend
from crisp_loop.cost.outcome import LOG_TAIL_BYTES, CallError, Outcome, remembered
from crisp_loop.cost.stats import FILE_NAME
from crisp_loop.cost.store import ResultStore, user_store
from crisp_loop.tools.failures import EvaluationError
from crisp_loop.tools.kept import keep_failure
from crisp_loop.tools.processes import Processes
from crisp_loop.tools.programs import MODEL, call_environment, find_program, fingerprint

INPUT = "input.yaml"
PROCESSED_INPUT = "parsed-processed-input.yaml"
"""What the front end hands to the binary."""
LOG = "timeloop-model.log"
IMAGE_VARIABLE = "CRISP_LOOP_BASE_IMAGE"
"""The environment variable in which ``docker/Dockerfile`` keeps the name of its base image."""


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
    store: ResultStore | None = field(default_factory=user_store)
    """Where results are looked up first and kept; None to ask the tool every time."""

    def unavailable(self) -> str | None:
        """Why it cannot be used here, with what to install; None when it can."""
        if shutil.which(MODEL) is None:
            return (
                f"{MODEL} is not on PATH; build Timeloop or use the docker image,"
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
        """A fingerprint of the binary, which has no ``--version``, and the image that it is in."""
        image = os.environ.get(IMAGE_VARIABLE)
        place = f" in {image}" if image else ""
        return f"{MODEL} sha256:{fingerprint(find_program(MODEL))}{place}"

    def evaluate(self, specs: Sequence[Spec], progress: Progress) -> Iterator[Evaluation]:
        """Yield the evaluation of each spec, in order.

        Raises:
            EvaluationError: the first spec, in order, that was not evaluated. Calls that are
                still going on are ended.
        """
        binary, version = find_program(MODEL), self.version()
        through_front_end = self.goes_through_front_end
        processes = Processes()

        def one(spec: Spec, text: str) -> Evaluation:
            return self._evaluate(spec, text, binary, version, through_front_end, processes)

        keys = [_contents(spec) for spec in specs]
        with ThreadPoolExecutor(self.workers) as pool:
            futures: dict[str, Future[Evaluation]] = {}
            try:
                for spec, key in zip(specs, keys, strict=True):
                    if key not in futures:  # layers of one shape share their call
                        # The parsed sections, not the files they came from: every engine
                        # evaluates the same data, and one file is enough to repeat the call.
                        futures[key] = pool.submit(one, spec, dump_yaml(spec.sections))
                pairs = list(zip(specs, keys, strict=True))
                for spec, key in progress.track(pairs, self.name, total=len(pairs)):
                    yield replace(futures[key].result(), spec=spec.source)
            finally:
                for future in futures.values():
                    future.cancel()
                processes.end_all()

    def _evaluate(
        self,
        spec: Spec,
        text: str,
        binary: Path,
        version: str,
        through_front_end: bool,
        processes: Processes,
    ) -> Evaluation:
        if known := remembered(self.store, text, spec.source, self.name, version):
            return known
        scratch = Path(tempfile.mkdtemp(prefix="crisp_loop-timeloop-"))
        try:
            (scratch / INPUT).write_text(text, encoding="utf-8")
            through_front_end = through_front_end and frontend.suits(text, scratch)
            try:
                outcome = self._call(scratch, binary, through_front_end, processes)
                found = outcome.evaluation(spec.source, self.name, version, self.timeout_s)
            except OSError as error:
                cause = f"{binary} cannot be started ({error.strerror or error})"
            except CallError as error:
                cause = str(error)
            else:
                if self.store and outcome.stats:
                    self.store.keep(version, text, outcome.stats)
                return found
            raise self._keep(spec, text, cause, scratch, binary, through_front_end)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _call(
        self, scratch: Path, binary: Path, through_front_end: bool, processes: Processes
    ) -> Outcome:
        """Run the tool in ``scratch``.

        Raises:
            CallError: it wrote something that is no text.
            OSError: it cannot be started.
        """
        environment = frontend.environment() if through_front_end else os.environ
        with (scratch / LOG).open("wb") as log:
            status = processes.run(
                _command(scratch, INPUT, binary, through_front_end),
                cwd=scratch,
                env=call_environment(binary, environment),
                log=log.fileno(),
                timeout_s=self.timeout_s,
            )
        with (scratch / LOG).open("rb") as log:
            log.seek(max(0, (scratch / LOG).stat().st_size - LOG_TAIL_BYTES))
            said = log.read().decode("utf-8", errors="replace")
        written = scratch / FILE_NAME
        try:
            stats = read_text(written) if written.is_file() else None
        except CrispLoopError as error:
            raise CallError(str(error).replace(f"{scratch}{os.sep}", "").rstrip(".")) from None
        return Outcome(status, stats, said)

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

        def command(kept: Path) -> list[str]:
            # The front end leaves what it made of the input; from there on, the plain tool does.
            source = PROCESSED_INPUT if (kept / PROCESSED_INPUT).exists() else INPUT
            return _command(kept, source, binary, through_front_end and source == INPUT)

        name = f"{'-'.join(Path(spec.source).parts[-2:])}-{sha256(text)[:8]}"
        try:
            kept, rerun = keep_failure(scratch, self.keep_dir, name, command)
        except CrispLoopError as error:
            raise CrispLoopError(f"{error} {spec.source} was not evaluated: {cause}.") from None
        return EvaluationError(spec.source, cause, rerun, str(kept / LOG))


def _contents(spec: Spec) -> str:
    """Text that specs of the same contents share, sooner written than YAML."""
    return json.dumps(spec.sections, default=repr)


def _command(directory: Path, source: str, binary: Path, through_front_end: bool) -> list[str]:
    """The command line that evaluates the file ``source`` of ``directory``."""
    file = str(directory / source)
    if through_front_end:
        return frontend.command(file, str(directory))
    return [str(binary), "-o", str(directory), file]
