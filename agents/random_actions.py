"""The random agent: well-formed actions, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agemem_envs.env import MemoryEnv
from agemem_envs.spaces import sample_action
from agents.base import Agent


class RandomAgent(Agent):
    """Calls tools and answers at random; in a world, it takes random admissible actions."""

    def begin(self, env: MemoryEnv, seed: int) -> None:
        """Start the agent's own generator."""
        self._tools = tuple(env.tools)
        self._generator = np.random.default_rng(seed)

    def decide(self, observation: str, info: Mapping[str, Any]) -> str:
        """A random action."""
        return sample_action(self._generator, self._tools)
