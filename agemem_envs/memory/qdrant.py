"""Long-term memory in Qdrant: in this process, in a folder or on a server."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agemem_envs.encoders import Encoder, Vectors, encode_queries
from agemem_envs.episode import MemoryItem
from agemem_envs.errors import DataFormatError
from agemem_envs.memory.base import (
    WIDER,
    Hit,
    MemoryNotFoundError,
    Ranked,
    best_fitting,
    item_key,
    new_item,
    revised_item,
)
from agemem_envs.memory.client_points import ClientPoints
from agemem_envs.memory.folder_points import FolderPoints
from agemem_envs.memory.points import EXACT, Points
from agemem_envs.memory.tags import tags_for, tags_of
from agemem_envs.util.records import from_plain, to_plain


class QdrantStore:
    """A long-term memory in a Qdrant collection.

    A store with at most :data:`~agemem_envs.memory.points.EXACT` writes compares a query with all
    vectors, so its results are exact and reproducible: an episode has far fewer. Beyond it, a
    folder or a server searches an HNSW graph, which may miss an item, and which another run may
    build differently.

    Args:
        encoder: Embeds contents and queries.
        location: ``":memory:"``, a folder, or a server's URL. In a folder and on a server, vectors,
            graph and contents are on disk. ``":memory:"`` compares all vectors at any size.
        collection: The collection's name. An existing one is continued, another is created. None
            creates a temporary one, which :meth:`close` deletes. One store at a time may use a
            collection.
        clock: Returns the timestamps; by default a counter of writes.

    Raises:
        ConfigurationError: The folder or server cannot be opened, or the collection is in use.
        DataFormatError: The collection was written by an earlier version.
        MissingDependencyError: qdrant-client, or for a folder qdrant-edge-py, is not installed.
    """

    def __init__(
        self,
        encoder: Encoder,
        location: str = ":memory:",
        collection: str | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.name = "qdrant"
        self.encoder = encoder
        self._clock = clock or self._count_writes
        self._temporary = collection is None
        name = f"agemem-{uuid.uuid4().hex}" if collection is None else collection
        self._points = open_points(location, name, encoder.dim)
        self._closed = False
        self._count = 0
        self._next_key = 1
        self._writes = 0
        for key, text in () if self._temporary else self._points:
            item = _decoded(text)
            self._count += 1
            self._next_key = max(self._next_key, key + 1)
            self._writes = max(self._writes, int(item.updated_at or item.created_at))

    def _count_writes(self) -> float:
        self._writes += 1
        return float(self._writes)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[MemoryItem]:
        """The items in the order in which they were added."""
        return iter([_decoded(text) for _, text in self._points])

    def get(self, memory_id: str) -> MemoryItem:
        """Return the item with this id.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        return self._find(memory_id)[1]

    def _find(self, memory_id: str) -> tuple[int, MemoryItem]:
        key = item_key(memory_id)
        found = self._items([key]) if key >= 0 else {}
        if key not in found:
            raise MemoryNotFoundError(f"no memory has the id {memory_id[:40]!r}")
        return key, found[key]

    def _items(self, keys: Iterable[int]) -> dict[int, MemoryItem]:
        return {key: _decoded(text) for key, text in self._points.texts(keys).items()}

    def _put(self, key: int, item: MemoryItem) -> MemoryItem:
        vector = self.encoder.encode([item.content])[0]
        self._points.put(key, vector, _encoded(item), tags_of(item))
        return item

    def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        memory_type: str | None = None,
    ) -> MemoryItem:
        """Store a new item and return it with its id."""
        key, self._next_key = self._next_key, self._next_key + 1
        item = self._put(key, new_item(key, content, metadata, memory_type, self._clock()))
        self._count += 1
        return item

    def update(
        self, memory_id: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> MemoryItem:
        """Replace content and embedding, and the metadata if new ones are given.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        key, old = self._find(memory_id)
        return self._put(key, revised_item(old, content, metadata, self._clock()))

    def delete(self, memory_id: str) -> MemoryItem:
        """Remove an item and return it.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        key, item = self._find(memory_id)
        self._points.remove(key)
        self._count -= 1
        return item

    def search(
        self, query: str, top_k: int = 3, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Return the ``top_k`` items most similar to ``query``, best first, equal scores by age.

        Args:
            query: Free text.
            top_k: The most hits to return; below 1, none are returned.
            where: Return only items whose metadata (or ``memory_type``) equal these values, by
                Python's equality as in ``MemoryStore``. Qdrant's filters do not support nested
                objects, floats and null, so it selects by tags, and values are compared here.
        """
        if top_k < 1 or self._count == 0:
            return []
        vector = encode_queries(self.encoder, [query])[0]
        tags = tags_for(where or {})

        def nearest(limit: int) -> Ranked:
            return self._nearest(vector, limit, tags)

        ranked = best_fitting(nearest, self._items, top_k, where) if where else nearest(top_k)
        items = self._items(key for _, key in ranked)
        return [Hit(items[key], -score) for score, key in ranked]

    def _nearest(self, vector: Vectors, top_k: int, tags: Sequence[str]) -> Ranked:
        limit = top_k
        while True:
            limit += 1
            found = self._points.nearest(vector, limit, tags)
            ranked = sorted((-score, key) for key, score in found)
            # Without a worse one at the end, older items with the last score may be missing.
            if len(ranked) < limit or limit > EXACT or ranked[-1][0] > ranked[top_k - 1][0]:
                return ranked[:top_k]
            limit *= WIDER

    def clear(self) -> None:
        """Remove all items, and reset the ids and the write counter."""
        self._points.clear()
        self._count = 0
        self._next_key = 1
        self._writes = 0

    def close(self) -> None:
        """Release the collection, and delete a temporary one."""
        if self._closed:
            return
        self._closed = True
        self._points.close(delete=self._temporary)


def open_points(location: str, collection: str, dim: int) -> Points:
    """Open or create a collection at a location, as :class:`QdrantStore` describes it."""
    if location == ":memory:" or "://" in location:
        return ClientPoints(location, collection, dim)
    return FolderPoints(Path(location), collection, dim)


def _encoded(item: MemoryItem) -> str:
    """The item as ASCII, in which lone surrogates and large numbers survive."""
    return json.dumps(to_plain(item))


def _decoded(text: Any) -> MemoryItem:
    if not isinstance(text, str):
        raise DataFormatError(
            "the collection was written by an earlier version, and its items have no tags: add "
            "them to a new collection"
        )
    return from_plain(MemoryItem, json.loads(text))
