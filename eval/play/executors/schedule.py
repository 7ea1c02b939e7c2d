"""Deals batches to workers that may die; what was lost with one is played again.

One episode at a time is played again, so that the episode which kills its worker does not
take its neighbours along a second time.
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
"""Workers that an episode may kill: it is played again twice. Likewise failed starts in a row."""
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
    """A worker is gone, and what it was playing is lost."""

    worker: W
    why: str


Event = Ready[W] | Played[W] | Idle[W] | Died[W]


class Pool(ABC, Generic[W]):
    """Workers, wherever they are. They are told apart by ``==`` and hashed."""

    @abstractmethod
    def start(self) -> None:
        """Begin to start one more worker; its first event is Ready or Died."""

    @abstractmethod
    def assign(self, worker: W, batch: Batch) -> None:
        """Have an idle worker play a batch. If it has died, an event will say so."""

    @abstractmethod
    def next_event(self) -> Event[W]:
        """Wait for what happens next.

        Raises:
            WorkerError: A worker cannot play this configuration; neither would another.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop all workers. Calling it again has no effect."""


class Schedule(Generic[W]):
    """Which worker plays what.

    Args:
        pool: Where the workers are.
        workers: How many there are to be.

    Raises:
        WorkerError: No worker gets ready.
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
        """Every episode of the batches once, as they end.

        Raises:
            WorkerError: Workers die before they get ready, again and again.
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
        """Note what happened; the results that came of it."""
        match event:
            case Ready(worker, metadata):
                self._circumstances = metadata
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
        """Replace a dead worker; the results of the episodes that killed too many."""
        given_up: list[Result] = []
        if worker in self._idle:
            self._idle.remove(worker)
        elif worker in self._playing:
            for key, planned in self._playing.pop(worker).items():
                self._deaths[key] += 1
                if self._deaths[key] < MAX_DEATHS:
                    self._waiting.appendleft((planned,))
                else:
                    given_up.append(self._circumstances.lost(planned, f"WorkerError: {why}"))
        else:
            self._failed_starts += 1
            if self._failed_starts >= MAX_DEATHS:
                raise WorkerError(f"the last {MAX_DEATHS} workers died while starting: {why}")
        self._pool.start()
        return given_up


class PooledExecutor(Executor):
    """An engine with a pool of workers: as many as it was asked for, or as there are batches.

    Args:
        pool: Closed by :meth:`close`.
        run: What to play.
        plan: Its episodes.

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
        """Play every batch, each episode yielded as it ends."""
        return self._schedule.play(batches)

    def close(self) -> None:
        """Stop the workers, also in the middle of an episode."""
        self._pool.close()
