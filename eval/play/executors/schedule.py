"""Scheduling of episodes on workers that may die. Episodes lost with a worker are played again.

They are played again one at a time, each alone on a worker, so that an episode which kills its
worker does not take others down a second time.
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
from agemem.eval.runs.plan import Plan, Planned
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
    """An episode of a worker has ended."""

    worker: W
    result: Result


@dataclass(frozen=True, slots=True)
class Died(Generic[W]):
    """A worker has died, and the episodes that it was playing are lost."""

    worker: W
    why: str


Event = Ready[W] | Played[W] | Died[W]


class Pool(ABC, Generic[W]):
    """A pool of workers. The handles of workers are hashable and compared by ``==``."""

    @abstractmethod
    def start(self) -> None:
        """Start one more worker, without waiting; its first event is Ready or Died."""

    @abstractmethod
    def assign(self, worker: W, planned: Planned) -> None:
        """Let a worker play one more episode. If it has died, an event will report that."""

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
    """Assigns episodes to the workers of a pool, as many to each as it has seats.

    Args:
        pool: The pool of workers.
        workers: The number of workers to start.
        seats: Episodes that a worker plays at once.

    Raises:
        WorkerError: No worker becomes ready.
    """

    def __init__(self, pool: Pool[W], workers: int, seats: int = 1) -> None:
        self._pool = pool
        self._seats = seats
        self._waiting: deque[Planned] = deque()
        self._suspects: deque[Planned] = deque()
        """Episodes during which a worker has died, which need one for themselves."""
        self._playing: dict[W, dict[Key, Planned]] = {}
        self._deaths: Counter[Key] = Counter()
        self._failed_starts = 0
        for _ in range(workers):
            pool.start()
        while not self._playing:
            self._take(pool.next_event())

    def play(self, episodes: Sequence[Planned]) -> Iterator[Result]:
        """Play every episode, and yield each result once, as it ends.

        Raises:
            WorkerError: Workers repeatedly die before they are ready.
        """
        self._waiting.extend(episodes)
        self._assign()
        while self._waiting or self._suspects or any(self._playing.values()):
            results = self._take(self._pool.next_event())
            self._assign()  # first: whoever gets the results may need a while
            yield from results

    def _assign(self) -> None:
        """Give each free seat an episode, at the worker with the fewest first."""
        while free := [worker for worker in self._playing if self._has_room(worker)]:
            worker = min(free, key=lambda one: len(self._playing[one]))
            alone = bool(self._suspects) and not self._playing[worker]
            if not alone and not self._waiting:
                return
            planned = (self._suspects if alone else self._waiting).popleft()
            self._playing[worker][planned.key] = planned
            self._pool.assign(worker, planned)

    def _has_room(self, worker: W) -> bool:
        playing = self._playing[worker]
        return len(playing) < self._seats and not any(self._deaths[key] for key in playing)

    def _take(self, event: Event[W]) -> list[Result]:
        """Handle an event; returns the results that it brings."""
        match event:
            case Ready(worker, metadata):
                self._metadata = metadata
                self._failed_starts = 0
                self._playing[worker] = {}
            case Played(worker, result):
                del self._playing[worker][result.key]
                return [result]
            case Died(worker, why):
                return self._replace_dead_worker(worker, why)
        return []

    def _replace_dead_worker(self, worker: W, why: str) -> list[Result]:
        """Replace a dead worker; returns results of episodes that killed too many workers."""
        given_up: list[Result] = []
        if worker not in self._playing:
            self._failed_starts += 1
            if self._failed_starts >= MAX_DEATHS:
                raise WorkerError(f"the last {MAX_DEATHS} workers died while starting: {why}")
        for key, planned in self._playing.pop(worker, {}).items():
            self._deaths[key] += 1
            if self._deaths[key] < MAX_DEATHS:
                self._suspects.append(planned)
            else:
                given_up.append(self._metadata.lost(planned, f"WorkerError: {why}"))
        self._pool.start()
        return given_up


class PooledExecutor(Executor):
    """An executor with a pool of workers, no more than there are episodes.

    Args:
        pool: The pool, closed by :meth:`close`.
        run: The run to play.
        plan: The plan of the run.

    Raises:
        WorkerError: The workers cannot play this configuration.
    """

    def __init__(self, pool: Pool[Any], run: ResolvedRun, plan: Plan) -> None:
        self._pool = pool
        workers = min(run.config.workers, len(plan.episodes))
        try:
            self._schedule = Schedule(pool, workers, run.config.batch_size)
        except BaseException:
            self.close()
            raise

    def play(self, episodes: Sequence[Planned]) -> Iterator[Result]:
        """Play every episode, and yield each result as it ends."""
        return self._schedule.play(episodes)

    def close(self) -> None:
        """Stop the workers, even during an episode."""
        self._pool.close()
