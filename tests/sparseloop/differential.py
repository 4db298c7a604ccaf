"""Draw specs, ask timeloop-model and the engine, and count where they say the same.

    python tests/sparseloop/differential.py --draws 2000 --seed 0 --jobs 2
    python tests/sparseloop/differential.py --draws 400 --record tests/golden

Ends with 1 if any draw differs. ``--record`` adds the judged draws to the golden cases.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from recorded import Case, record, recorded
from sparseloop_draws import KINDS, draw
from sparseloop_stats import Expected, differences, expected_of, sound

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.core.evaluation import Evaluation
from crisp_loop.core.spec import Spec
from crisp_loop.sparseloop import evaluate

STATS = "timeloop-model.stats.txt"


class Verdict(Enum):
    """What comparing the two on one spec can give."""

    AGREE = "agree in every figure"
    BOTH_REFUSE = "refused by both"
    ENGINE_REFUSES = "refused by the engine alone"
    TIMELOOP_REFUSES = "refused by timeloop-model alone"
    NONSENSE = "answered by timeloop-model with 0, nan or inf, refused by the engine"
    LATE = "not answered by timeloop-model in time"
    DIFFER = "differ"


@dataclass(frozen=True)
class Answer:
    """What timeloop-model said: figures, or why there are none."""

    figures: Expected | None
    said: str
    late: bool = False
    unsound: bool = False


@dataclass(frozen=True)
class Judgement:
    """One draw and what became of it."""

    kind: str
    seed: int
    sections: dict[str, Any]
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """The differing figures, or why it was refused."""
    answer: Answer | None = None


def ask_timeloop(binary: str, sections: dict[str, Any], timeout_s: float) -> Answer:
    """timeloop-model's figures of a spec."""
    with tempfile.TemporaryDirectory() as scratch:
        spec, stats = Path(scratch, "spec.yaml"), Path(scratch, STATS)
        spec.write_text(yaml.safe_dump(sections, sort_keys=False), encoding="utf-8")
        try:
            done = subprocess.run(
                [binary, str(spec)],
                cwd=scratch,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answer(None, f"no answer within {timeout_s:g} s", late=True)
        said = [line for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
        last = said[-1] if said else f"exit status {done.returncode}"
        if done.returncode != 0 or not stats.exists():
            return Answer(None, last)
        text = stats.read_text(encoding="utf-8")
        if not sound(text):
            return Answer(None, "0, nan or inf", unsound=True)
        return Answer(expected_of(text), "")


def ask_engine(sections: dict[str, Any]) -> tuple[Evaluation | None, str]:
    """The engine's figures of a spec, or its refusal."""
    try:
        return evaluate(Spec("draw", sections)), ""
    except CrispLoopError as error:
        return None, f"{type(error).__name__}: {str(error).removeprefix('draw: ')}"


def judge(binary: str, kind: str, seed: int, timeout_s: float = 30.0) -> Judgement:
    """Ask both about one draw."""
    sections = draw(kind, seed)
    found, refusal = ask_engine(sections)
    answer = ask_timeloop(binary, sections, timeout_s)

    def verdict(what: Verdict, *reasons: str) -> Judgement:
        return Judgement(kind, seed, sections, what, reasons, answer)

    if answer.late:
        return verdict(Verdict.LATE)
    if answer.unsound and found is None:
        return verdict(Verdict.NONSENSE, refusal)
    if answer.figures is None:
        if found is None:
            return verdict(Verdict.BOTH_REFUSE, refusal)
        return verdict(Verdict.TIMELOOP_REFUSES, answer.said)
    if found is None:
        return verdict(Verdict.ENGINE_REFUSES, refusal)
    differing = differences(found, answer.figures)
    return verdict(Verdict.DIFFER if differing else Verdict.AGREE, *differing)


def judge_all(binary: str, kinds: list[str], seeds: range, jobs: int) -> Iterator[Judgement]:
    """Ask about all draws, several at a time, in order."""
    tasks = [(kind, seed) for seed in seeds for kind in kinds]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda task: judge(binary, *task), tasks)


def summary(judgements: list[Judgement]) -> str:
    """How many draws of each verdict, by kind, and the reasons of refusals by one side."""
    lines = []
    kinds = sorted({each.kind for each in judgements})
    for verdict in Verdict:
        counts = [sum(e.kind == k and e.verdict is verdict for e in judgements) for k in kinds]
        shown = ", ".join(f"{kind} {n}" for kind, n in zip(kinds, counts, strict=True))
        lines.append(f"{sum(counts):6}  {verdict.value} ({shown})")
    for verdict in Verdict:
        reasons = Counter(
            re.sub(r"'[^']*'|\{.*\}|\d[\d.e+-]*", "#", each.reasons[0])
            for each in judgements
            if each.verdict is verdict and each.reasons and verdict is not Verdict.AGREE
        )
        for reason, count in reasons.most_common():
            lines.append(f"{count:6}  {verdict.name}: {reason}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=0, help="the first draw's number")
    parser.add_argument("--kind", choices=list(KINDS), nargs="*", default=list(KINDS))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--record", type=Path, help="directory of golden cases to write")
    options = parser.parse_args()
    binary = shutil.which("timeloop-model")
    if binary is None:
        parser.error("timeloop-model is not on PATH")
    start = time.perf_counter()
    seeds = range(options.seed, options.seed + options.draws)
    judgements = []
    for each in judge_all(binary, options.kind, seeds, options.jobs):
        judgements.append(each)
        if len(judgements) % 500 == 0:
            print(f"{len(judgements)} draws, {time.perf_counter() - start:.0f} s", flush=True)
        if each.verdict in (Verdict.DIFFER, Verdict.TIMELOOP_REFUSES, Verdict.ENGINE_REFUSES):
            print(f"{each.kind} {each.seed}: {each.verdict.value}", *each.reasons[:6], sep="\n    ")
    print(summary(judgements))
    print(f"{len(judgements)} draws in {time.perf_counter() - start:.0f} s")
    if options.record:
        record(options.record, [*recorded(options.record), *chosen(judgements)])
    sys.exit(any(each.verdict is Verdict.DIFFER for each in judgements))


def chosen(judgements: list[Judgement]) -> Iterator[Case]:
    """The draws to keep as golden cases: those that agree, and every fourth that both refuse."""
    refused = 0
    for each in judgements:
        if each.verdict is Verdict.AGREE and each.answer:
            yield Case(each.kind, each.sections, each.answer.figures)
        elif each.verdict is Verdict.BOTH_REFUSE:
            refused += 1
            if refused % 4 == 0:
                yield Case(each.kind, each.sections, None)


if __name__ == "__main__":
    main()
