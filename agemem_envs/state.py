"""The state of one episode: the only thing that changes in an environment."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agemem_envs.context import Context
from agemem_envs.episode import Episode, Step, StopReason
from agemem_envs.memory.base import LongTermMemory, MemoryView
from agemem_envs.stages import Stage
from agemem_envs.tasks.base import Outcome, TaskSpec


@dataclass(slots=True)
class EpisodeState:
    """Everything that changes within an episode.

    Attributes:
        spec: The task.
        seed: As passed to ``reset``.
        rng: The episode's own generator.
        context: Short-term memory.
        memory: Long-term memory.
        view: The memory that is recorded and scored; None for ``memory``.
        stage: The current stage.
        message_index: Which message of stage 1 or 2 is being handled.
        rounds_here: Rounds spent on it, or on stage 3.
        task_actions: Environment actions carried out in stage 3.
        steps: The record so far.
        outcome: The last outcome of the task, if it was acted on.
        prediction: The last answer of stage 3.
        stop_reason: Why the episode ended, or None.
        episode: The complete record, once it ended.
    """

    spec: TaskSpec
    seed: int | None
    rng: np.random.Generator
    context: Context
    memory: LongTermMemory
    stage: Stage
    view: MemoryView | None = None
    message_index: int = 0
    rounds_here: int = 0
    task_actions: int = 0
    steps: list[Step] = field(default_factory=list)
    outcome: Outcome | None = None
    prediction: str | None = None
    stop_reason: StopReason | None = None
    episode: Episode | None = None
