"""Whatever happens to a sweep, it goes on: every point once, as if nothing had happened."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sweep_cases import GOLDEN_STATS, SMALL, damage

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sweep import (
    Sweep,
    SweepOptions,
    dataset,
    plan,
    read_layers,
    read_points,
    run_sweep,
    sweep_state,
)

ONE = SweepOptions(workers=1)
DRIVE = Path(__file__).with_name("drive.py")
SCALE = int(os.environ.get("CRISP_LOOP_FAULT_SCALE", "1"))
"""How many times as large the sweeps are: 1 in CI."""


@pytest.fixture(scope="module")
def case() -> dict[str, Any]:
    grid = {**SMALL["grid"], "arch": {"DRAM.read_bandwidth": list(range(8, 10 + 8 * (SCALE - 1)))}}
    return {**SMALL, "grid": grid}


@pytest.fixture(scope="module")
def undisturbed(
    case: dict[str, Any], mapped: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The results of the sweep where nothing happens to it."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRISP_LOOP_CACHE", str(mapped))
        summary = run_sweep(Sweep.model_validate(case), out, ONE)
    assert not summary.failed
    assert summary.points == 16 if SCALE == 1 else summary.points > 16
    return read_points(out), read_layers(out)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    """Parts of two points, so that there is something between none and all of them."""
    monkeypatch.setattr(plan, "TOGETHER", 2 * SCALE)


def assert_undisturbed(out: Path, undisturbed: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    for found, expected in zip((read_points(out), read_layers(out)), undisturbed, strict=True):
        keys = ["point"] if "layer" not in expected else ["point", "layer"]
        assert not found.duplicated(keys).any()
        found, expected = (each.sort_values(keys, ignore_index=True) for each in (found, expected))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def start(case: dict[str, Any], out: Path, *options: str) -> subprocess.Popen[str]:
    file = out.parent / f"{out.name}.json"
    file.write_text(json.dumps(case))
    return subprocess.Popen(
        [sys.executable, str(DRIVE), str(file), str(out), "--together", str(2 * SCALE), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(happened: Callable[[], Any], seconds: float = 300) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text().split()):
                found += [child, *descendants(child)]
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextlib.contextmanager
def killing(times: int) -> Iterator[list[int]]:
    """Kill that many of this process's workers, one after the other."""
    killed: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while len(killed) < times and not over.is_set():
            for child in multiprocessing.active_children():
                if child.pid and child.pid not in killed and child.is_alive():
                    time.sleep(0.3 * len(killed))
                    child.kill()
                    killed.append(child.pid)
                    break
            time.sleep(0.01)

    thread = threading.Thread(target=hunt)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def test_a_worker_is_killed(case: dict[str, Any], undisturbed: Any, tmp_path: Path) -> None:
    with killing(1) as killed:
        summary = run_sweep(Sweep.model_validate(case), tmp_path / "out", ONE)
    assert len(killed) == 1
    assert (summary.priced, summary.failed) == (len(undisturbed[0]), 0)
    assert_undisturbed(tmp_path / "out", undisturbed)


@pytest.mark.slow
def test_workers_are_killed_again_and_again(
    case: dict[str, Any], undisturbed: Any, tmp_path: Path
) -> None:
    options = SweepOptions(workers=2)
    with killing(3) as killed:
        summary = run_sweep(Sweep.model_validate(case), tmp_path / "out", options)
    assert len(killed) == 3
    # Three kills may all hit one point, which then is taken to be the reason.
    if summary.failed:
        again = SweepOptions(workers=2, retry=True)
        assert not run_sweep(Sweep.model_validate(case), tmp_path / "out", again).failed
    assert_undisturbed(tmp_path / "out", undisturbed)


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_coordinator_is_killed(
    number: int, case: dict[str, Any], undisturbed: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(case, out)
    wait_for(lambda: list(out.glob("points/*.parquet")))
    workers = descendants(process.pid)
    assert workers
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_for(lambda: not any(map(alive, workers)))
    done = len(read_points(out))
    assert done > 0
    summary = run_sweep(Sweep.model_validate(case), out, ONE)
    assert (summary.known, summary.priced) == (done, len(undisturbed[0]) - done)
    assert_undisturbed(out, undisturbed)


def test_ctrl_c_ends_it_at_once(case: dict[str, Any], undisturbed: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(case, out)
    wait_for(lambda: list(out.glob("points/*.parquet")))
    workers = descendants(process.pid)
    # A terminal sends it to the whole group.
    for pid in (*workers, process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, 0), said  # 0: it was done already
    assert "Traceback" not in said
    wait_for(lambda: not any(map(alive, workers)))
    run_sweep(Sweep.model_validate(case), out, ONE)
    assert_undisturbed(out, undisturbed)


def test_the_disk_is_full(
    case: dict[str, Any], undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = dataset.pq.write_table
    count = 0

    def write(table: Any, path: Path, **options: Any) -> None:
        nonlocal count
        count += 1
        written(table, path, **options)
        if count > 3:  # half of it is there
            os.truncate(path, path.stat().st_size // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(dataset.pq, "write_table", write)
        with pytest.raises(CrispLoopError, match=r"cannot be written: No space left on device\."):
            run_sweep(Sweep.model_validate(case), tmp_path / "out", ONE)
    assert 0 < len(read_points(tmp_path / "out")) < len(undisturbed[0])
    assert not list((tmp_path / "out" / ".unfinished").iterdir())
    run_sweep(Sweep.model_validate(case), tmp_path / "out", ONE)
    assert_undisturbed(tmp_path / "out", undisturbed)


@pytest.mark.slow
def test_files_may_not_grow(case: dict[str, Any], undisturbed: Any, tmp_path: Path) -> None:
    """The kernel's own refusal, of the coordinator and the workers."""
    process = start(case, tmp_path / "out", "--largest", "6000")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "cannot be written" in said
    assert "File too large" in said.splitlines()[-1]
    run_sweep(Sweep.model_validate(case), tmp_path / "out", ONE)
    assert_undisturbed(tmp_path / "out", undisturbed)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_small_disk(case: dict[str, Any], undisturbed: Any, tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(CrispLoopError, match="No space left on device"):
            run_sweep(Sweep.model_validate(case), place / "out", ONE)
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        run_sweep(Sweep.model_validate(case), place / "out", ONE)
        assert_undisturbed(place / "out", undisturbed)
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied"])
def test_a_part_is_damaged(
    how: str, case: dict[str, Any], undisturbed: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_sweep(Sweep.model_validate(case), out, ONE)
    parts = sorted(out.glob("points/*.parquet")), sorted(out.glob("layers/*.parquet"))
    damage(parts[0][0], how)
    damage(parts[1][1], how)
    lost = 2 * len(dataset.pq.read_table(parts[0][2]))
    assert sweep_state(Sweep.model_validate(case), out).known == len(undisturbed[0]) - lost
    summary = run_sweep(Sweep.model_validate(case), out, ONE)
    assert summary.priced == lost
    assert_undisturbed(out, undisturbed)


def altered(table: Any, column: str) -> Any:
    """The table with the first value of a column changed, and nothing that would tell."""
    values = table[column].to_pylist()
    values[0] += 1
    at = table.schema.get_field_index(column)
    changed = dataset.pa.array(values, table.schema.field(column).type)
    return table.set_column(at, table.schema.field(column), changed)


@pytest.mark.parametrize("which", ["points", "layers"])
def test_a_part_is_another_one(
    which: str, case: dict[str, Any], undisturbed: Any, tmp_path: Path
) -> None:
    """A whole Parquet file whose values are not those that were written."""
    out = tmp_path / "out"
    run_sweep(Sweep.model_validate(case), out, ONE)
    files = sorted(out.glob(f"{which}/*.parquet"))
    dataset.pq.write_table(altered(dataset.pq.read_table(files[0]), "cycles"), files[0])
    files[1].write_bytes(files[2].read_bytes())
    lost = 2 * len(dataset.pq.read_table(sorted(out.glob("points/*.parquet"))[2]))
    if which == "points":
        with pytest.raises(CrispLoopError, match="is damaged; run the sweep again"):
            read_points(out)
    with pytest.raises(CrispLoopError, match="is damaged; run the sweep again"):
        read_layers(out)
    assert run_sweep(Sweep.model_validate(case), out, ONE).priced == lost
    assert_undisturbed(out, undisturbed)


def test_a_kept_mapping_is_damaged(
    case: dict[str, Any],
    undisturbed: Any,
    tmp_path: Path,
    mapped: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = tmp_path / "store"
    files = sorted(mapped.rglob("*.stats.txt"))
    for number, file in enumerate(files):
        copy = store / file.relative_to(mapped)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        # A mapping that can be read, and is another one, is the worst of all.
        copy.write_text(text.replace("M2", "M4", 1) if number % 2 else text[: len(text) // 2])
    assert len(files) > 3
    monkeypatch.setenv("CRISP_LOOP_CACHE", str(store))
    run_sweep(Sweep.model_validate(case), tmp_path / "out", ONE)
    assert_undisturbed(tmp_path / "out", undisturbed)


def test_two_at_once(case: dict[str, Any], undisturbed: Any, tmp_path: Path) -> None:
    """They share the work; when one is killed, the other does the rest."""
    out = tmp_path / "out"
    first = start(case, out)
    wait_for(lambda: list(out.glob(".claims/*")))
    second = start(case, out)
    said = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    counts = [json.loads(each.splitlines()[-1]) for each in said]
    assert sum(each["priced"] for each in counts) == len(undisturbed[0])
    assert_undisturbed(out, undisturbed)


def test_another_sweep_keeps_out_of_a_directory_in_use(
    case: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(case, out)
    wait_for(lambda: list(out.glob(".claims/*")))
    other = Sweep.model_validate({**case, "layers": False})
    with pytest.raises(CrispLoopError, match="is being written by another sweep; wait for it"):
        run_sweep(other, out, ONE)
    process.kill()
    process.communicate()


def test_a_point_that_always_fails(case: dict[str, Any], undisturbed: Any, tmp_path: Path) -> None:
    """A small SMEM holds no tile, and 0.6 is no sparsity of 1:4."""
    out = tmp_path / "out"
    extra = {
        "nm": ["1:4", "2:4"],
        "sparsity": [0.6, 0.8],
        "accelerator": ["dense", "crisp-stc"],
        "arch": {"SMEM.depth": [16, 8192]},
    }
    sweep = Sweep.model_validate({**case, "grid": [case["grid"], extra]})
    summary = run_sweep(sweep, out, ONE)
    points = read_points(out)
    bad = [row for row in points.to_dict("records") if isinstance(row["failure"], str)]
    # 1:4 at 0.6 on two designs of two depths; the other three settings on two designs of one.
    assert len(bad) == summary.failed == 10
    for row in bad:
        if (row["nm"], row["sparsity"]) == ("1:4", 0.6):
            assert "1:4 alone prunes 0.75" in row["failure"]
        else:
            assert "does not fit SMEM" in row["failure"]
            assert row["SMEM.depth"] == 16
        assert math.isnan(row["cycles"])
    assert set(undisturbed[0]["point"]) <= set(points["point"]) - {row["point"] for row in bad}
    again = run_sweep(sweep, out, ONE)
    assert (again.priced, again.failed) == (0, 10)
    assert again.failures == summary.failures
    retried = run_sweep(sweep, out, SweepOptions(workers=1, retry=True))
    assert (retried.known, retried.priced, retried.failed) == (len(points) - 10, 10, 10)
    assert read_points(out)["point"].is_unique


STAND_IN = f"""
import os, shutil, signal, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index('-o') + 1]); text = Path(sys.argv[-1]).read_text()
here = Path(__file__).parent
if 'read_bandwidth: 13' in text and (here / 'hang').exists():
    time.sleep(600)
if 'read_bandwidth: 13' in text and (here / 'kill').exists():
    # Its parent is the sweep's worker.
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
shutil.copy({str(GOLDEN_STATS)!r}, out / 'timeloop-model.stats.txt')
"""
# Each test has a stand-in of another fingerprint, so that no answer is known from a test before it.
TOOLED = {
    "experiment": {"network": "digits-resnet", "masks": "draw", "engine": "timeloop"},
    "grid": {
        "accelerator": "dense",
        "arch": {"DRAM.read_bandwidth": [12, 13, 14]},
    },
    "mappings": "keep",
}


def test_a_tool_hangs(tmp_path: Path, program: Callable[[str, str], Path]) -> None:
    hang = program("timeloop-model", f"{STAND_IN}# of {tmp_path}\n").with_name("hang")
    hang.touch()
    out, sweep = tmp_path / "out", Sweep.model_validate(TOOLED)
    summary = run_sweep(sweep, out, SweepOptions(workers=1, timeout_s=2))
    points = read_points(out).set_index("DRAM.read_bandwidth")
    assert (summary.points, summary.failed) == (3, 1)
    assert "it did not finish within 2 s" in points.loc[13, "failure"]
    assert points.loc[[12, 14], "failure"].isna().all()
    hang.unlink()
    assert run_sweep(sweep, out, ONE).failed == 1, "what failed is not tried again unasked"
    assert run_sweep(sweep, out, SweepOptions(workers=1, retry=True)).failed == 0
    again = read_points(out).set_index("DRAM.read_bandwidth")
    assert again.loc[13, "cycles"] == again.loc[12, "cycles"] == points.loc[12, "cycles"]


def test_a_hung_tool_ends_with_the_coordinator(
    tmp_path: Path, program: Callable[[str, str], Path]
) -> None:
    program("timeloop-model", f"{STAND_IN}# of {tmp_path}\n").with_name("hang").touch()
    process = start(TOOLED, tmp_path / "out")

    def tools() -> list[int]:
        """The hung tool, if it runs: the process whose command is the stand-in."""
        below = descendants(process.pid)
        return [pid for pid in below if b"a tool's place" in command_of(pid)]

    (tool,) = wait_for(tools)
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(tool))


def test_a_point_kills_its_workers(tmp_path: Path, program: Callable[[str, str], Path]) -> None:
    program("timeloop-model", f"{STAND_IN}# of {tmp_path}\n").with_name("kill").touch()
    out = tmp_path / "out"
    summary = run_sweep(Sweep.model_validate(TOOLED), out, SweepOptions(workers=1))
    points = read_points(out).set_index("DRAM.read_bandwidth")
    assert (summary.points, summary.failed) == (3, 1)
    assert "3 processes that priced it were killed" in points.loc[13, "failure"]
    assert points.loc[[12, 14], "failure"].isna().all()


def test_a_cluster_and_the_death_of_its_worker(
    case: dict[str, Any], undisturbed: Any, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
        ) as cluster,
        killing(1) as killed,
    ):
        options = SweepOptions(scheduler=cluster.scheduler_address)
        summary = run_sweep(Sweep.model_validate(case), tmp_path / "out", options)
    assert killed
    assert summary.failed == 0
    assert_undisturbed(tmp_path / "out", undisturbed)
