"""What a seat of a worker plays with: an agent, and the environment of one benchmark at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import cast

import gymnasium as gym

from agemem.agents.base import Agent
from agemem.agents.rollout import Job, Seat
from agemem.eval.runs.plan import Planned
from agemem_envs.env import MemoryEnv
from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.episode import DataSource

_CLOSE_SECONDS = 1.0
"""Time that an episode in progress gets when a run is interrupted."""


class Place:
    """The agent and the environment of a seat, made and used in its thread alone.

    Args:
        make_agent: Makes the agent.
        make_env: Makes an environment from its id.

    Attributes:
        seat: The seat.
    """

    def __init__(
        self, make_agent: Callable[[], Agent], make_env: Callable[[str], gym.Env[str, str]]
    ) -> None:
        self.seat: Seat[Planned] = Seat(self._prepare)
        self._make_agent = make_agent
        self._make_env = make_env
        self._agent: Agent | None = None
        self._env: gym.Env[str, str] | None = None
        self._env_id = ""

    def describe(self, env_id: str) -> tuple[DataSource, EpisodeSettings]:
        """The data source and the settings of an environment.

        Raises:
            AgeMemError: The agent or the environment cannot be made.
        """
        return self.seat.thread.submit(self._describe, env_id).result()

    def _describe(self, env_id: str) -> tuple[DataSource, EpisodeSettings]:
        self._set_up(env_id)
        env = cast(MemoryEnv, cast(gym.Env[str, str], self._env).unwrapped)
        return env.source, env.settings()

    def _prepare(self, planned: Planned) -> Job:
        agent, env = self._set_up(planned.env_id)
        return Job(env, agent, planned.seed, planned.task_id)

    def _set_up(self, env_id: str) -> tuple[Agent, gym.Env[str, str]]:
        if self._agent is None:
            self._agent = self._make_agent()
        if self._env is None or self._env_id != env_id:
            if self._env is not None:
                self._env.close()
            self._env, self._env_id = self._make_env(env_id), env_id
        return self._agent, self._env

    def close(self) -> None:
        """Release the agent and the environment. Calling it again has no effect."""
        closed: Future[None] = self.seat.thread.submit(self._close)
        self.seat.thread.shutdown()
        if closed in wait([closed], _CLOSE_SECONDS).not_done and closed.cancel():
            self._close()  # an episode is in progress there: this ends its simulator
        else:
            closed.result()

    def _close(self) -> None:
        for held in (self._agent, self._env):
            if held is not None:
                held.close()
        self._agent = self._env = None
