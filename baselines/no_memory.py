"""No memory: the backbone alone, with what is left in its context."""

from __future__ import annotations

from typing import ClassVar

from agemem.baselines.base import TOP_K, MemorySystem


class NoMemory(MemorySystem):
    """Stores and recalls nothing."""

    name: ClassVar[str] = "no-memory"

    def reset(self) -> None:
        """Do nothing."""

    def observe(self, text: str) -> None:
        """Do nothing."""

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """An empty list."""
        return []

    def memories(self) -> list[str]:
        """An empty list."""
        return []
