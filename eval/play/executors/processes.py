"""The processes executor: worker processes on this machine.

Workers are spawned, not forked, because threads and clients of this process must not be copied.
They share nothing; only this process writes results. They end with it, however it dies.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
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
    Played,
    Pool,
    PooledExecutor,
    Ready,
)
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.play.worker import EpisodeWorker
from agemem.eval.runs.plan import Plan, Planned
from agemem_envs.errors import AgeMemError, WorkerError
from agemem_envs.util.checkout import call_in_checkout
from agemem_envs.util.workers import end_with_parent

_CLOSE_SECONDS = 3.0
"""Time that workers get to release their simulators."""
Link = Connection
"""The parent's handle of a worker: the pipe to it."""


class ProcessExecutor(PooledExecutor):
    """An executor with spawned processes on this machine."""

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        super().__init__(ProcessPool(run, plan), run, plan)


class ProcessPool(Pool[Link]):
    """Spawned worker processes, each connected by a pipe."""

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        self._arguments = (run, plan.sources)
        self._context = multiprocessing.get_context("spawn")
        self._processes: dict[Link, BaseProcess] = {}

    def start(self) -> None:
        """Spawn one more worker."""
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=call_in_checkout,
            args=(f"{__name__}:_work", theirs, pickle.dumps(self._arguments)),
            name="agemem-worker",
            daemon=True,
        )
        with _without_interrupts():
            process.start()
        theirs.close()  # the worker's copy is now the only one, so its death closes the pipe
        self._processes[ours] = process

    def assign(self, worker: Link, planned: Planned) -> None:
        """Send an episode to a worker."""
        with suppress(OSError):  # it has just died: next_event reports it
            worker.send(planned)

    def next_event(self) -> Event[Link]:
        """Wait for a message or the death of any worker."""
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
        return Played(worker, content)

    def _exit_reason(self, worker: Link) -> str:
        """Describe how a worker ended."""
        process = self._processes.pop(worker)
        worker.close()
        process.join(_CLOSE_SECONDS)
        code = process.exitcode
        if code is None:  # it closed its pipe but is still alive
            process.kill()
            process.join()
            code = process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (the machine may be out of memory)" if name == "SIGKILL" else ""
            return f"its worker process was killed by {name}{hint}"
        return f"its worker process exited with status {code}"

    def close(self) -> None:
        """Ask all workers to exit, and kill those that do not."""
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
    """Block Ctrl-C while processes are started; they inherit the mask, and so never receive it.

    A worker cannot install a signal handler while it is still importing. In this process, an
    interrupt is delivered at the end of the block.
    """
    resource_tracker.ensure_running()  # else the first spawn starts it and unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- the worker's side -----------------------------------------------------------------


def _work(link: Link, arguments: bytes) -> None:
    """Play the episodes that arrive through the pipe, until it closes."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    run: ResolvedRun
    run, sources = pickle.loads(arguments)
    cores = os.cpu_count() or 1  # divided, because each PyTorch would use all of them
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // run.config.workers)))
    warnings.simplefilter("ignore")  # the parent has already shown them
    worker: EpisodeWorker | None = None
    try:
        worker = EpisodeWorker(run, sources)
        link.send(("ready", worker.metadata))
        for result in worker.play(iter(link.recv, None)):
            link.send(("played", result))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent closed the pipe
    except AgeMemError as error:
        link.send(("failed", str(error)))
    except Exception as error:  # a bug: the parent reports it, and plays nothing again
        traceback.print_exc()
        link.send(("failed", f"a worker failed: {type(error).__name__}: {error}"))
    finally:
        if worker is not None:
            worker.close()


def _leave(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not interrupt the cleanup
    sys.exit(0)
