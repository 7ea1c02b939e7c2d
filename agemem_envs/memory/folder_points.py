"""A collection of Qdrant in a folder, by the engine that Qdrant Edge embeds in this process."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agemem_envs.encoders import Vectors
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.memory.points import BUILD_WIDTH, EXACT, LINKS, PAGE, SEARCH_WIDTH, kilobytes

SEGMENT = 10 * EXACT
"""Most points of one graph: larger graphs are searched faster, and take longer to merge."""


class FolderPoints:
    """A collection in a folder of its own: vectors, HNSW graphs and texts are on disk.

    The graphs are built when :data:`~agemem_envs.memory.points.EXACT` points were written since
    the last time, within the write, and at no other moment. So a collection with fewer writes is
    searched exactly, and its results are reproducible.

    Args:
        folder: Holds collections, each in a folder of its own.
        collection: The collection's name; it is created if it does not exist.
        dim: Length of a vector.

    Raises:
        ConfigurationError: The folder cannot be used, or the collection is in use or damaged.
        MissingDependencyError: qdrant-edge-py is not installed.
    """

    def __init__(self, folder: Path, collection: str, dim: int) -> None:
        self._edge = require("qdrant_edge", extra="qdrant")
        if (folder / "meta.json").exists():
            raise ConfigurationError(
                f"{folder} holds collections of qdrant-client's local mode, which are not read "
                "here: choose another folder"
            )
        if collection != Path(collection).name or collection in ("", ".."):
            raise ConfigurationError(f"a collection cannot be named {collection!r}")
        self._folder = folder / collection
        self._dim = dim
        try:
            self._shard = self._open()
        except Exception as error:  # the engine raises nothing more special
            raise ConfigurationError(
                f"Qdrant cannot be opened at {self._folder}: {str(error)[:200]}. A collection in a "
                "folder serves one store at a time; a server (http://host:6333) serves many."
            ) from error
        info = self._shard.info()
        self._fresh = max(0, info.points_count - info.indexed_vectors_count)

    @property
    def indexed(self) -> int:
        """The number of vectors in graphs, removed ones included."""
        return int(self._shard.info().indexed_vectors_count)

    def _open(self) -> Any:
        if self._folder.exists():
            return self._edge.EdgeShard.load(str(self._folder), self._config())
        self._folder.mkdir(parents=True)
        shard = self._edge.EdgeShard.create(str(self._folder), self._config())
        index = self._edge.KeywordIndexParams(memory=self._edge.Memory.Cold, enable_hnsw=False)
        shard.update(self._edge.UpdateOperation.create_field_index("tags", index))
        return shard

    def _config(self) -> Any:
        edge = self._edge
        # Mapped files both; the system may drop them from memory. Only the first are read ahead.
        cached, cold = edge.Memory.Cached, edge.Memory.Cold
        return edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(
                size=self._dim, distance=edge.Distance.Cosine, memory=cached
            ),
            hnsw_config=edge.HnswIndexConfig(
                m=LINKS,
                ef_construct=BUILD_WIDTH,
                full_scan_threshold=kilobytes(EXACT // 2, self._dim),
                memory=cached,
            ),
            payload_memory=cold,
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1,
                max_segment_size=kilobytes(SEGMENT, self._dim),
                indexing_threshold=kilobytes(EXACT // 2, self._dim),
            ),
        )

    def put(self, key: int, vector: Vectors, text: str, tags: Sequence[str]) -> None:
        """Add a point, or replace it."""
        point = self._edge.Point(key, vector.tolist(), {"item": text, "tags": list(tags)})
        self._shard.update(self._edge.UpdateOperation.upsert_points([point]))
        self._fresh += 1
        if self._fresh >= EXACT:
            self._shard.optimize()
            self._shard.flush()  # deletes the graphs and the log that are not needed any more
            self._fresh = 0

    def remove(self, key: int) -> None:
        """Remove a point."""
        self._shard.update(self._edge.UpdateOperation.delete_points([key]))

    def texts(self, keys: Iterable[int]) -> dict[int, Any]:
        """The texts of some points; those that do not exist are left out."""
        found = self._shard.retrieve(list(keys), with_payload=True, with_vector=False)
        return {point.id: point.payload["item"] for point in found}

    def nearest(
        self, vector: Vectors, limit: int, tags: Sequence[str] = ()
    ) -> list[tuple[int, float]]:
        """The keys and cosine similarities of the points nearest to a vector, best first."""
        edge = self._edge
        wanted = [edge.FieldCondition("tags", match=edge.MatchValue(tag)) for tag in tags]
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(vector.tolist()),
            filter=edge.Filter(must=wanted) if wanted else None,
            params=edge.SearchParams(hnsw_ef=max(SEARCH_WIDTH, limit), exact=limit > EXACT),
        )
        return [(point.id, point.score) for point in self._shard.query(request)]

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        """All points, each with its text, by ascending key."""
        offset = None
        while True:
            request = self._edge.ScrollRequest(limit=PAGE, offset=offset, with_payload=True)
            points, offset = self._shard.scroll(request)
            yield from ((point.id, point.payload["item"]) for point in points)
            if offset is None:
                return

    def clear(self) -> None:
        """Remove all points."""
        self._shard.close()
        shutil.rmtree(self._folder)
        self._shard = self._open()
        self._fresh = 0

    def close(self, *, delete: bool) -> None:
        """Release the collection. Delete it if that is wanted."""
        self._shard.close()
        if delete:
            shutil.rmtree(self._folder)
