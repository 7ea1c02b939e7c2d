"""The three stages of a trajectory, and the plan of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from agemem_envs.errors import ConfigurationError, UnknownNameError


class Stage(IntEnum):
    """A stage of the trajectory (AgeMem, "three-stage progressive strategy")."""

    CONSTRUCTION = 1
    """Knowledge arrives message by message; the query is not known yet."""
    DISTRACTION = 2
    """The context was reset, the memory stays; irrelevant messages arrive."""
    REASONING = 3
    """The query arrives, on top of what stage 2 left in the context."""

    @property
    def ends_with_reset(self) -> bool:
        """Whether the context is reset to the system prompt when this stage ends."""
        return self is Stage.CONSTRUCTION


@dataclass(frozen=True, slots=True)
class StagePlan:
    """The stages of an episode, and the rounds that each may take. One round is one model call.

    Attributes:
        stages: In order, ending with ``Stage.REASONING``.
        rounds_per_message: Rounds that an agent may spend on one message of stages 1 and
            2. After the last one the next message arrives, answered or not.
        task_rounds: Rounds of stage 3; the episode is truncated after the last.
        task_actions: Most environment actions among the rounds of stage 3.
    """

    stages: tuple[Stage, ...]
    rounds_per_message: int
    task_rounds: int
    task_actions: int

    def __post_init__(self) -> None:
        for name in ("rounds_per_message", "task_rounds", "task_actions"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"{name} must be a positive integer, got {value!r}")


STAGE_SETS: dict[str, tuple[Stage, ...]] = {
    "full": (Stage.CONSTRUCTION, Stage.DISTRACTION, Stage.REASONING),
    "task": (Stage.REASONING,),
    "told": (Stage.CONSTRUCTION, Stage.REASONING),
}
"""Names for the ``stages`` argument. ``task`` is how AgentBoard runs its benchmarks, ``told`` how
the paper's released code evaluates question answering."""


def named_stages(name: str) -> tuple[Stage, ...]:
    """The stages of a named set.

    Raises:
        UnknownNameError: No set has this name.
    """
    if name not in STAGE_SETS:
        raise UnknownNameError("stages", name, STAGE_SETS)
    return STAGE_SETS[name]
