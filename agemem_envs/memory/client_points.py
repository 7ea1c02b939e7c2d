"""A collection of Qdrant in this process or on a server, by qdrant-client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from agemem_envs.encoders import Vectors
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.memory.points import BUILD_WIDTH, EXACT, LINKS, PAGE, SEARCH_WIDTH, kilobytes


class ClientPoints:
    """A collection that qdrant-client reaches.

    In this process, every search is exact, and its time grows with the number of points. A server
    keeps vectors, graph and texts on disk, and builds the graph in the background.

    Args:
        location: ``":memory:"`` or a server's URL.
        collection: The collection's name; it is created if it does not exist.
        dim: Length of a vector.

    Raises:
        ConfigurationError: The server cannot be reached.
        MissingDependencyError: qdrant-client is not installed.
    """

    def __init__(self, location: str, collection: str, dim: int) -> None:
        qdrant = require("qdrant_client", extra="qdrant")
        self._models = qdrant.models
        self._is_local = location == ":memory:"
        self._collection = collection
        self._dim = dim
        try:
            self._client = qdrant.QdrantClient(location=location)
            if not self._client.collection_exists(collection):
                self._create()
        except (RuntimeError, OSError, ValueError, qdrant.http.exceptions.ApiException) as error:
            raise ConfigurationError(
                f"Qdrant cannot be opened at {location}: {str(error)[:200]}"
            ) from error

    def _create(self) -> None:
        models = self._models
        self._client.create_collection(
            self._collection,
            vectors_config=models.VectorParams(
                size=self._dim, distance=models.Distance.COSINE, on_disk=True
            ),
            hnsw_config=models.HnswConfigDiff(
                m=LINKS, payload_m=0, ef_construct=BUILD_WIDTH, on_disk=True
            ),
            optimizers_config=models.OptimizersConfigDiff(
                indexing_threshold=kilobytes(EXACT, self._dim)
            ),
            on_disk_payload=True,
        )
        if not self._is_local:
            index = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True)
            self._client.create_payload_index(self._collection, "tags", index, wait=True)

    def put(self, key: int, vector: Vectors, text: str, tags: Sequence[str]) -> None:
        """Add a point, or replace it."""
        payload = {"item": text, "tags": list(tags)}
        point = self._models.PointStruct(id=key, vector=vector.tolist(), payload=payload)
        self._client.upsert(self._collection, [point], wait=True)

    def remove(self, key: int) -> None:
        """Remove a point."""
        self._client.delete(self._collection, self._models.PointIdsList(points=[key]), wait=True)

    def texts(self, keys: Iterable[int]) -> dict[int, Any]:
        """The texts of some points; those that do not exist are left out."""
        found = self._client.retrieve(self._collection, list(keys), with_payload=True)
        return {int(point.id): point.payload["item"] for point in found}

    def nearest(
        self, vector: Vectors, limit: int, tags: Sequence[str] = ()
    ) -> list[tuple[int, float]]:
        """The keys and cosine similarities of the points nearest to a vector, best first."""
        models = self._models
        wanted = [models.FieldCondition(key="tags", match=models.MatchValue(value=t)) for t in tags]
        # In this process they have no effect, of which the client warns.
        width = models.SearchParams(hnsw_ef=max(SEARCH_WIDTH, limit), exact=limit > EXACT)
        response = self._client.query_points(
            self._collection,
            query=vector.tolist(),
            limit=limit,
            query_filter=models.Filter(must=wanted) if wanted else None,
            with_payload=False,
            search_params=None if self._is_local else width,
        )
        return [(int(point.id), float(point.score)) for point in response.points]

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """All points, each with its text, by ascending key."""
        offset = None
        while True:
            points, offset = self._client.scroll(
                self._collection, limit=PAGE, offset=offset, with_payload=True
            )
            yield from ((int(point.id), point.payload["item"]) for point in points)
            if offset is None:
                return

    def clear(self) -> None:
        """Remove all points."""
        self._client.delete_collection(self._collection)
        self._create()

    def close(self, *, delete: bool) -> None:
        """Release the collection. Delete it first if that is wanted."""
        if delete:
            self._client.delete_collection(self._collection)
        self._client.close()
