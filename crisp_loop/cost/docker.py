"""The docker engine: timeloop-model inside a container of its official image.

One container for all specs of a run. Specs go in and statistics come out through its standard
input and output (:mod:`crisp_loop.cost.container`), so it needs no mounted directory, no network
and no rights, and a remote daemon serves as well as a local one.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.files import dump_yaml, sha256
from crisp_loop.core.progress import Progress
from crisp_loop.core.spec import Spec
from crisp_loop.cost.outcome import CallError, Outcome, remembered
from crisp_loop.cost.store import ResultStore, user_store
from crisp_loop.tools.docker import DOCKER, Image, explain_docker, inspect_image
from crisp_loop.tools.failures import EvaluationError
from crisp_loop.tools.kept import keep_failure
from crisp_loop.tools.programs import MODEL

REPOSITORY = "timeloopaccelergy/accelergy-timeloop-infrastructure"
VARIABLE = "CRISP_LOOP_IMAGE"
"""The environment variable that names another image, such as a pinned digest."""
INPUT = "input.yaml"
LOG = f"{MODEL}.log"
_END_S = 30.0


def default_image() -> str:
    """The image to use: ``CRISP_LOOP_IMAGE``, else the official one for this architecture."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return os.environ.get(VARIABLE) or f"{REPOSITORY}:latest-{'arm64' if arm else 'amd64'}"


@dataclass(frozen=True)
class Docker:
    """Evaluates specs with the timeloop-model of an image."""

    name: str = "docker"
    image: str = field(default_factory=default_image)
    timeout_s: float = 600.0
    """Seconds that one spec may take."""
    workers: int | None = None
    """Processes at a time; None for as many as the container sees cores."""
    keep_dir: Path | None = None
    """Where the input, log and rerun command of a failed call are kept, in a directory each;
    None leaves them in the system's temporary directory."""
    store: ResultStore | None = field(default_factory=user_store)
    """Where results are looked up first and kept; None to ask the tool every time."""

    def unavailable(self) -> str | None:
        """Why it cannot be used here, with what to do; None when it can."""
        found = inspect_image(self.image)
        return None if isinstance(found, Image) else found

    def version(self) -> str:
        """The image by its digest (or its identifier, if it came from no registry).

        Raises:
            CrispLoopError: there is no such image here, or no Docker.
        """
        found = inspect_image(self.image)
        if not isinstance(found, Image):
            raise CrispLoopError(f"engine {self.name} cannot be used: {found}.")
        return f"{MODEL} in {found.identity}"

    def evaluate(self, specs: Sequence[Spec], progress: Progress) -> Iterator[Evaluation]:
        """Yield the evaluation of each spec, in order.

        Raises:
            EvaluationError: the first spec, in order, that was not evaluated.
            CrispLoopError: the container cannot be started, or ended early.
        """
        version = self.version()
        texts = [dump_yaml(spec.sections) for spec in specs]
        known = {
            index: found
            for index, (spec, text) in enumerate(zip(specs, texts, strict=True))
            if (found := remembered(self.store, text, spec.source, self.name, version))
        }
        # Layers of one shape share their call: the one of the first of them.
        first = {text: index for index, text in reversed(list(enumerate(texts)))}
        missing = {index: text for text, index in first.items() if index not in known}
        with contextlib.ExitStack() as stack:
            outcomes: dict[int, Outcome] = {}
            answers: Iterator[tuple[int, Outcome]] = iter(())
            if missing:
                container = stack.enter_context(self._container())
                answers = container.ask(missing)
            for index in progress.track(range(len(specs)), self.name, total=len(specs)):
                if index in known:
                    yield known[index]
                    continue
                call = first[texts[index]]
                while call not in outcomes:
                    answered, outcome = next(answers)
                    outcomes[answered] = outcome
                    if self.store and outcome.status == 0 and outcome.stats:
                        self.store.keep(version, texts[answered], outcome.stats)
                yield self._evaluation(specs[index], texts[index], outcomes[call], version)

    def _evaluation(self, spec: Spec, text: str, outcome: Outcome, version: str) -> Evaluation:
        try:
            return outcome.evaluation(spec.source, self.name, version, self.timeout_s)
        except CallError as error:
            raise self._kept(spec, text, outcome, str(error)) from None

    def _kept(self, spec: Spec, text: str, outcome: Outcome, cause: str) -> EvaluationError:
        """Keep a failed call's files; the error that points to them."""

        def command(kept: Path) -> list[str]:
            mount = ["--volume", f"{kept}:/call", "--workdir", "/call"]
            return [DOCKER, "run", "--rm", *mount, "--entrypoint", MODEL, self.image, INPUT]

        with tempfile.TemporaryDirectory(prefix="crisp_loop-docker-") as scratch:
            (Path(scratch) / INPUT).write_text(text, encoding="utf-8")
            (Path(scratch) / LOG).write_text(outcome.log, encoding="utf-8")
            name = f"{'-'.join(Path(spec.source).parts[-2:])}-{sha256(text)[:8]}"
            kept, rerun = keep_failure(Path(scratch), self.keep_dir, name, command)
        return EvaluationError(spec.source, cause, rerun, str(kept / LOG))

    @contextlib.contextmanager
    def _container(self) -> Iterator[_Container]:
        """A container that answers calls; it is gone when the block ends, however it ends."""
        name = f"crisp_loop-{uuid.uuid4().hex}"
        program = files("crisp_loop.cost").joinpath("container.py").read_text(encoding="utf-8")
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [
                    *(DOCKER, "run", "--rm", "--init", "--interactive", "--name", name),
                    *("--network", "none", "--read-only", "--tmpfs", "/tmp"),
                    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
                    *("--entrypoint", "python3", self.image),
                    *("-c", program, str(self.timeout_s), str(self.workers or 0)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C is for this process alone; it ends the container below.
                start_new_session=True,
            )
            try:
                yield _Container(process, errors, self.image)
            finally:
                _end(process, name)


@dataclass(frozen=True)
class _Container:
    """A running container, by its client."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    """What the client says."""
    image: str

    def ask(self, calls: dict[int, str]) -> Iterator[tuple[int, Outcome]]:
        """Yield (number, outcome) for each of ``calls``, as they end.

        Args:
            calls: Number to the spec's text.

        Raises:
            CrispLoopError: the container ended before its last answer.
        """
        # A thread, because the container answers while it is still being asked.
        threading.Thread(target=self._tell, args=(calls,), daemon=True).start()
        left = set(calls)
        while left:
            said = self._heard()
            if "missing" in said:
                raise CrispLoopError(
                    f"the image {self.image} has no {said['missing']} on its PATH; name an image"
                    f" that has one in {VARIABLE}."
                )
            if "id" in said:
                left.remove(said["id"])
                yield said["id"], Outcome(said["status"], said["stats"], said["log"])

    def _tell(self, calls: dict[int, str]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it ended; its last words tell why
            for number, text in calls.items():
                line = json.dumps({"id": number, "input": text}) + "\n"
                self.process.stdin.write(line.encode())
                self.process.stdin.flush()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode("utf-8", errors="replace")
            raise CrispLoopError(f"engine docker: {explain_docker(said, status, self.image)}.")
        try:
            return json.loads(line)
        except ValueError:
            raise CrispLoopError(
                f"engine docker: the container said {line[:80]!r}, which is no answer;"
                f" check the image {self.image}."
            ) from None


def _end(process: subprocess.Popen[bytes], name: str) -> None:
    """End the container and its client. The end of its input would do; this is at once."""
    if process.poll() is None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [DOCKER, "rm", "--force", name],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_END_S,
                check=False,
            )
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
