"""The AgeMem agent: a language model that manages its own memory with the tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from agemem.agents.base import Agent
from agemem_envs.context import ChatMessages
from agemem_envs.episode import ToolCall
from agemem_envs.turns import Turn, render

EXAMPLES: tuple[tuple[str, Turn], ...] = (
    (
        "Did you know? Arvid Lund: Arvid Lund was born in Tarn in 1820.",
        Turn(
            "This may matter later, so I store it.",
            calls=(ToolCall("Add_memory", {"content": "Arvid Lund was born in Tarn in 1820."}),),
        ),
    ),
    (
        "<tool_response>\nAdd_memory: stored as m1\n</tool_response>",
        Turn("It is stored.", answer="Noted."),
    ),
    (
        "Answer this question: In which town was Arvid Lund born?",
        Turn(
            "I look in my memory first.",
            calls=(ToolCall("Retrieve_memory", {"query": "town where Arvid Lund was born"}),),
        ),
    ),
    (
        "<tool_response>\nRetrieve_memory: [m1] (0.81) Arvid Lund was born in Tarn in 1820.\n"
        "</tool_response>",
        Turn("The memory says Tarn.", answer="Tarn"),
    ),
)
"""A short episode that shows the protocol, for ``few_shot``."""


class AgeMemAgent(Agent):
    """Prompts the backbone with the visible context, unchanged.

    Args:
        few_shot: Insert :data:`EXAMPLES` after the system prompt. They cost prompt tokens,
            not context tokens, because the environment does not see them.
    """

    uses_backbone: ClassVar[bool] = True

    def __init__(self, few_shot: bool = False) -> None:
        self._examples: ChatMessages = []
        for user, turn in EXAMPLES if few_shot else ():
            self._examples.append({"role": "user", "content": user})
            self._examples.append({"role": "assistant", "content": render(turn)})

    def act(self, observation: str, info: Mapping[str, Any]) -> ChatMessages:
        """The context as chat messages, after the examples."""
        system, *rest = info["messages"]
        return [system, *(dict(example) for example in self._examples), *rest]
