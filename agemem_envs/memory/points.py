"""Collections of Qdrant: in this process, on a server, or in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from agemem_envs.encoders import Vectors

EXACT = 20_000
"""Up to this number of writes, a search compares all vectors; beyond it, HNSW may miss some."""
LINKS = 16
"""Edges of a node in the HNSW graph (m), and Qdrant's default."""
BUILD_WIDTH = 100
"""Candidates in the construction of the graph (ef_construct), and Qdrant's default."""
SEARCH_WIDTH = 128
"""Candidates in a search of the graph (ef)."""
PAGE = 1_000
"""Points that are read at once."""


class Points(Protocol):
    """One collection: vectors by key, each with a text and tags.

    ``QdrantStore`` uses it, and gives it unit vectors, positive keys, and texts and tags of ASCII.
    """

    def put(self, key: int, vector: Vectors, text: str, tags: Sequence[str]) -> None:
        """Add a point, or replace it."""

    def remove(self, key: int) -> None:
        """Remove a point."""

    def texts(self, keys: Iterable[int]) -> dict[int, Any]:
        """The texts of some points; those that do not exist are left out."""

    def nearest(
        self, vector: Vectors, limit: int, tags: Sequence[str] = ()
    ) -> list[tuple[int, float]]:
        """The keys and cosine similarities of the points nearest to a vector, best first.

        Args:
            vector: A vector.
            limit: Most points.
            tags: Only points that have all of these.
        """

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """All points, each with its text, by ascending key."""

    def clear(self) -> None:
        """Remove all points."""

    def close(self, *, delete: bool) -> None:
        """Release the collection. Delete it first if that is wanted."""


def kilobytes(vectors: int, dim: int) -> int:
    """The size of some float32 vectors, in the unit of Qdrant's thresholds."""
    return vectors * dim * 4 // 1024
