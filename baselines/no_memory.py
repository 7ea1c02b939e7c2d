"""No memory: what the backbone alone can do with what is left in its context."""

from __future__ import annotations

from typing import ClassVar

from agemem.baselines.base import TOP_K, MemorySystem


class NoMemory(MemorySystem):
    """Stores and recalls nothing."""

    name: ClassVar[str] = "no-memory"

    def reset(self) -> None:
        """Nothing to forget."""

    def observe(self, text: str) -> None:
        """Nothing is stored."""

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """Nothing."""
        return []

    def memories(self) -> list[str]:
        """Nothing."""
        return []
