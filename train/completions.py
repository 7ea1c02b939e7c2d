"""The table of completions, a row for each step of a round: TRL writes it, and sends it on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.agents.rollout import Rollout


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A step of a trajectory.

    Attributes:
        prompt: The messages that the model read.
        completion: What it wrote.
        reward: The trajectory's total reward; None if it has no score.
        advantage: The trajectory's; NaN if it has no score.
        task_id: Its task.
        trajectory: Its number in the round, from 0.
        stage: The stage of the step, 1 to 3.
    """

    prompt: list[dict[str, str]]
    completion: str
    reward: float | None
    advantage: float
    task_id: str
    trajectory: int
    stage: int


def completion_rows(
    played: Sequence[Rollout], advantages: Sequence[float], first: int
) -> list[CompletionRow]:
    """The rows of this process's trajectories.

    Args:
        played: The trajectories.
        advantages: One for each.
        first: The number of the first one among those of all processes.
    """
    rows = []
    for index, (one, advantage) in enumerate(zip(played, advantages, strict=True)):
        episode = one.episode
        reward = None if episode.reward is None else episode.reward.total
        steps = zip(one.prompts, one.completions, episode.steps, strict=False)
        rows += [
            CompletionRow(
                prompt=[dict(message) for message in request.messages],
                completion=completion.text,
                reward=reward,
                advantage=advantage,
                task_id=episode.task_id,
                trajectory=first + index,
                stage=int(step.stage),
            )
            for request, completion, step in steps
            if request is not None and completion is not None
        ]
    return rows


def completion_table(rows: Iterable[CompletionRow]) -> dict[str, Any]:
    """The rows in the form from which TRL makes its table."""
    table: dict[str, Any] = {
        "prompt": [],
        "completion": [],
        "images": [],
        "advantages": [],
        "rewards": defaultdict(list),
        "extra": defaultdict(list),
    }
    for row in rows:
        table["prompt"].append(row.prompt)
        table["completion"].append(row.completion)
        table["advantages"].append(row.advantage)
        table["rewards"]["reward"].append(row.reward)
        for name in ("task_id", "trajectory", "stage"):
            table["extra"][name].append(getattr(row, name))
    return table
