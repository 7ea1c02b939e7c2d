"""A benchmark of your own in one file: a task, and everything else comes with it.

    python examples/own_benchmark.py

A package declares it under the entry point ``agemem.benchmarks``; then ``agemem run`` knows it.
"""

import numpy as np

from agemem.agents.policies import POLICIES
from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import PolicyAgent
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import DataSource
from agemem_envs.errors import UnknownNameError
from agemem_envs.tasks.base import Fact, Outcome, Talk, Task, TaskSpec, choose_ids

CAPITALS = {"Norway": "Oslo", "Peru": "Lima", "Kenya": "Nairobi"}


class Capitals(Task):
    """Where is the seat of government? One fact is needed, the others are not."""

    name = "capitals"
    interactive = False

    def __init__(self, split: str = "test") -> None:
        self.source = DataSource("capitals", "embedded", split, "1", "example")

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """The tasks of an evaluation, in the order of the seed."""
        return choose_ids(sorted(CAPITALS), count, seed, "capitals")

    def sample_id(self, generator: np.random.Generator) -> str:
        """A task for ``env.reset``."""
        return str(generator.choice(sorted(CAPITALS)))

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin a task: what is told in stage 1, what distracts in stage 2, and the question."""
        if task_id not in CAPITALS:
            raise UnknownNameError("task id", task_id, CAPITALS)
        told = []
        for country, capital in CAPITALS.items():
            text = f"{country} is governed from {capital}."
            told.append(Fact(text, text if country == task_id else None))
        self._answer = CAPITALS[task_id]
        return TaskSpec(
            task_id,
            f"What is the capital of {task_id}?",
            tuple(map(Talk.of, told)),
            (Talk("Cheese is made of milk."),),
            self._answer,
            self.source,
        )

    def step(self, action: str) -> Outcome:
        """Take the final answer."""
        right = action.strip() == self._answer
        return Outcome("", float(right), right, done=True, score=None)


class Oracle(PolicyAgent):
    """Knows what will be asked. A task that it cannot solve is wrong, or needs no memory."""

    policy = POLICIES["oracle"]


class Forgetful(PolicyAgent):
    """The same without retrieval. A task that it solves does not measure memory."""

    policy = POLICIES["oracle-no-retrieval"]


env = MemoryEnv(Capitals())
for agent in (Oracle(), Forgetful()):
    for task_id in env.task.task_ids(None, 0):
        (played,) = rollout([Job(env, agent, seed=0, task_id=task_id)])
        episode = played.episode
        quality = episode.metrics["memory_quality"]
        print(
            f"{type(agent).__name__}: {episode.query} {episode.prediction}. "
            f"success={episode.success}, memory quality {quality:.2f}"
        )
