"""The mutable state of one episode; nothing else in an environment changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agemem_envs.asking import Asking
from agemem_envs.context import Context
from agemem_envs.episode import Episode, Question, Step, StopReason
from agemem_envs.memory.base import LongTermMemory, MemoryView
from agemem_envs.stages import Stage
from agemem_envs.tasks.base import Outcome, TaskSpec


@dataclass(slots=True)
class EpisodeState:
    """Everything that changes within an episode.

    Attributes:
        spec: The task.
        seed: The seed passed to ``reset``, or None.
        rng: The random generator of the episode.
        context: The short-term memory.
        memory: The long-term memory.
        view: The memory that is recorded and scored instead of ``memory``, or None.
        stage: The current stage.
        message_index: Index of the current message of stage 1 or 2, or question of stage 3.
        actions_allowed: Most answers of stage 3: the action limit of an interactive world.
        rounds_allowed: Most rounds of stage 3, or of each of its questions.
        rounds_here: Rounds spent on the current message or question, or on stage 3.
        task_actions: Answers given in stage 3: the actions in an interactive world.
        steps: The steps so far.
        outcome: The task's outcome of the last answer of stage 3, or None.
        prediction: The last answer of stage 3, or None.
        stop_reason: Why the episode ended; None while it is in progress.
        episode: The complete record; None while the episode is in progress.
        asking: The questions of a task that asks several; None for any other task.
    """

    spec: TaskSpec
    seed: int | None
    rng: np.random.Generator
    context: Context
    memory: LongTermMemory
    stage: Stage
    actions_allowed: int
    rounds_allowed: int
    view: MemoryView | None = None
    message_index: int = 0
    rounds_here: int = 0
    task_actions: int = 0
    steps: list[Step] = field(default_factory=list)
    outcome: Outcome | None = None
    prediction: str | None = None
    stop_reason: StopReason | None = None
    episode: Episode | None = None
    asking: Asking | None = None

    @property
    def question(self) -> Question:
        """The question or goal in progress, and what answers it."""
        if self.asking is not None:
            return self.asking.current
        spec = self.spec
        return Question(spec.id, spec.query, spec.reference, spec.category, spec.gold_facts)
