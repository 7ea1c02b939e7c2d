"""Long-term memory in Qdrant: on disk or on a server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agemem_envs.encoders import Encoder, encode_queries
from agemem_envs.episode import MemoryItem
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.memory.base import (
    Hit,
    MemoryNotFoundError,
    item_key,
    matches,
    new_item,
    revised_item,
)
from agemem_envs.util.records import from_plain, to_plain


class QdrantStore:
    """A long-term memory in a Qdrant collection.

    Args:
        encoder: Embeds contents and queries.
        location: ``":memory:"``, a folder, or a server's URL.
        collection: The collection's name. An existing one is continued, another is created. None
            creates a temporary one, which :meth:`close` deletes.
        clock: Returns the timestamps; by default a counter of writes.

    Raises:
        ConfigurationError: The folder or server cannot be opened.
        MissingDependencyError: qdrant-client is not installed.
    """

    def __init__(
        self,
        encoder: Encoder,
        location: str = ":memory:",
        collection: str | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        qdrant = require("qdrant_client", extra="qdrant")
        self._models = qdrant.models
        self.name = "qdrant"
        self.encoder = encoder
        self._clock = clock or self._count_writes
        self._temporary = collection is None
        self._collection = collection or f"agemem-{uuid.uuid4().hex}"
        where = "url" if "://" in location else "path"
        arguments = {"location" if location == ":memory:" else where: location}
        try:
            self._client = qdrant.QdrantClient(**arguments)
            self._create()
        except (RuntimeError, OSError, qdrant.http.exceptions.ApiException) as error:
            raise ConfigurationError(
                f"Qdrant cannot be opened at {location}: {str(error)[:200]}. A folder serves one "
                "process and one store at a time; a server (http://host:6333) serves many."
            ) from error
        self._closed = False
        self._next_key = 1
        self._writes = 0
        for key, item in self._scroll():
            self._next_key = max(self._next_key, key + 1)
            self._writes = max(self._writes, int(item.updated_at or item.created_at))

    def _count_writes(self) -> float:
        self._writes += 1
        return float(self._writes)

    def _create(self) -> None:
        if not self._client.collection_exists(self._collection):
            self._client.create_collection(
                self._collection,
                vectors_config=self._models.VectorParams(
                    size=self.encoder.dim, distance=self._models.Distance.COSINE
                ),
            )

    def __len__(self) -> int:
        return int(self._client.count(self._collection, exact=True).count)

    def __iter__(self) -> Iterator[MemoryItem]:
        """The items in the order in which they were added."""
        return iter([item for _, item in sorted(self._scroll(), key=lambda pair: pair[0])])

    def _scroll(self) -> Iterator[tuple[int, MemoryItem]]:
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._collection, limit=1_000, offset=offset, with_payload=True
            )
            for point in points:
                yield int(point.id), from_plain(MemoryItem, point.payload["item"])
            if offset is None:
                return

    def get(self, memory_id: str) -> MemoryItem:
        """Return the item with this id.

        Raises:
            MemoryNotFoundError: No item has this id.
        """
        return self._find(memory_id)[1]

    def _find(self, memory_id: str) -> tuple[int, MemoryItem]:
        key = item_key(memory_id)
        if key >= 0:
            for point in self._client.retrieve(self._collection, [key]):
                return key, from_plain(MemoryItem, point.payload["item"])
        raise MemoryNotFoundError(f"no memory has the id {memory_id[:40]!r}")

    def _put(self, key: int, item: MemoryItem) -> MemoryItem:
        vector = self.encoder.encode([item.content])[0].tolist()
        payload = {"item": to_plain(item)}
        point = self._models.PointStruct(id=key, vector=vector, payload=payload)
        self._client.upsert(self._collection, [point], wait=True)
        return item

    def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        memory_type: str | None = None,
    ) -> MemoryItem:
        """Store a new item and return it with its id."""
        key, self._next_key = self._next_key, self._next_key + 1
        return self._put(key, new_item(key, content, metadata, memory_type, self._clock()))

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
        self._client.delete(self._collection, self._models.PointIdsList(points=[key]), wait=True)
        return item

    def search(
        self, query: str, top_k: int = 3, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Return the ``top_k`` items most similar to ``query``, best first, equal scores by age.

        Args:
            query: Free text.
            top_k: The most hits to return; below 1, none are returned.
            where: Return only items whose metadata (or ``memory_type``) equal these values, by
                Python's equality as in ``MemoryStore``. They are filtered here because
                Qdrant's filters do not support nested objects, floats and null.
        """
        if top_k < 1 or len(self) == 0:
            return []
        limit = len(self) if where else top_k
        response = self._client.query_points(
            self._collection,
            query=encode_queries(self.encoder, [query])[0].tolist(),
            limit=limit,
            with_payload=True,
        )
        hits = [
            (-float(point.score), int(point.id), from_plain(MemoryItem, point.payload["item"]))
            for point in response.points
        ]
        ranked = sorted((h for h in hits if not where or matches(h[2], where)), key=lambda h: h[:2])
        return [Hit(item, -score) for score, _, item in ranked[:top_k]]

    def clear(self) -> None:
        """Remove all items, and reset the ids and the write counter."""
        self._client.delete_collection(self._collection)
        self._create()
        self._next_key = 1
        self._writes = 0

    def close(self) -> None:
        """Close the client, and delete a temporary collection."""
        if self._closed:
            return
        self._closed = True
        if self._temporary:
            self._client.delete_collection(self._collection)
        self._client.close()
