"""Vectors that were encoded before, in the memory of this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from agemem_envs.encoders.base import Encoder, Vectors, encode_queries, is_two_sided

Key = tuple[str, bool]
"""A text, and whether it was encoded as a query."""


class CachedEncoder:
    """Encodes each distinct text once, and all new texts of a call in one batch.

    The least recently used vectors are dropped beyond ``capacity``, so that memory stays
    bounded over any number of episodes. Threads may share a cache.

    Args:
        encoder: Encodes the new texts.
        capacity: Most vectors to keep.
    """

    def __init__(self, encoder: Encoder, capacity: int = 65_536) -> None:
        self.name = encoder.name
        self.dim = encoder.dim
        self.two_sided = is_two_sided(encoder)
        self.capacity = capacity
        self._encoder = encoder
        self._cache: OrderedDict[Key, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""
        return self._rows([(text, False) for text in texts], self._encoder.encode)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode the queries of a search, in the same form as :meth:`encode`."""
        keys = [(text, self.two_sided) for text in texts]
        return self._rows(keys, lambda new: encode_queries(self._encoder, new))

    def _rows(self, keys: Sequence[Key], encode: Callable[[list[str]], Vectors]) -> Vectors:
        with self._lock:
            vectors = {key: self._cache[key] for key in keys if key in self._cache}
        new = [key for key in dict.fromkeys(keys) if key not in vectors]
        if new:  # outside the lock, so that a long batch does not block other threads
            vectors.update(zip(new, encode([text for text, _ in new]), strict=True))
        rows = np.empty((len(keys), self.dim), dtype=np.float32)
        for row, key in zip(rows, keys, strict=True):
            row[:] = vectors[key]
        self._keep(vectors)
        return rows

    def _keep(self, vectors: Mapping[Key, Vectors]) -> None:
        """Make these the most recently used vectors, and drop those beyond the capacity."""
        with self._lock:
            for key, vector in vectors.items():
                self._cache[key] = vector
                self._cache.move_to_end(key)
            while len(self._cache) > self.capacity:
                self._cache.popitem(last=False)
