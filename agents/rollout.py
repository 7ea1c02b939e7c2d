"""The only episode loop: evaluation and training both play episodes through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym

from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem.agents.base import Agent, Decision, RolloutEnv
from agemem_envs.episode import Episode, StopReason
from agemem_envs.errors import ConfigurationError, EndpointError, PromptTooLongError

_SEED_STRIDE = 10_007
"""Keeps the sampling seeds of an episode's rounds apart from those of the next episode."""
_SEED_RANGE = 2**31
"""Servers accept 32-bit seeds."""


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play.

    Attributes:
        env: The environment, alone or in Gymnasium's wrappers. No other job of the batch may
            use it.
        agent: The agent. No other job of the batch may use it.
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
        job: Index of the job in the batch.
        episode: The record, with the backbone's token counts and times in its steps.
        prompts: The requests to the backbone, one entry per step; None for a step without one.
        completions: The replies to them.
    """

    job: int
    episode: Episode
    prompts: tuple[Request | None, ...]
    completions: tuple[Completion | None, ...]


@dataclass(slots=True)
class _Live:
    """An episode in progress."""

    index: int
    job: Job
    env: RolloutEnv
    observation: str
    info: dict[str, Any]
    prompts: list[Request | None] = field(default_factory=list)
    completions: list[Completion | None] = field(default_factory=list)


def rollout(
    jobs: Sequence[Job],
    backbone: Backbone | None = None,
    sampling: Sampling | None = None,
    *,
    threads: int = 1,
) -> Iterator[Rollout]:
    """Play episodes in lockstep, with one batched generation a round, each yielded as it ends.

    A failing model server or simulator ends only its own episode, which is recorded as failed
    and not scored.

    Args:
        jobs: The episodes.
        backbone: The model, if an agent needs one.
        sampling: Sampling parameters; greedy by default.
        threads: Number of agents and environments that work at once, for those that wait for a
            process of their own. With 1 everything runs in the caller's thread.

    Raises:
        ConfigurationError: An agent needs a backbone and there is none, or an environment is
            not a :class:`~agemem.agents.base.RolloutEnv`.
    """
    with _mapper(threads) as map_:
        live: list[_Live] = []
        for started in map_(_start, range(len(jobs)), jobs):
            if isinstance(started, Rollout):
                yield started
            else:
                live.append(started)
        while live:
            going: list[_Live] = []
            outcomes = _round(live, backbone, sampling or Sampling(), map_)
            for one, outcome in zip(live, outcomes, strict=True):
                if outcome is None:
                    going.append(one)
                else:
                    yield outcome
            live = going


@contextmanager
def _mapper(threads: int) -> Iterator[Any]:
    """``map``, in this thread or in several; results are in the order of the arguments."""
    if threads <= 1:
        yield map
        return
    with ThreadPoolExecutor(threads) as pool:
        yield pool.map


def _start(index: int, job: Job) -> _Live | Rollout:
    env = _unwrapped(job.env)
    options = None if job.task_id is None else {"task_id": job.task_id}
    try:
        observation, info = job.env.reset(seed=job.seed, options=options)
        job.agent.begin(env, job.seed)
    except Exception as error:  # simulators raise anything; one bad episode is data
        return Rollout(index, _stillborn(env, job, error), (), ())
    return _Live(index, job, env, observation, info)


def _unwrapped(env: gym.Env[str, str] | RolloutEnv) -> RolloutEnv:
    inner = env.unwrapped if isinstance(env, gym.Env) else env
    if not isinstance(inner, RolloutEnv):
        raise ConfigurationError(
            f"{type(inner).__name__} cannot be played: it is not a RolloutEnv (agents/base.py)"
        )
    return inner


def _round(
    live: Sequence[_Live], backbone: Backbone | None, sampling: Sampling, map_: Any
) -> Iterator[Rollout | None]:
    """One round of every live episode: its rollout if it ended, else None."""
    decisions = list(map_(_act, live))
    requests = {
        one.index: Request(
            messages=decision,
            seed=(one.job.seed * _SEED_STRIDE + len(one.prompts)) % _SEED_RANGE,
            first=not any(one.prompts),
        )
        for one, decision in zip(live, decisions, strict=True)
        if not isinstance(decision, str | Exception)
    }
    if requests and backbone is None:
        raise ConfigurationError("the agent needs a backbone, and none was given")
    replies: dict[int, Completion | EndpointError] = {}
    if requests and backbone is not None:
        completions = backbone.generate(list(requests.values()), sampling)
        replies = dict(zip(requests, completions, strict=True))
    asked = [requests.get(one.index) for one in live]
    said = [replies.get(one.index) for one in live]
    yield from map_(_carry_out, live, decisions, asked, said)


def _carry_out(
    one: _Live,
    decision: Decision | Exception,
    asked: Request | None,
    reply: Completion | EndpointError | None,
) -> Rollout | None:
    """One episode's part of a round: its rollout if it ended, else None."""
    if isinstance(decision, PromptTooLongError) or isinstance(reply, PromptTooLongError):
        return _finish(one, one.env.overflow())
    if isinstance(decision, Exception):
        return _fail(one, StopReason.ENVIRONMENT_ERROR, decision)
    if isinstance(reply, EndpointError):
        return _fail(one, StopReason.ENDPOINT_ERROR, reply)
    one.prompts.append(asked)
    one.completions.append(reply)
    if reply is not None:
        return _step(one, reply.text)
    assert isinstance(decision, str), "a prompt has a reply"
    return _step(one, decision)


def _act(one: _Live) -> Decision | Exception:
    """The agent's decision, or the error that it raised: reference agents call the simulator."""
    try:
        return one.job.agent.act(one.observation, one.info)
    except ConfigurationError:
        raise
    except Exception as error:  # simulators raise anything
        return error


def _step(one: _Live, action: str) -> Rollout | None:
    try:
        one.observation, _, terminated, truncated, one.info = one.job.env.step(action)
    except EndpointError as error:  # an LLM summarizer's server
        return _fail(one, StopReason.ENDPOINT_ERROR, error)
    except Exception as error:  # simulators raise anything
        return _fail(one, StopReason.ENVIRONMENT_ERROR, error)
    return _finish(one, one.info["episode"]) if terminated or truncated else None


def _fail(one: _Live, reason: StopReason, error: Exception) -> Rollout:
    try:
        episode = one.env.record()
    except Exception:  # the process that held the environment is gone, and its record with it
        return Rollout(one.index, _stillborn(one.env, one.job, error), (), ())
    return _finish(one, replace(episode, stop_reason=reason, errors=(_describe(error),)))


def _finish(one: _Live, episode: Episode) -> Rollout:
    """Add the backbone's token counts and times to the steps of the record."""
    steps = tuple(
        replace(
            step,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            seconds=completion.seconds,
        )
        if completion is not None
        else step
        for step, completion in zip(episode.steps, one.completions, strict=False)
    )
    metrics = {**episode.metrics, **one.job.agent.metrics()}
    if one.job.agent.uses_backbone:
        metrics["model_calls"] = float(sum(reply is not None for reply in one.completions))
    complete = replace(episode, steps=steps, metrics=metrics)
    return Rollout(one.index, complete, tuple(one.prompts), tuple(one.completions))


def _stillborn(env: RolloutEnv, job: Job, error: Exception) -> Episode:
    """The record of an episode that could not begin."""
    return Episode.unplayed(
        env_id=env.env_id,
        task_id=job.task_id or "",
        seed=job.seed,
        source=env.source,
        settings=env.settings(),
        error=_describe(error),
    )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
