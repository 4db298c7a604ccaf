"""One case: a valid example, one file of it broken, read, and judged.

The judgement is the same for every reader. It returns a value, or raises a CrispLoopError whose one
sentence names a file of the example; within time and memory; and nothing is left anywhere but where
it was told to write, and nothing there is half-written.
"""

from __future__ import annotations

import os
import resource
import signal
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from types import FrameType

from fuzz_files import misplace, mutate
from fuzz_readers import READERS, Reader

from crisp_loop.core.errors import CrispLoopError

SECONDS = 10
"""CPU time that a case may take; a valid example takes at most half a second."""
MEMORY = 1 << 30
"""Bytes that a case may take beyond what the process had before it."""
LONGEST = 2000
"""Characters of a sentence; paths in it may be long."""

_ORDER = [reader for reader in READERS for _ in range(reader.weight)]


@dataclass(frozen=True)
class Result:
    """What became of one case."""

    reader: str
    outcome: str
    """``read``, ``refused``, or ``failed``."""
    said: str = ""
    """The sentence, or what broke."""


class Overtime(BaseException):
    """Its time is up; no reader catches this."""


def reader_of(case: int) -> Reader:
    """Cases go round all readers, by their weights."""
    return _ORDER[case % len(_ORDER)]


def run_case(seed: int, case: int, scratch: Path) -> Result:
    """Make, break, read and judge case number ``case`` in the empty directory ``scratch``.

    The broken example stays in ``scratch/case``.
    """
    reader = reader_of(case)
    rng = Random(f"{seed} {case}")
    folder, out = scratch / "case", scratch / "out"
    here, temporary = scratch / "cwd", scratch / "tmp"
    for each in (folder, out, here, temporary):
        each.mkdir()
    for name, content in _example(reader).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    _break(folder, rng)
    before = _listing(scratch, out)
    os.chdir(here)
    os.environ["TMPDIR"] = os.environ["HOME"] = str(temporary)
    result = _judged(reader, folder, out)
    if result.outcome == "failed":
        return result
    if stray := sorted(_listing(scratch, out) ^ before):
        return Result(reader.name, "failed", f"changed {stray[0]}, which it was not to write")
    if half := [path for path in out.rglob("*") if path.name.startswith(".")]:
        return Result(reader.name, "failed", f"left {half[0]} half-written")
    return result


@cache
def _example(reader: Reader) -> dict[str, bytes]:
    """The files of a valid example, path to content."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        reader.make(folder)
        return {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }


def _break(folder: Path, rng: Random) -> None:
    """Change one file; at times two."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if not files:
            return
        victim = rng.choice(files)
        if rng.random() < 0.02:
            misplace(victim, rng)
        else:
            victim.write_bytes(mutate(victim.name, victim.read_bytes(), rng))


def _listing(scratch: Path, out: Path) -> set[tuple[str, int]]:
    """Everything below ``scratch`` but ``out``, with sizes; and what lies beside ``scratch``."""
    found = {(str(path), 0) for path in scratch.parent.iterdir()}
    for path in scratch.rglob("*"):
        if out not in path.parents and path != out:
            found.add((str(path), path.lstat().st_size if not path.is_dir() else 0))
    return found


def _judged(reader: Reader, folder: Path, out: Path) -> Result:
    _forget_peak()
    before = _peak()
    signal.signal(signal.SIGPROF, _time_is_up)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        reader.read(folder, out)
        result = Result(reader.name, "read")
    except CrispLoopError as error:
        wrong = _wrong_with(error, folder.parent)
        said = f"{wrong}: {str(error)[:3000]!r}" if wrong else str(error)
        result = Result(reader.name, "failed" if wrong else "refused", said)
    except Overtime:
        result = Result(reader.name, "failed", f"took more than {SECONDS} s\n{_where()}")
    except BaseException:  # also SystemExit and KeyboardInterrupt, which no reader may raise
        result = Result(reader.name, "failed", traceback.format_exc(limit=-8)[-3000:])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if (taken := _peak() - before) > MEMORY:
        return Result(reader.name, "failed", f"took {taken >> 20} MiB; {result.said[:500]}")
    return result


def _wrong_with(error: CrispLoopError, scratch: Path) -> str:
    """What a user would object to in an error; empty if nothing."""
    said = str(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) and not _raised_by_torch(cause):
            return "the memory ran out"
        cause = cause.__context__
    if not said.isprintable():
        return "no line of printable text"
    if len(said) > LONGEST:
        return f"{len(said)} characters"
    names = {str(scratch), *(path.name for path in scratch.rglob("*") if path.is_file())}
    if not any(name in said for name in names):
        return "names no file"
    return "" if said.endswith(".") else "no sentence"


def _raised_by_torch(error: BaseException) -> bool:
    """Whether torch's reader reserved what a length says; it touches no more than there is."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "torch" in Path(frames[-1].filename).parts


_frames: list[str] = []


def _time_is_up(number: int, frame: FrameType | None) -> None:
    _frames[:] = traceback.format_stack(frame)[-6:]
    raise Overtime


def _where() -> str:
    return "".join(_frames)


def _forget_peak() -> None:
    """Let the peak count from here (Linux; elsewhere it is the process's)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int:
    """The most memory that was resident since then, in bytes."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def limit_memory() -> None:
    """Let this process reserve no more than it has and a few GiB: bombs end as MemoryError."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * MEMORY, used + 4 * MEMORY))
