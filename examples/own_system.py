"""A memory system of your own in this process, on the tasks of a benchmark.

    python examples/own_system.py

It keeps the last few messages. examples/worker_system.py is one in a process of its own, and
examples/mcp_server.py one behind an MCP server. A package declares it under the entry point
``agemem.systems``; then ``agemem run`` knows it.
"""

import gymnasium as gym

import agemem_envs  # noqa: F401 - registers the environments
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.rollout import Job, rollout
from agemem.baselines.base import MemoryAgent, MemorySystem


class LastWords(MemorySystem):
    """Remembers the last messages, whatever they say."""

    name = "last-words"

    def reset(self) -> None:
        """Forget everything."""
        self._texts: list[str] = []

    def observe(self, text: str) -> None:
        """Keep a message."""
        self._texts = [*self._texts, text][-5:]

    def recall(self, query: str, top_k: int = 3) -> list[str]:
        """The last messages, for any query."""
        return self._texts[-top_k:]

    def memories(self) -> list[str]:
        """All messages that are kept."""
        return list(self._texts)


env = gym.make("AgeMem-SyntheticQA-v0", level="easy", facts=0, noise=0, updates=0, distractors=0)
for seed in range(3):
    (played,) = rollout([Job(env, MemoryAgent(LastWords()), seed)], ScriptedBackbone())
    episode = played.episode
    print(f"{episode.query}\n  {episode.prediction}, right: {episode.reference}; "
          f"memory quality {episode.metrics['memory_quality']:.2f}")  # fmt: skip
