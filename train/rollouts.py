"""The rollouts of one training round: K trajectories of each task, from identical state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.agents.backbones.base import Completion
from agemem.agents.base import Agent, RolloutEnv
from agemem.agents.rollout import Job, Rollout, rollout
from agemem.train.policy import PolicyBackbone
from agemem.train.samples import Sample
from agemem_envs.errors import ConfigurationError


class Pool(ABC):
    """What plays this process's trajectories."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of trajectories that it can play at once."""

    @abstractmethod
    def prepare(self) -> None:
        """Prepare for a new round."""

    @abstractmethod
    def jobs(self, rows: Sequence[dict[str, Any]]) -> list[Job]:
        """The trajectory of each row.

        Raises:
            ConfigurationError: There are more rows than environments.
        """

    def play(self, rows: Sequence[dict[str, Any]], policy: PolicyBackbone) -> list[Rollout]:
        """Play one trajectory for each row.

        Args:
            rows: Each with ``task_id`` and ``seed``, in a mixture also ``env``. Equal rows are a
                group: its trajectories begin from identical state, and differ only by what the
                policy samples.
            policy: The model under training.

        Returns:
            The trajectories, in the order of the rows.

        Raises:
            ConfigurationError: There are more rows than environments.
        """
        self.prepare()
        played = list(rollout(self.jobs(rows), policy))
        policy.finish()
        return sorted(played, key=lambda one: one.job)

    def play_all(
        self, rows: Sequence[dict[str, Any]], policy: PolicyBackbone, most: int
    ) -> list[Rollout]:
        """Play one trajectory for each of any number of rows, as many at a time as fit.

        Args:
            rows: As in :meth:`play`.
            policy: The model under training.
            most: The largest number of rows of any process. All of them play equally often.
        """
        starts = range(0, most, self.size)
        parts = (rows[start : start + self.size] for start in starts)
        return [one for part in parts for one in self.play(part, policy)]


@dataclass(frozen=True, slots=True)
class RolloutPool(Pool):
    """The environments of one benchmark, and the agents that play them.

    Attributes:
        envs: At least as many as this process has trajectories in a round.
        agents: One for each environment.
        begin: Called before each round.
    """

    envs: Sequence[RolloutEnv]
    agents: Sequence[Agent]
    begin: Callable[[], None] = lambda: None

    @property
    def size(self) -> int:
        """The number of trajectories that it can play at once."""
        return len(self.envs)

    def prepare(self) -> None:
        """Prepare for a new round."""
        self.begin()

    def jobs(self, rows: Sequence[dict[str, Any]]) -> list[Job]:
        """The trajectory of each row, in an environment of its own.

        Raises:
            ConfigurationError: There are more rows than environments.
        """
        if len(rows) > self.size:
            raise ConfigurationError(
                f"a round of {len(rows)} trajectories needs as many environments, got {self.size}"
            )
        return [
            Job(env, agent, int(row["seed"]), str(row["task_id"]))
            for row, env, agent in zip(rows, self.envs, self.agents, strict=False)
        ]


@dataclass(frozen=True, slots=True)
class MixedPool(Pool):
    """A mixture of benchmarks: each row is played in the pool of its ``env``.

    Attributes:
        pools: The pool of each benchmark, by the id of its environment.
    """

    pools: Mapping[str, RolloutPool]

    @property
    def size(self) -> int:
        """The number of trajectories that each of them can play at once."""
        return min(pool.size for pool in self.pools.values())

    def prepare(self) -> None:
        """Prepare for a new round."""
        for pool in self.pools.values():
            pool.prepare()

    def jobs(self, rows: Sequence[dict[str, Any]]) -> list[Job]:
        """The trajectory of each row, in an environment of its own.

        Raises:
            ConfigurationError: A benchmark has more rows than environments.
        """
        made = {
            name: iter(pool.jobs([row for row in rows if row["env"] == name]))
            for name, pool in self.pools.items()
        }
        return [next(made[row["env"]]) for row in rows]


def sampled_steps(trajectory: Rollout, shared_stages: int = 0) -> list[Completion]:
    """The steps of a trajectory that can be trained on: those with sampled tokens.

    Args:
        trajectory: Played by the policy under training.
        shared_stages: Stages that its group played once, whose steps are left out.
    """
    return [
        completion
        for step, completion in zip(trajectory.episode.steps, trajectory.completions, strict=False)
        if completion is not None and completion.completion_ids and step.stage > shared_stages
    ]


def samples_of(
    trajectory: Rollout, advantage: float, weight: float, shared_stages: int = 0
) -> list[Sample]:
    """One sample for each of the trajectory's :func:`sampled_steps`.

    Args:
        trajectory: Played by the policy under training, which keeps the token ids.
        advantage: The trajectory's.
        weight: Of each of its steps in the loss.
        shared_stages: Stages that its group played once.
    """
    samples = []
    for step in sampled_steps(trajectory, shared_stages):
        assert step.prompt_ids is not None, "the policy keeps the ids"
        assert step.completion_ids is not None
        samples.append(
            Sample(step.prompt_ids, step.completion_ids, step.logprobs, advantage, weight)
        )
    return samples
