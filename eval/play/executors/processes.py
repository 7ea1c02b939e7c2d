"""The processes engine: workers on this machine, each with a player of its own.

Spawned, not forked: threads and clients of this process must not be copied. Workers share
nothing; this process alone writes results. They cannot outlive it, however it dies.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from agemem.eval.play.executors.schedule import (
    Died,
    Event,
    Idle,
    Played,
    Pool,
    PooledExecutor,
    Ready,
)
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.play.worker import EpisodeWorker
from agemem.eval.runs.plan import Batch, Plan
from agemem_envs.errors import AgeMemError, WorkerError
from agemem_envs.util.workers import end_with_parent

_CLOSE_SECONDS = 3.0
"""That workers get to release their simulators."""
Link = Connection
"""A worker, from here: the pipe to it."""


class ProcessExecutor(PooledExecutor):
    """Spawned processes on this machine."""

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        super().__init__(ProcessPool(run, plan), run, plan)


class ProcessPool(Pool[Link]):
    """Spawned processes, each at the other end of a pipe."""

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        self._arguments = (run, plan.sources)
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[Link, BaseProcess] = {}

    def start(self) -> None:
        """Spawn one more worker."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, *self._arguments), name="agemem-player", daemon=True
        )
        with _without_interrupts():
            process.start()
        theirs.close()  # so that the worker's end of it is the last, and its death closes it
        self._processes[ours] = process

    def assign(self, worker: Link, batch: Batch) -> None:
        """Send the batch."""
        with suppress(OSError):  # it died just now: next_event finds out
            worker.send(batch)

    def next_event(self) -> Event[Link]:
        """Wait for a message, or a death, of any worker."""
        worker = wait(list(self._processes))[0]
        assert isinstance(worker, Connection)
        try:
            kind, content = worker.recv()
        except (EOFError, OSError):
            return Died(worker, self._exit_reason(worker))
        if kind == "failed":
            raise WorkerError(content)
        if kind == "ready":
            return Ready(worker, content)
        return Idle(worker) if kind == "idle" else Played(worker, content)

    def _exit_reason(self, worker: Link) -> str:
        """How a worker ended."""
        process = self._processes.pop(worker)
        worker.close()
        process.join(_CLOSE_SECONDS)
        code = process.exitcode
        if code is None:  # it closed its pipe, and lives
            process.kill()
            process.join()
            code = process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = ": the machine may be out of memory" if name == "SIGKILL" else ""
            return f"its worker process was ended by {name}{hint}"
        return f"its worker process ended by itself with status {code}"

    def close(self) -> None:
        """Ask all workers to end, and end those that do not."""
        for process in self._processes.values():
            process.terminate()
        end = time.monotonic() + _CLOSE_SECONDS
        for worker, process in self._processes.items():
            process.join(max(0.0, end - time.monotonic()))
            process.kill()
            process.join()
            worker.close()
        self._processes.clear()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started here never sees Ctrl-C; for this process it waits until the end.

    A worker that is still importing has no say in how it takes a signal, but it inherits the
    mask of its parent.
    """
    resource_tracker.ensure_running()  # the first spawn would start it, and unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- the worker's side -----------------------------------------------------------------


def _work(link: Link, run: ResolvedRun, sources: dict[str, str]) -> None:
    """Play what comes through the pipe, until it closes."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    cores = os.cpu_count() or 1  # shared out: PyTorch would take all of them each
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // run.config.workers)))
    warnings.simplefilter("ignore")  # the parent has said the same already
    player: EpisodeWorker | None = None
    try:
        player = EpisodeWorker(run, sources)
        link.send(("ready", player.metadata))
        while True:
            batch = link.recv()
            for result in player.play(batch):
                link.send(("played", result))
            link.send(("idle", None))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent closed the pipe
    except AgeMemError as error:
        link.send(("failed", str(error)))
    except Exception as error:  # a fault of ours: told by the parent, not played again
        traceback.print_exc()
        link.send(("failed", f"a worker failed: {type(error).__name__}: {error}"))
    finally:
        if player is not None:
            player.close()


def _leave(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not break the closing
    sys.exit(0)
