"""Vectors that were encoded before, by any process of this user, on disk."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from agemem_envs.encoders.base import Encoder, Vectors, encode_queries, is_two_sided
from agemem_envs.util.paths import cache_folder
from agemem_envs.util.sqlite import SharedDatabase

LIMIT = 2 * 1024**3
"""Largest size of the file in bytes, apart from its log: about a million vectors of MiniLM."""
_PRUNED = 10
"""One of so many rows is dropped when the file is full: the oldest."""
_AT_ONCE = 500
"""Most keys of one query."""
_TABLES = """
CREATE TABLE IF NOT EXISTS encoders (
    arithmetic TEXT PRIMARY KEY, dim INTEGER NOT NULL, two_sided INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS servers (
    model TEXT NOT NULL, fingerprint TEXT NOT NULL, vectors BLOB NOT NULL);
"""
REMEDY = "Delete it, set AGEMEM_CACHE to another folder, or pass --no-vector-cache."


def default_file() -> Path:
    """``vectors.sqlite3`` in :func:`~agemem_envs.util.paths.cache_folder`."""
    return cache_folder() / "vectors.sqlite3"


class VectorCache:
    """A file of vectors: the bytes that encoders gave.

    Processes and threads share it. A row that was damaged counts as missing. When the file reaches
    its limit, the tenth of the vectors that was written first is dropped.

    Args:
        file: The file, by default :func:`default_file`. It is created with its folder.
        limit: Largest size in bytes.

    Raises:
        ConfigurationError: The file cannot be opened or created, or is not a cache.
    """

    def __init__(self, file: Path | None = None, limit: int = LIMIT) -> None:
        self.limit = limit
        self._shared = SharedDatabase(file or default_file(), _TABLES, REMEDY)
        self.file = self._shared.file

    def get(self, keys: Sequence[bytes], dim: int) -> dict[bytes, Vectors]:
        """The vectors of length ``dim`` that are stored under these keys.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        found: dict[bytes, Vectors] = {}
        with self._shared.reading() as database:
            for some in _parts(keys):
                marks = ",".join("?" * len(some))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
                for key, data in database.execute(query, some):
                    vector = _read(data, dim)
                    if vector is not None:
                        found[key] = vector
        return found

    def put(self, vectors: Mapping[bytes, Vectors]) -> None:
        """Store vectors, in one transaction.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        rows = [(key, _written(vector)) for key, vector in vectors.items()]
        with self._shared.writing() as database:
            database.executemany("REPLACE INTO vectors (key, vector) VALUES (?, ?)", rows)
            if _size(database) > self.limit:
                _prune(database)

    def shape(self, arithmetic: str) -> tuple[int, bool] | None:
        """The length of an encoder's vectors and whether it is two-sided, if it is known."""
        query = "SELECT dim, two_sided FROM encoders WHERE arithmetic = ?"
        with self._shared.reading() as database:
            row = database.execute(query, (arithmetic,)).fetchone()
        return (int(row[0]), bool(row[1])) if row else None

    def keep_shape(self, arithmetic: str, dim: int, two_sided: bool) -> None:
        """Store what :meth:`shape` returns."""
        row = (arithmetic, dim, two_sided)
        with self._shared.writing() as database:
            database.execute("REPLACE INTO encoders VALUES (?, ?, ?)", row)

    def same_server(self, model: str, fingerprint: str, vectors: Vectors, most: float) -> str:
        """The fingerprint of the first server of a model that gave about the same vectors.

        If there is none, this one is stored as the first.

        Args:
            model: The model's name on the server.
            fingerprint: The fingerprint by the vectors alone.
            vectors: The vectors of the probe texts.
            most: Largest distance of two vectors of the same text.
        """
        query = "SELECT fingerprint, vectors FROM servers WHERE model = ? ORDER BY rowid"
        with self._shared.writing() as database:
            for known, data in database.execute(query, (model,)).fetchall():
                stored = _read(data, vectors.size)
                if stored is not None and _distance(stored, vectors) <= most:
                    return str(known)
            row = (model, fingerprint, _written(vectors.ravel()))
            database.execute("INSERT INTO servers VALUES (?, ?, ?)", row)
        return fingerprint


class StoredEncoder:
    """An encoder whose vectors are kept in a :class:`VectorCache`.

    It is loaded when it must encode a text: a run whose vectors are all known loads no model.

    Args:
        name: The encoder's name.
        arithmetic: All that the bytes of a vector depend on, apart from its text.
        load: Makes the encoder.
        cache: The cache.
    """

    def __init__(
        self, name: str, arithmetic: str, load: Callable[[], Encoder], cache: VectorCache
    ) -> None:
        self.name = name
        self._arithmetic = arithmetic
        self._load = load
        self._cache = cache
        self._loading = threading.Lock()
        self._encoder: Encoder | None = None
        shape = cache.shape(arithmetic)
        if shape is None:
            encoder = self._loaded()
            shape = encoder.dim, is_two_sided(encoder)
            cache.keep_shape(arithmetic, *shape)
        self.dim, self.two_sided = shape

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""
        return self._rows(texts, "content", lambda new: self._loaded().encode(new))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode the queries of a search, in the same form as :meth:`encode`."""
        kind = "query" if self.two_sided else "content"
        return self._rows(texts, kind, lambda new: encode_queries(self._loaded(), new))

    def _rows(
        self, texts: Sequence[str], kind: str, encode: Callable[[list[str]], Vectors]
    ) -> Vectors:
        keys = [self._key(text, kind) for text in texts]
        vectors = self._cache.get(keys, self.dim)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        if new:
            made = dict(zip(new, encode(list(new.values())), strict=True))
            self._cache.put(made)
            vectors |= made
        rows = [vectors[key] for key in keys]
        return np.stack(rows) if rows else np.empty((0, self.dim), dtype=np.float32)

    def _key(self, text: str, kind: str) -> bytes:
        whole = f"{self._arithmetic}\0{kind}\0{text}"
        return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()

    def _loaded(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder


def _parts(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]


def _written(vector: Vectors) -> bytes:
    """A vector's bytes, followed by their checksum."""
    data = vector.astype("<f4").tobytes()
    return data + zlib.crc32(data).to_bytes(4, "little")


def _read(stored: object, dim: int) -> Vectors | None:
    """The vector that was written, or None if the bytes are damaged."""
    if not isinstance(stored, bytes) or len(stored) != 4 * dim + 4:
        return None
    data, checksum = stored[:-4], stored[-4:]
    if zlib.crc32(data).to_bytes(4, "little") != checksum:
        return None
    return np.frombuffer(data, dtype="<f4").astype(np.float32, copy=False)


def _size(database: sqlite3.Connection) -> int:
    """The bytes in use: the file keeps the pages of dropped rows for new ones."""
    values = [
        int(database.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    ]
    return (values[0] - values[1]) * values[2]


def _prune(database: sqlite3.Connection) -> None:
    count = database.execute("SELECT COUNT(*) FROM vectors").fetchone()[0]
    oldest = "SELECT id FROM vectors ORDER BY id LIMIT ?"
    dropped = max(1, count // _PRUNED)
    database.execute(f"DELETE FROM vectors WHERE id IN ({oldest})", (dropped,))


def _distance(one: Vectors, other: Vectors) -> float:
    """The largest distance of two vectors of the same text."""
    both = one.reshape(other.shape) - other
    return float(np.linalg.norm(both, axis=1).max())
