"""The rollouts of one training round: K trajectories of each task, from identical state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.agents.backbones.base import Completion
from agemem.agents.base import Agent, RolloutEnv
from agemem.agents.rollout import Job, Rollout, rollout
from agemem.train.policy import PolicyBackbone
from agemem.train.samples import Sample
from agemem_envs.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class RolloutPool:
    """The environments and agents that play this process's trajectories.

    Attributes:
        envs: At least as many as this process has trajectories in a round.
        agents: One for each environment.
        begin: Called before each round.
    """

    envs: Sequence[RolloutEnv]
    agents: Sequence[Agent]
    begin: Callable[[], None] = lambda: None

    def play(self, rows: Sequence[dict[str, Any]], policy: PolicyBackbone) -> list[Rollout]:
        """Play one trajectory for each row.

        Args:
            rows: Each with ``task_id`` and ``seed``. Equal rows are a group: its trajectories
                begin from identical state, and differ only by what the policy samples.
            policy: The model under training.

        Returns:
            The trajectories, in the order of the rows.

        Raises:
            ConfigurationError: There are more rows than environments.
        """
        if len(rows) > len(self.envs):
            raise ConfigurationError(
                f"a round of {len(rows)} trajectories needs as many environments, "
                f"got {len(self.envs)}"
            )
        self.begin()
        jobs = [
            Job(env, agent, int(row["seed"]), str(row["task_id"]))
            for row, env, agent in zip(rows, self.envs, self.agents, strict=False)
        ]
        played = list(rollout(jobs, policy))
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
        size = len(self.envs)
        starts = range(0, most, size)
        return [one for start in starts for one in self.play(rows[start : start + size], policy)]


def sampled_steps(trajectory: Rollout) -> list[Completion]:
    """The steps of a trajectory that can be trained on: those with sampled tokens."""
    return [one for one in trajectory.completions if one is not None and one.completion_ids]


def samples_of(trajectory: Rollout, advantage: float, weight: float) -> list[Sample]:
    """One sample for each of the trajectory's :func:`sampled_steps`.

    Args:
        trajectory: Played by the policy under training, which keeps the token ids.
        advantage: The trajectory's.
        weight: Of each of its steps in the loss.
    """
    samples = []
    for step in sampled_steps(trajectory):
        assert step.prompt_ids is not None, "the policy keeps the ids"
        assert step.completion_ids is not None
        samples.append(
            Sample(step.prompt_ids, step.completion_ids, step.logprobs, advantage, weight)
        )
    return samples
