"""The only episode loop: evaluation and training both play episodes through it.

Every episode goes on by itself. Its environment and its agent work in the thread of its seat, where
a simulator may wait without holding up another episode. A model on a server is called from the
background loop, as soon as there is a prompt. A model in this process completes, in the caller's
thread, the prompts of all seats at once. When an episode ends, its seat takes the next task.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, SupportsFloat, TypeAlias, TypeVar

import gymnasium as gym

from agemem.agents.backbones.base import (
    Backbone,
    Completion,
    ConcurrentBackbone,
    Reply,
    Request,
    Sampling,
)
from agemem.agents.base import Agent, Decision, RolloutEnv
from agemem_envs.episode import Episode, StopReason
from agemem_envs.errors import ConfigurationError, EndpointError, PromptTooLongError
from agemem_envs.util import background
from agemem_envs.util.own_thread import OwnThread

_SEED_STRIDE = 10_007
"""Keeps the sampling seeds of an episode's rounds apart from those of the next episode."""
_SEED_RANGE = 2**31
"""Servers accept 32-bit seeds."""
T = TypeVar("T")
_Transition: TypeAlias = tuple[str, SupportsFloat, bool, bool, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play.

    Attributes:
        env: The environment, alone or in Gymnasium's wrappers. No other episode may use it at the
            same time.
        agent: The agent. No other episode may use it at the same time.
        seed: The seed of the environment's reset and of the sampling.
        task_id: The task, or None to draw one.
    """

    env: gym.Env[str, str] | RolloutEnv
    agent: Agent
    seed: int
    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """A played episode.

    Attributes:
        job: The number of its task among all tasks, from 0.
        episode: The record, with the backbone's token counts and times in its steps.
        prompts: The requests to the backbone, one entry per step; None for a step without one.
        completions: The replies to them.
        seconds: Wall time from reset to reward. Episodes overlap.
    """

    job: int
    episode: Episode
    prompts: tuple[Request | None, ...] = ()
    completions: tuple[Completion | None, ...] = ()
    seconds: float = 0.0


class Seat(Generic[T]):
    """A place at which one episode after another is played, all of them in one thread.

    Args:
        prepare: Makes the job of a task, in the seat's thread.
    """

    def __init__(self, prepare: Callable[[T], Job]) -> None:
        self.prepare = prepare
        self.thread = OwnThread("agemem-seat")

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a function that the seat's thread calls."""
        return await asyncio.wrap_future(self.thread.submit(function, *arguments))


def rollout(
    jobs: Sequence[Job], backbone: Backbone | None = None, sampling: Sampling | None = None
) -> Iterator[Rollout]:
    """Play episodes, all at the same time, and yield each as it ends.

    A failing model server or simulator ends only its own episode, which is recorded as failed
    and not scored.

    Args:
        jobs: The episodes.
        backbone: The model, if an agent needs one.
        sampling: Sampling parameters; greedy by default.

    Raises:
        ConfigurationError: An agent needs a backbone and there is none, or an environment is
            not a :class:`~agemem.agents.base.RolloutEnv`.
    """
    seats: list[Seat[Job]] = [Seat(lambda job: job) for _ in jobs]
    try:
        for _, played in play_tasks(jobs, seats, backbone, sampling):
            yield played
    finally:
        for seat in seats:
            seat.thread.shutdown()


def play_tasks(
    tasks: Iterable[T],
    seats: Sequence[Seat[T]],
    backbone: Backbone | None = None,
    sampling: Sampling | None = None,
) -> Iterator[tuple[T, Rollout]]:
    """Play the episode of each task, as many at the same time as there are seats.

    Args:
        tasks: What the seats prepare jobs of. A free seat takes the next one, in the seat's thread,
            where the iterator may wait.
        seats: The seats; no other call may use them at the same time.
        backbone: The model, if an agent needs one.
        sampling: Sampling parameters; greedy by default.

    Yields:
        Each task with its episode, as it ends.

    Raises:
        ConfigurationError: As :func:`rollout`.
    """
    events: queue.SimpleQueue[_Event[T]] = queue.SimpleQueue()
    source = _Source(tasks)
    model = _model(backbone, sampling or Sampling(), len(seats), events.put)
    occupied = [background.submit(_occupy(seat, source, model, events.put)) for seat in seats]
    left = len(seats)
    try:
        while left:
            match events.get():
                case _Ended(task, played):
                    yield task, played
                case _Batch() as batch:
                    batch.complete()
                case _Left(error):
                    if error is not None:
                        raise error
                    left -= 1
    finally:
        for future in occupied:
            future.cancel()


async def play_task(
    task: T, seat: Seat[T], backbone: ConcurrentBackbone, sampling: Sampling
) -> Rollout:
    """Play the episode of one task, from any event loop.

    Args:
        task: What the seat prepares a job of.
        seat: The seat; no other call may use it at the same time.
        backbone: The model.
        sampling: Sampling parameters.
    """

    async def prepared() -> Rollout:
        job = await seat.call(seat.prepare, task)
        return await _episode(0, job, seat, _Concurrent(backbone, sampling, seats=1))

    return await background.shared(prepared())


@dataclass(frozen=True, slots=True)
class _Ended(Generic[T]):
    """An episode has ended."""

    task: T
    played: Rollout


@dataclass(frozen=True, slots=True)
class _Left:
    """A seat plays no more: no task is left, or something is wrong that is not an episode's."""

    error: BaseException | None


class _Source(Generic[T]):
    """The tasks in order, with their numbers, for whichever seat is free."""

    def __init__(self, tasks: Iterable[T]) -> None:
        self._tasks = enumerate(tasks)
        self._lock = threading.Lock()

    def take(self) -> tuple[int, T] | None:
        """The next task; None if there is none."""
        with self._lock:
            return next(self._tasks, None)


async def _occupy(
    seat: Seat[T], source: _Source[T], model: _Model, tell: Callable[[_Event[T]], None]
) -> None:
    """Play one task after another at a seat."""
    error: BaseException | None = None
    try:
        while (taken := await seat.call(source.take)) is not None:
            number, task = taken
            job = await seat.call(seat.prepare, task)
            tell(_Ended(task, await _episode(number, job, seat, model)))
    except asyncio.CancelledError:
        raise
    except BaseException as raised:  # the caller raises it; some libraries call sys.exit
        error = raised
    finally:
        model.leave()
        tell(_Left(error))


async def _episode(number: int, job: Job, seat: Seat[Any], model: _Model) -> Rollout:
    """Play one episode: the environment and the agent in the seat's thread, the model outside."""
    one = _Live(number, job, _unwrapped(job.env))
    turn: Request | Rollout = await seat.call(one.begin)
    while not isinstance(turn, Rollout):
        reply = await model.reply(number, turn)
        turn = await seat.call(one.go_on, turn, reply)
    return turn


def _unwrapped(env: gym.Env[str, str] | RolloutEnv) -> RolloutEnv:
    inner = env.unwrapped if isinstance(env, gym.Env) else env
    if not isinstance(inner, RolloutEnv):
        raise ConfigurationError(
            f"{type(inner).__name__} cannot be played: it is not a RolloutEnv (agents/base.py)"
        )
    return inner


# -- the model -------------------------------------------------------------------------


class _Model:
    """How episodes reach the backbone; without one, not at all."""

    async def reply(self, number: int, request: Request) -> Reply:
        """The reply to a request of the episode with this number."""
        raise ConfigurationError("the agent needs a backbone, and none was given")

    def leave(self) -> None:
        """A seat plays no more."""


class _Concurrent(_Model):
    """A backbone that takes each request as it comes."""

    def __init__(self, backbone: ConcurrentBackbone, sampling: Sampling, seats: int) -> None:
        self._backbone = backbone
        self._sampling = sampling
        self._shared = seats > 1

    async def reply(self, number: int, request: Request) -> Reply:
        return await self._backbone.complete(replace(request, shared=self._shared), self._sampling)


class _Batched(_Model):
    """A backbone that completes all prompts of a batch in the time of the longest.

    It begins when every seat waits for it, so that a batch, and with it the last bits of the
    model's numbers, does not depend on which environment was faster. Batches of whatever waits when
    the model is free would be up to 1.2 times as fast (tests/benchmarks/measure_rollouts.py).
    """

    def __init__(
        self,
        backbone: Backbone,
        sampling: Sampling,
        seats: int,
        hand_over: Callable[[_Batch], None],
    ) -> None:
        self._backbone = backbone
        self._sampling = sampling
        self._seats = seats
        self._hand_over = hand_over
        self._waiting: list[_Waiting] = []

    async def reply(self, number: int, request: Request) -> Reply:
        one = _Waiting(number, request, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._begin()
        return await one.reply

    def leave(self) -> None:
        self._seats -= 1
        self._begin()

    def _begin(self) -> None:
        if self._waiting and len(self._waiting) == self._seats:
            waiting = sorted(self._waiting, key=lambda one: one.number)
            self._waiting = []
            self._hand_over(_Batch(self._backbone, self._sampling, waiting))


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request, and the future of its reply."""

    number: int
    request: Request
    reply: asyncio.Future[Reply]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Requests that a model in this process completes together."""

    backbone: Backbone
    sampling: Sampling
    waiting: Sequence[_Waiting]

    def complete(self) -> None:
        """Generate, in the thread that calls this."""
        replies = self.backbone.generate([one.request for one in self.waiting], self.sampling)
        for one, reply in zip(self.waiting, replies, strict=True):
            one.reply.get_loop().call_soon_threadsafe(partial(_resolve, one.reply, reply))


def _resolve(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():  # cancelled, if the rollout ends early
        future.set_result(reply)


_Event = _Ended[T] | _Batch | _Left


def _model(
    backbone: Backbone | None,
    sampling: Sampling,
    seats: int,
    hand_over: Callable[[_Batch], None],
) -> _Model:
    if backbone is None:
        return _Model()
    if isinstance(backbone, ConcurrentBackbone):
        return _Concurrent(backbone, sampling, seats)
    return _Batched(backbone, sampling, seats, hand_over)


# -- one episode, in the seat's thread --------------------------------------------------


@dataclass(slots=True)
class _Live:
    """An episode in progress."""

    number: int
    job: Job
    env: RolloutEnv
    observation: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    prompts: list[Request | None] = field(default_factory=list)
    completions: list[Completion | None] = field(default_factory=list)
    start: float = field(default_factory=time.perf_counter)

    def begin(self) -> Request | Rollout:
        """Reset, and play up to the first request, or to the end."""
        job = self.job
        options = None if job.task_id is None else {"task_id": job.task_id}
        try:
            self.observation, self.info = job.env.reset(seed=job.seed, options=options)
            job.agent.begin(self.env, job.seed)
        except Exception as error:  # simulators raise anything; one bad episode is data
            return Rollout(self.number, self._stillborn(error))
        return self._act()

    def go_on(self, request: Request, reply: Reply) -> Request | Rollout:
        """Carry out the reply, and play up to the next request, or to the end."""
        if isinstance(reply, PromptTooLongError):
            return self._overflow() or self._act()
        if isinstance(reply, EndpointError):
            return self._fail(StopReason.ENDPOINT_ERROR, reply)
        return self._step(reply.text, request, reply) or self._act()

    def _act(self) -> Request | Rollout:
        """Let the agent act until it needs the model, or until the episode ends."""
        while True:
            decision = self._decide()
            if isinstance(decision, PromptTooLongError):
                if (ended := self._overflow()) is not None:
                    return ended
                continue
            if isinstance(decision, EndpointError):  # the server of a memory system
                return self._fail(StopReason.ENDPOINT_ERROR, decision)
            if isinstance(decision, Exception):
                return self._fail(StopReason.ENVIRONMENT_ERROR, decision)
            if not isinstance(decision, str):
                return self._request(decision)
            if (ended := self._step(decision)) is not None:
                return ended

    def _decide(self) -> Decision | Exception:
        """The agent's decision, or its error: reference agents call the simulator."""
        try:
            return self.job.agent.act(self.observation, self.info)
        except ConfigurationError:
            raise
        except Exception as error:  # simulators raise anything
            return error

    def _request(self, messages: Any) -> Request:
        return Request(
            messages=messages,
            seed=(self.job.seed * _SEED_STRIDE + len(self.prompts)) % _SEED_RANGE,
            first=not any(self.prompts),
            stage=self.info["stage"],
        )

    def _step(
        self, action: str, request: Request | None = None, reply: Completion | None = None
    ) -> Rollout | None:
        """Carry out one action; the rollout if the episode has ended."""
        self.prompts.append(request)
        self.completions.append(reply)
        return self._carried_out(lambda: self.job.env.step(action))

    def _carried_out(self, change: Callable[[], _Transition]) -> Rollout | None:
        """Change the environment; the rollout if the episode has ended."""
        try:
            transition = change()
        except EndpointError as error:  # an LLM summarizer's server
            return self._fail(StopReason.ENDPOINT_ERROR, error)
        except Exception as error:  # simulators raise anything
            return self._fail(StopReason.ENVIRONMENT_ERROR, error)
        self.observation, _, terminated, truncated, self.info = transition
        return self._finish(self.info["episode"]) if terminated or truncated else None

    def _overflow(self) -> Rollout | None:
        """End the episode, or the question in progress, as overflowed."""
        return self._carried_out(self.env.overflow)

    def _fail(self, reason: StopReason, error: Exception) -> Rollout:
        try:
            episode = self.env.record()
        except Exception:  # the process that held the environment is gone, and its record with it
            return Rollout(self.number, self._stillborn(error))
        return self._finish(replace(episode, stop_reason=reason, errors=(_describe(error),)))

    def _finish(self, episode: Episode) -> Rollout:
        """Add to the record what the backbone counted, measured and sampled."""
        steps = tuple(
            replace(
                step,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                seconds=completion.seconds,
            )
            if completion is not None
            else step
            for step, completion in zip(episode.steps, self.completions, strict=False)
        )
        agent = self.job.agent
        metrics = {**episode.metrics, **agent.metrics()}
        if agent.uses_backbone:
            metrics["model_calls"] = float(sum(reply is not None for reply in self.completions))
        sampled = tuple(None if one is None else one.sampled for one in self.completions)
        complete = replace(
            episode, steps=steps, metrics=metrics, sampled=sampled if any(sampled) else ()
        )
        seconds = time.perf_counter() - self.start
        return Rollout(self.number, complete, tuple(self.prompts), tuple(self.completions), seconds)

    def _stillborn(self, error: Exception) -> Episode:
        """The record of an episode that could not begin."""
        return Episode.unplayed(
            env_id=self.env.env_id,
            task_id=self.job.task_id or "",
            seed=self.job.seed,
            source=self.env.source,
            settings=self.env.settings(),
            error=_describe(error),
        )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
