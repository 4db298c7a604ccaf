"""Runs a sweep in a process of its own, to be killed or starved: ``drive.py SWEEP.json OUT``."""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sweep import Sweep, SweepOptions, plan, run_sweep


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("sweep", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scheduler", default="")
    parser.add_argument("--together", type=int, default=2, help="points of a part")
    parser.add_argument("--largest", type=int, help="bytes that a file may have")
    told = parser.parse_args()
    plan.TOGETHER = told.together
    if told.largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (told.largest, told.largest))
    options = SweepOptions(told.workers, told.scheduler)
    try:
        summary = run_sweep(
            Sweep.model_validate(json.loads(told.sweep.read_text())), told.out, options
        )
    except CrispLoopError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps({"known": summary.known, "priced": summary.priced, "failed": summary.failed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
