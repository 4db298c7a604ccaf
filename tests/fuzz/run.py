"""Break files, read them, and count what became of it.

    python tests/fuzz/run.py [--cases 5000] [--jobs 1] [--seed 0] [--only NAME] [--case N]

Every case is one broken example of one reader (fuzz_readers.py), made from its number and the seed
alone. Cases run in processes of their own with a limit on memory, so that one which crashes or
hangs is a failure like any other. Prints what each reader read and refused, and exits with 1 if
anything else happened; ``--case N`` runs a single case again and keeps its files.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

PATIENCE_S = 90
"""Time for one case before its process counts as hanging; a busy machine is slow."""
SHOWN = 40
"""Failures that are told in full."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME", default="", help="readers with this in the name")
    parser.add_argument("--case", type=int, metavar="N", help="one case, here, its files kept")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.seed)
    elif options.case is not None:
        run_again(options.seed, options.case)
    else:
        sys.exit(fuzz(options.cases, options.jobs, options.seed, options.only))


def fuzz(cases: int, jobs: int, seed: int, only: str) -> int:
    """Run cases 0 to ``cases`` - 1 in ``jobs`` processes; 1 if any failed."""
    from fuzz_case import reader_of

    started = time.monotonic()
    wanted = [case for case in range(cases) if only in reader_of(case).name]
    with ThreadPoolExecutor(jobs) as pool:
        shares = [wanted[first::jobs] for first in range(jobs)]
        parts = pool.map(lambda share: list(_results(seed, share)), shares)
        results = [each for part in parts for each in part]
    failures = [each for each in results if each["outcome"] == "failed"]
    for each in failures[:SHOWN]:
        print(f"case {each['case']}, {each['reader']}: {each['said']}\n")
    counts = Counter((each["reader"], each["outcome"]) for each in results)
    readers = dict.fromkeys(reader_of(case).name for case in wanted)
    print(f"{'':<24}{'read':>8}{'refused':>9}{'failed':>8}")
    for reader in readers:
        _tell(reader, [counts[reader, outcome] for outcome in ("read", "refused", "failed")])
    total = Counter(each["outcome"] for each in results)
    _tell("all", [total[outcome] for outcome in ("read", "refused", "failed")])
    print(f"{len(results):,} cases of seed {seed} in {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


def _tell(what: str, counts: list[int]) -> None:
    print(f"{what:<24}{counts[0]:8,}{counts[1]:9,}{counts[2]:8,}")


def _results(seed: int, cases: list[int]) -> Iterator[dict[str, Any]]:
    """What became of each case; a process that ends early failed at the case that it was at."""
    from fuzz_case import reader_of

    while cases:
        scratch = tempfile.mkdtemp(prefix="fuzz-")
        with tempfile.TemporaryFile() as told, subprocess.Popen(
            [sys.executable, __file__, "--worker", "--seed", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": scratch},
        ) as process:  # fmt: skip
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(cases).encode())
            process.stdin.close()
            for line in process.stdout:
                yield json.loads(line)
                cases = cases[1:]
            status = process.wait()
            told.seek(0)
            said = told.read().decode(errors="replace")
        shutil.rmtree(scratch, ignore_errors=True)
        if cases:
            said = f"its process ended with {status}: {said[-3000:]}"
            name = reader_of(cases[0]).name
            yield {"case": cases[0], "reader": name, "outcome": "failed", "said": said}
            cases = cases[1:]


def work(seed: int) -> None:
    """In a process of its own: the cases on standard input, a line of JSON for each."""
    cases = json.load(sys.stdin)
    # Whatever a reader prints goes elsewhere.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    from fuzz_case import limit_memory, run_case

    limit_memory()
    root = Path(tempfile.mkdtemp())
    for case in cases:
        faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
        scratch = root / str(case)
        scratch.mkdir()
        result = run_case(seed, case, scratch)
        os.chdir(root)
        shutil.rmtree(scratch)
        answers.write(json.dumps({"case": case, **vars(result)}) + "\n")
        answers.flush()
    faulthandler.cancel_dump_traceback_later()


def run_again(seed: int, case: int) -> None:
    """One case in this process, with the memory that there is."""
    from fuzz_case import run_case

    scratch = Path(tempfile.mkdtemp(prefix="fuzz-")) / str(case)
    scratch.mkdir()
    result = run_case(seed, case, scratch)
    print(f"{result.reader}: {result.outcome}: {result.said}\nsee {scratch}/case")


if __name__ == "__main__":
    main()
