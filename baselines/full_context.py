"""Full context: every prompt shows all messages; only the model's window limits it."""

from __future__ import annotations

from typing import ClassVar

from agemem.baselines.base import TOP_K, MemorySystem


class FullContext(MemorySystem):
    """Keeps every message and recalls all of them, in order, for any query.

    An upper bound of what a memory can recall, at the cost of the longest prompts. The prompt
    may outgrow the context budget or the model's window: unless a summary of the conversation
    makes room for all messages, the episode then ends as overflowed.
    """

    name: ClassVar[str] = "full-context"

    def reset(self) -> None:
        """Forget all messages."""
        self._texts: list[str] = []

    def observe(self, text: str) -> None:
        """Keep the message."""
        self._texts.append(text)

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """Every message, oldest first."""
        return list(self._texts)

    def memories(self) -> list[str]:
        """Every message."""
        return list(self._texts)
