"""Where tasks run: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for_any
from typing import TYPE_CHECKING, Protocol

from crisp_loop.core.errors import CrispLoopError
from crisp_loop.sweep.work import Done, Task, Trouble, work
from crisp_loop.tools.processes import end_all_processes

if TYPE_CHECKING:
    from distributed import Client

Outcome = Done | Trouble | None
"""What a task came to; None where its process died."""
LOCAL = "local"
"""The scheduler's address that means a Dask cluster on this machine."""


class Pool(Protocol):
    """Processes that work on tasks."""

    def room(self) -> bool:
        """Whether a task that is submitted now is begun soon."""
        ...

    def submit(self, task: Task) -> Future[Outcome]:
        """Have a task worked on. The future holds no exception."""
        ...

    def close(self) -> None:
        """End all processes, and what they are doing."""
        ...


class LocalPool:
    """Processes of this machine.

    Each worker is a pool of one process: when it is killed, its task alone is to be repeated, and
    there is no doubt which task it was.
    """

    def __init__(self, workers: int) -> None:
        # A server that has imported what workers need, and forks them: what takes seconds is done
        # once, and a worker that was killed is back at once.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__module__])
        self._idle = [self._worker() for _ in range(workers)]
        self._busy: dict[Future[Outcome], ProcessPoolExecutor] = {}

    def _worker(self) -> ProcessPoolExecutor:
        # The server may be older than what the environment says now.
        environment = dict(os.environ)
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_begin, initargs=(environment,)
        )

    def room(self) -> bool:
        """Whether a worker is idle."""
        return bool(self._idle)

    def submit(self, task: Task) -> Future[Outcome]:
        """Give a task to an idle worker."""
        worker = self._idle.pop()
        future: Future[Outcome] = Future()
        try:
            inner = worker.submit(work, task)
        except BrokenProcessPool:  # killed while it had nothing to do
            worker = self._worker()
            inner = worker.submit(work, task)
        self._busy[future] = worker

        def ended(inner: Future[Done | Trouble]) -> None:
            self._busy.pop(future, None)
            if inner.cancelled():
                future.cancel()
                return
            if isinstance(inner.exception(), BrokenProcessPool):
                self._idle.append(self._worker())
                future.set_result(None)
                return
            self._idle.append(worker)
            error = inner.exception()
            future.set_result(inner.result() if error is None else Trouble(repr(error), False))

        inner.add_done_callback(ended)
        return future

    def close(self) -> None:
        """Kill all workers; what they were doing is done again some day."""
        for worker in (*self._idle, *self._busy.values()):
            # Only Python 3.14 has a public way to end a worker that is at work.
            for process in list((worker._processes or {}).values()):
                process.kill()
            worker.shutdown(wait=True, cancel_futures=True)


def _begin(environment: dict[str, str]) -> None:
    """Prepare a worker's process."""
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches every process of a terminal; the coordinator alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Schedulers of clusters end a job by this, sent to all of its processes at once.
    signal.signal(signal.SIGTERM, lambda *_: _end())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait_for_any([parent.sentinel])
        _end()

    # A coordinator that is killed cannot end its workers, so they end themselves, tools included.
    threading.Thread(target=follow, daemon=True).start()


def _end() -> None:
    """End this process at once, and the tools that it started."""
    end_all_processes()
    os._exit(1)


class DaskPool:
    """Workers of a Dask cluster."""

    def __init__(self, scheduler: str, workers: int) -> None:
        """``scheduler``: an address, a scheduler file, or ``local`` for a cluster right here."""
        try:
            from distributed import Client, LocalCluster
        except ImportError:
            raise CrispLoopError(
                "--scheduler needs Dask; install it with pip install 'crisp-loop[cluster]'."
            ) from None
        self._cluster = None
        if scheduler == LOCAL:
            self._cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0"
            )
        self._client = _client(Client, self._cluster or scheduler)
        self._executor = self._client.get_executor(pure=False, retries=0)
        self._open: set[Future[Outcome]] = set()

    def room(self) -> bool:
        """Whether each worker has no more than one task waiting."""
        threads = sum(dict(self._client.nthreads()).values())  # type: ignore[call-overload]
        return len(self._open) < max(2, 2 * threads)

    def submit(self, task: Task) -> Future[Outcome]:
        """Give a task to the cluster."""
        future: Future[Outcome] = Future()
        self._open.add(future)

        def ended(inner: Future[Done | Trouble]) -> None:
            self._open.discard(future)
            if inner.cancelled():
                future.cancel()
                return
            error = inner.exception()
            if error is None:
                future.set_result(inner.result())
            elif type(error).__name__ == "KilledWorker":
                future.set_result(None)
            else:
                future.set_result(Trouble(f"{type(error).__name__}: {error}", False))

        self._executor.submit(work, task).add_done_callback(ended)
        return future

    def close(self) -> None:
        """Cancel what is going on, and leave the cluster."""
        self._executor.shutdown(wait=False)
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def _client(make: Callable[..., Client], where: object) -> Client:
    file = {"scheduler_file": where} if str(where).endswith(".json") else {"address": where}
    try:
        return make(**file, timeout="30s")
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CrispLoopError(f"--scheduler: {where} cannot be reached: {reason}.") from None
