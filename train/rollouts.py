"""The rollouts of one training round: K trajectories of each task, from identical state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.agents.base import Agent, RolloutEnv
from agemem.agents.rollout import Job, Rollout, rollout
from agemem.train.policy import PolicyBackbone
from agemem.train.samples import Sample
from agemem_envs.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Playground:
    """Where trajectories are played.

    Attributes:
        envs: Environments, as many as this process has trajectories in a round.
        agents: One for each.
        threads: How many of them work at once: 1 unless they have processes of their own.
        begin: Called before each round.
    """

    envs: Sequence[RolloutEnv]
    agents: Sequence[Agent]
    threads: int = 1
    begin: Callable[[], None] = lambda: None

    def play(self, rows: Sequence[dict[str, Any]], policy: PolicyBackbone) -> list[Rollout]:
        """Play one trajectory for each row.

        Args:
            rows: With ``task_id`` and ``seed``. Rows that repeat are a group: they begin from
                identical state, and differ by what the policy samples.
            policy: The model under training.

        Returns:
            The played trajectories, in the order of the rows.

        Raises:
            ConfigurationError: There are more rows than environments.
        """
        if len(rows) > len(self.envs):
            raise ConfigurationError(
                f"{len(rows)} trajectories a round need as many environments, not {len(self.envs)}"
            )
        self.begin()
        jobs = [
            Job(env, agent, int(row["seed"]), str(row["task_id"]))
            for row, env, agent in zip(rows, self.envs, self.agents, strict=False)
        ]
        played = list(rollout(jobs, policy, threads=self.threads))
        policy.finish()
        return sorted(played, key=lambda one: one.job)


def samples_of(played: Rollout, advantage: float, weight: float) -> list[Sample]:
    """Every model call of a trajectory as a sample."""
    samples = []
    for completion in played.completions:
        if completion is None or not completion.completion_ids:
            continue
        assert completion.prompt_ids is not None, "the policy keeps the ids"
        samples.append(
            Sample(
                completion.prompt_ids,
                completion.completion_ids,
                completion.logprobs,
                advantage,
                weight,
            )
        )
    return samples
