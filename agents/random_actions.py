"""The random agent: well-formed actions, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agemem.agents.base import Agent, RolloutEnv, memory_env
from agemem_envs.spaces import sample_action
from agemem_envs.stages import Stage
from agemem_envs.turns import Turn, render


class RandomAgent(Agent):
    """Calls tools and answers at random; in a world, it takes random admissible actions."""

    def begin(self, env: RolloutEnv, seed: int) -> None:
        """Seed the agent's own generator."""
        self._env = memory_env(env)
        self._tools = tuple(self._env.tools)
        self._generator = np.random.default_rng(seed)

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        """A random action."""
        state, task = self._env.state, self._env.task
        if state is not None and state.stage is Stage.REASONING and task.interactive:
            actions = sorted(task.admissible_actions())
            if actions and self._generator.random() < 0.5:
                action = actions[int(self._generator.integers(len(actions)))]
                return render(Turn("I act.", answer=action))
        return sample_action(self._generator, self._tools)
