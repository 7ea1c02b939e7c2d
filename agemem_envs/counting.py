"""What the metrics of an episode count: named rules, as data.

An episode records the name of its rule, so that its metrics follow from the record alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agemem_envs.stages import Stage

CountingName = Literal["episode", "release"]
_ALL = frozenset(Stage)


@dataclass(frozen=True, slots=True)
class Counting:
    """What is counted.

    Attributes:
        token_stages: The stages whose model calls count in the prompt tokens.
        tool_stages: The stages whose tool calls count.
        judged_memories: How many memories memory quality judges: those most similar to the
            question. None for all. Their sentences are judged one by one in any case.
    """

    token_stages: frozenset[Stage] = _ALL
    tool_stages: frozenset[Stage] = _ALL
    judged_memories: int | None = None


COUNTINGS: dict[CountingName, Counting] = {
    "episode": Counting(),
    "release": Counting(
        token_stages=_ALL - {Stage.CONSTRUCTION},
        tool_stages=_ALL - {Stage.DISTRACTION},
        judged_memories=20,
    ),
}
"""The values of the setting ``counting``."""
