"""Collect episodes with any model on an OpenAI-compatible server.

    from agemem.agents.play import play

    episode = play("AgeMem-SyntheticQA-v0", task_id="synthetic-validation-7", seed=7,
                   base_url="http://localhost:8000/v1", model="Qwen/Qwen3-4B-Instruct-2507")
    print(episode.success, episode.reward.total)

Or from a shell: ``agemem play AgeMem-SyntheticQA-v0 --model M --base-url URL --episodes 64``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.agemem import AgeMemAgent
from agemem.agents.backbones.base import Sampling
from agemem.agents.backbones.openai_server import OpenAIBackbone
from agemem.agents.rollout import Job, Seat, play_task
from agemem_envs.episode import Episode
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.registration import ENVS
from agemem_envs.util import background
from agemem_envs.util.endpoint import ChatEndpoint

_SAMPLING = frozenset(field.name for field in dataclasses.fields(Sampling))
_OURS = frozenset({"messages", "model", "n", "seed", "stream"})
"""Fields of a request that the rollout determines."""


def play(
    env_id: str,
    task_id: str | None,
    seed: int,
    base_url: str,
    model: str,
    api_key: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    few_shot: bool = False,
    limits: Mapping[str, Any] | None = None,
    **sampling: Any,
) -> Episode:
    """Play one episode of the AgeMem agent with a model on a server.

    Calls from several threads are made at the same time. The episode is that of ``agemem run`` with
    the same task, seed and settings, up to the chance of the server. A failing server or simulator
    does not raise: it ends the episode unscored, with its reason in ``episode.errors``.

    Args:
        env_id: The id of an environment, such as ``"AgeMem-HotpotQA-v0"``.
        task_id: The task; None to draw one by the seed.
        seed: The seed of the environment's reset and of the sampling; at least 0.
        base_url: URL of the OpenAI-compatible server, up to and including ``/v1``. It gets the
            policy's calls alone: a judge or a summarizer has an address of its own in ``options``.
        model: The model's name on the server.
        api_key: API key of this server; by default ``$OPENAI_API_KEY``.
        options: Arguments of :func:`gymnasium.make`, such as ``{"protocol": "memory",
            "judge": "judge-model@http://localhost:8001/v1"}``.
        few_shot: Show the model a short worked example episode.
        limits: ``timeout`` (120 seconds), ``attempts`` (4) of a request, and ``in_flight`` (256),
            most requests to the server at a time.
        sampling: ``temperature`` (0), ``top_p`` (1) and ``max_tokens`` (2,048), and any other field
            of a request that the server knows, such as ``top_k=20``. With ``logprobs=True`` and
            ``return_token_ids=True`` a vLLM server returns its tokens and their log-probabilities,
            which ``episode.sampled`` then holds.

    Returns:
        The episode's complete record.

    Raises:
        UnknownNameError: There is no such environment.
        ConfigurationError: An option, the URL or a field of the request is not valid.
        MissingDependencyError: A library that the environment needs is not installed.
    """
    call = play_async(
        env_id,
        task_id,
        seed,
        base_url,
        model,
        api_key,
        options=options,
        few_shot=few_shot,
        limits=limits,
        **sampling,
    )
    return background.run(call)


async def play_async(
    env_id: str,
    task_id: str | None,
    seed: int,
    base_url: str,
    model: str,
    api_key: str | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    few_shot: bool = False,
    limits: Mapping[str, Any] | None = None,
    **sampling: Any,
) -> Episode:
    """:func:`play` for callers in an event loop, whichever it is."""
    if env_id not in ENVS:
        raise UnknownNameError("environment", env_id, ENVS)
    if refused := sorted(_OURS & sampling.keys()):
        raise ConfigurationError(f"{refused[0]!r} is not an argument of play: the rollout sets it")
    ours = {name: sampling.pop(name) for name in _SAMPLING & sampling.keys()}
    backbone = OpenAIBackbone(
        ChatEndpoint(model, base_url, api_key, **(limits or {})), extra=sampling
    )
    environments: list[gym.Env[str, str]] = []

    def prepare(seed: int) -> Job:
        environments.append(gym.make(env_id, **(options or {})))
        return Job(environments[0], AgeMemAgent(few_shot), seed, task_id)

    def close() -> None:  # in the seat's thread: after a call that was cancelled amid prepare, too
        for env in environments:
            env.close()

    seat: Seat[int] = Seat(prepare)
    try:
        return (await play_task(seed, seat, backbone, Sampling(**ours))).episode
    finally:
        seat.thread.submit(close)
        seat.thread.shutdown()
