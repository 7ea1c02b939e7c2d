"""What an agent is: something that decides, once a round, for one episode at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from agemem_envs.context import ChatMessages
from agemem_envs.env import MemoryEnv

Decision = str | ChatMessages
"""An action to take, or a prompt whose completion is the action."""


class Agent(ABC):
    """A policy for one environment. Its state is that of one episode.

    A deciding agent returns the action itself; an agent with a language model returns the
    prompt, so that the rollout can batch the calls of many episodes.
    """

    uses_backbone: ClassVar[bool] = False
    """Whether decisions are prompts for a language model."""
    tools: ClassVar[str | None] = None
    """The environment's tools that it is made for; None if any will do."""

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """A new episode begins; ``env`` was just reset.

        Scripted references read the task from ``env``; an agent that is evaluated must
        look at nothing but what :meth:`decide` is given.
        """

    def metrics(self) -> dict[str, float | None]:
        """What is to be recorded of the episode that ended, beside what it shows itself."""
        return {}

    def close(self) -> None:
        """Release what the agent holds. Calling it again has no effect."""

    @abstractmethod
    def decide(self, observation: str, info: Mapping[str, Any]) -> Decision:
        """What to do next, given what the environment returned last."""
