"""Exact long-term memory: one matrix in this process, with stable ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agemem_envs.encoders import Encoder, Vectors, encode_queries, recorded_name
from agemem_envs.episode import MemoryItem
from agemem_envs.errors import DataFormatError
from agemem_envs.memory.base import (
    Hit,
    MemoryNotFoundError,
    Ranked,
    best_fitting,
    item_key,
    new_item,
    revised_item,
)
from agemem_envs.util.records import from_plain, to_plain


class MemoryStore:
    """Exact cosine search over one contiguous float32 matrix.

    The matrix doubles when full (add is amortised O(1)); a deleted row is filled with the
    last one (delete is O(1)). Hits are ordered by score, equal scores by age.

    Args:
        encoder: Embeds contents and queries.
        clock: Returns the timestamps; by default a counter of writes, so that equal
            histories give equal stores.
    """

    def __init__(self, encoder: Encoder, clock: Callable[[], float] | None = None) -> None:
        self.name = "exact"
        self.encoder = encoder
        self._clock = clock or self._count_writes
        self._next_key = 1
        self._matrix: Vectors = np.empty((0, encoder.dim), dtype=np.float32)
        self.clear()

    def _count_writes(self) -> float:
        self._writes += 1
        return float(self._writes)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[MemoryItem]:
        """The items in the order in which they were added."""
        return iter(list(self._items.values()))

    def get(self, memory_id: str) -> MemoryItem:
        """Return the item with this id.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        return self._items[self._key(memory_id)]

    def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        memory_type: str | None = None,
    ) -> MemoryItem:
        """Store a new item and return it with its id."""
        key = self._next_key
        item = new_item(key, content, metadata, memory_type, self._clock())
        self._append(key, item, self.encoder.encode([content])[0])
        return item

    def _append(self, key: int, item: MemoryItem, vector: Vectors) -> None:
        row = len(self._keys)
        if row == len(self._matrix):
            grown = np.empty((max(64, 2 * row), self.encoder.dim), dtype=np.float32)
            grown[:row] = self._matrix
            self._matrix = grown
        self._matrix[row] = vector
        self._keys.append(key)
        self._rows[key] = row
        self._items[key] = item
        self._next_key = max(self._next_key, key + 1)

    def update(
        self, memory_id: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> MemoryItem:
        """Replace content and embedding, and the metadata if new ones are given.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        key = self._key(memory_id)
        item = revised_item(self._items[key], content, metadata, self._clock())
        self._matrix[self._rows[key]] = self.encoder.encode([content])[0]
        self._items[key] = item
        return item

    def delete(self, memory_id: str) -> MemoryItem:
        """Remove an item and return it.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        key = self._key(memory_id)
        row = self._rows.pop(key)
        last = self._keys.pop()
        if last != key:
            self._matrix[row] = self._matrix[len(self._keys)]
            self._keys[row] = last
            self._rows[last] = row
        return self._items.pop(key)

    def search(
        self, query: str, top_k: int = 3, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Return the ``top_k`` items most similar to ``query``, best first, equal scores by age.

        Args:
            query: Free text.
            top_k: The most hits to return; below 1, none are returned.
            where: Return only items whose metadata (or ``memory_type``) equal these values.
        """
        size = len(self._keys)
        if size == 0 or top_k < 1:
            return []
        scores = self._matrix[:size] @ encode_queries(self.encoder, [query])[0]

        def nearest(limit: int) -> Ranked:
            return self._nearest(scores, limit)

        ranked = best_fitting(nearest, self._among, top_k, where) if where else nearest(top_k)
        return [Hit(self._items[key], -score) for score, key in ranked]

    def _nearest(self, scores: Vectors, top_k: int) -> Ranked:
        rows = np.arange(len(scores))
        if len(scores) > top_k:
            threshold = np.partition(scores, len(scores) - top_k)[len(scores) - top_k]
            rows = np.flatnonzero(scores >= threshold)  # more than top_k only if scores tie
        keys = (self._keys[row] for row in rows.tolist())
        return sorted(zip((-scores[rows]).tolist(), keys, strict=True))[:top_k]

    def _among(self, keys: Iterable[int]) -> dict[int, MemoryItem]:
        return {key: self._items[key] for key in keys}

    def clear(self) -> None:
        """Remove all items, and reset the ids and the write counter."""
        self._items: dict[int, MemoryItem] = {}
        self._keys: list[int] = []
        self._rows: dict[int, int] = {}
        self._next_key = 1
        self._writes = 0

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def save(self, path: str | Path) -> None:
        """Write all items to a JSON file (embeddings are rebuilt by :meth:`load`)."""
        state = {
            "encoder": self.encoder.name,
            "next_key": self._next_key,
            "writes": self._writes,
            "items": [to_plain(item) for item in self],
        }
        Path(path).write_text(json.dumps(state, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path, encoder: Encoder) -> MemoryStore:
        """Read the store that :meth:`save` wrote: the same items and ids, embedded by ``encoder``.

        Raises:
            DataFormatError: The file is not a saved store, or was made with another encoder.
        """
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
            items = [from_plain(MemoryItem, item) for item in state["items"]]
            keys = [int(item.id.removeprefix("m")) for item in items]
            next_key, writes, made_with = state["next_key"], state["writes"], state["encoder"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataFormatError(f"{path} is not a saved MemoryStore: {error}") from error
        if recorded_name(made_with) != encoder.name:
            raise DataFormatError(
                f"{path} was saved with encoder {made_with!r}, not {encoder.name!r}: "
                "similarities would change. Load it with the encoder that it was saved with."
            )
        store = cls(encoder)
        vectors = encoder.encode([item.content for item in items])
        for key, item, vector in zip(keys, items, vectors, strict=True):
            store._append(key, item, vector)
        store._next_key, store._writes = next_key, writes
        return store

    def _key(self, memory_id: str) -> int:
        key = item_key(memory_id)
        if key not in self._items:
            raise MemoryNotFoundError(f"no memory has the id {memory_id[:40]!r}")
        return key
