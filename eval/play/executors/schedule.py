"""Scheduling of batches on workers that may die. Episodes lost with a worker are played again.

They are played again one at a time, so that an episode which kills its worker does not take the
rest of its batch down a second time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from agemem.eval.play.executors.base import Executor
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.play.worker import RunMetadata
from agemem.eval.runs.plan import Batch, Plan, Planned
from agemem.eval.runs.result import Key, Result
from agemem_envs.errors import WorkerError

MAX_DEATHS = 3
"""Workers that an episode may kill, that is, two repetitions; also consecutive failed starts."""
W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Ready(Generic[W]):
    """A worker has loaded what it needs."""

    worker: W
    metadata: RunMetadata


@dataclass(frozen=True, slots=True)
class Played(Generic[W]):
    """An episode of a worker's batch ended."""

    worker: W
    result: Result


@dataclass(frozen=True, slots=True)
class Idle(Generic[W]):
    """A worker has played its whole batch."""

    worker: W


@dataclass(frozen=True, slots=True)
class Died(Generic[W]):
    """A worker has died, and the episodes that it was playing are lost."""

    worker: W
    why: str


Event = Ready[W] | Played[W] | Idle[W] | Died[W]


class Pool(ABC, Generic[W]):
    """A pool of workers. The handles of workers are hashable and compared by ``==``."""

    @abstractmethod
    def start(self) -> None:
        """Start one more worker, without waiting; its first event is Ready or Died."""

    @abstractmethod
    def assign(self, worker: W, batch: Batch) -> None:
        """Let an idle worker play a batch. If it has died, an event will report that."""

    @abstractmethod
    def next_event(self) -> Event[W]:
        """Wait for the next event.

        Raises:
            WorkerError: A worker cannot play this configuration, so no other could.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop all workers. Calling it again has no effect."""


class Schedule(Generic[W]):
    """Assigns batches to the workers of a pool.

    Args:
        pool: The pool of workers.
        workers: The number of workers to start.

    Raises:
        WorkerError: No worker becomes ready.
    """

    def __init__(self, pool: Pool[W], workers: int) -> None:
        self._pool = pool
        self._waiting: deque[Batch] = deque()
        self._playing: dict[W, dict[Key, Planned]] = {}
        self._idle: list[W] = []
        self._deaths: Counter[Key] = Counter()
        self._failed_starts = 0
        for _ in range(workers):
            pool.start()
        while not self._idle:
            self._take(pool.next_event())

    def play(self, batches: Sequence[Batch]) -> Iterator[Result]:
        """Play every episode of the batches, and yield each result once, as its episode ends.

        Raises:
            WorkerError: Workers repeatedly die before they are ready.
        """
        self._waiting.extend(batches)
        while True:
            while self._waiting and self._idle:
                worker, batch = self._idle.pop(), self._waiting.popleft()
                self._playing[worker] = {planned.key: planned for planned in batch}
                self._pool.assign(worker, batch)
            if not self._waiting and not self._playing:
                return
            yield from self._take(self._pool.next_event())

    def _take(self, event: Event[W]) -> list[Result]:
        """Handle an event; returns the results that it brings."""
        match event:
            case Ready(worker, metadata):
                self._metadata = metadata
                self._failed_starts = 0
                self._idle.append(worker)
            case Played(worker, result):
                del self._playing[worker][result.key]
                return [result]
            case Idle(worker):
                del self._playing[worker]
                self._idle.append(worker)
            case Died(worker, why):
                return self._replace_dead_worker(worker, why)
        return []

    def _replace_dead_worker(self, worker: W, why: str) -> list[Result]:
        """Replace a dead worker; returns results of episodes that killed too many workers."""
        given_up: list[Result] = []
        if worker in self._idle:
            self._idle.remove(worker)
        elif worker in self._playing:
            for key, planned in self._playing.pop(worker).items():
                self._deaths[key] += 1
                if self._deaths[key] < MAX_DEATHS:
                    self._waiting.appendleft((planned,))
                else:
                    given_up.append(self._metadata.lost(planned, f"WorkerError: {why}"))
        else:
            self._failed_starts += 1
            if self._failed_starts >= MAX_DEATHS:
                raise WorkerError(f"the last {MAX_DEATHS} workers died while starting: {why}")
        self._pool.start()
        return given_up


class PooledExecutor(Executor):
    """An executor with a pool of workers, no more than there are batches.

    Args:
        pool: The pool, closed by :meth:`close`.
        run: The run to play.
        plan: The plan of the run.

    Raises:
        WorkerError: The workers cannot play this configuration.
    """

    def __init__(self, pool: Pool[Any], run: ResolvedRun, plan: Plan) -> None:
        self._pool = pool
        batches = len(plan.batches((), run.config.batch_size))
        try:
            self._schedule = Schedule(pool, min(run.config.workers, batches))
        except BaseException:
            self.close()
            raise

    def play(self, batches: Sequence[Batch]) -> Iterator[Result]:
        """Play every batch, and yield each result as its episode ends."""
        return self._schedule.play(batches)

    def close(self) -> None:
        """Stop the workers, even during an episode."""
        self._pool.close()
