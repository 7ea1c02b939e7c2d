"""RAG: stores every message and retrieves the most similar ones."""

from __future__ import annotations

from typing import ClassVar

from agemem.baselines.base import TOP_K, MemorySystem
from agemem_envs.encoders import make_encoder
from agemem_envs.memory.store import MemoryStore


class RAG(MemorySystem):
    """Stores every message whole; recalls the top k by cosine of MiniLM embeddings.

    Args:
        encoder: One of the environment's encoders, shared within the process.
    """

    name: ClassVar[str] = "rag"

    def __init__(self, encoder: str = "minilm") -> None:
        super().__init__()
        self._store = MemoryStore(make_encoder(encoder))

    def reset(self) -> None:
        """Empty the store."""
        self._store.clear()

    def observe(self, text: str) -> None:
        """Store the message."""
        self._store.add(text)

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The ``top_k`` most similar messages."""
        return [hit.item.content for hit in self._store.search(query, top_k)]

    def memories(self) -> list[str]:
        """Every message."""
        return [item.content for item in self._store]
