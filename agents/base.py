"""The interface of an agent, and of the environments that a rollout plays in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from agemem_envs.context import ChatMessages
from agemem_envs.env import MemoryEnv, Transition
from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.episode import DataSource, Episode
from agemem_envs.errors import ConfigurationError

Decision = str | ChatMessages
"""An action to take, or a prompt whose completion is the action."""


@runtime_checkable
class RolloutEnv(Protocol):
    """What a rollout asks of an environment.

    A :class:`~agemem_envs.env.MemoryEnv` provides it; so does a proxy of one that runs in
    another process. The semantics are those of ``MemoryEnv``.
    """

    @property
    def env_id(self) -> str:
        """The id under which its episodes are recorded."""

    @property
    def source(self) -> DataSource:
        """Where its tasks come from."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin an episode."""

    def step(self, action: str) -> Transition:
        """Carry out one action; the ``info`` of the last step has the ``episode``."""

    def record(self) -> Episode:
        """The episode so far, not scored."""

    def overflow(self) -> Transition:
        """End the episode, or one of several questions, as overflowed."""

    def settings(self) -> EpisodeSettings:
        """The settings that its results depend on."""


class Agent(ABC):
    """A policy for one environment. Its state is that of one episode.

    A scripted agent returns the action itself; an agent with a language model returns the
    prompt, so that the rollout can batch the calls of many episodes.

    An evaluated agent sees only what :meth:`act` is given. Of its environment it may use three
    methods: :meth:`MemoryEnv.recall` to search the memory, :meth:`MemoryEnv.show_recalled` to show
    memories to its model, and :meth:`MemoryEnv.use_memory` to have a memory of its own recorded and
    scored. Reference agents (the oracle, random actions)
    may read all of it: they measure a benchmark and do not compete.
    """

    uses_backbone: ClassVar[bool] = False
    """Whether :meth:`act` returns prompts for a language model."""
    tools: ClassVar[str | None] = None
    """The environment's tools that the agent is made for; None if any will do."""

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Begin an episode; ``env`` was just reset."""

    def metrics(self) -> dict[str, float | None]:
        """Further metrics of the episode that ended."""
        return {}

    def close(self) -> None:
        """Release what the agent holds. Calling it again has no effect."""

    @abstractmethod
    def act(self, observation: str, info: Mapping[str, Any]) -> Decision:
        """The next action or prompt, given what the environment returned last."""


def memory_env(env: RolloutEnv) -> MemoryEnv:
    """The environment as an agent that calls or reads it needs it.

    Raises:
        ConfigurationError: The environment runs in another process.
    """
    if not isinstance(env, MemoryEnv):
        raise ConfigurationError(
            f"the agent needs a MemoryEnv in its own process, not a {type(env).__name__}"
        )
    return env
