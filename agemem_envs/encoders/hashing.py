"""An encoder without weights."""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Sequence

import numpy as np

from agemem_envs.encoders.base import Vectors


class HashingEncoder:
    """A bag of hashed words and word pairs: no weights, fast, the same on every machine.

    Each word and each pair of neighbours adds +1 or -1 to one of ``dim`` slots, chosen by
    CRC-32 (feature hashing, Weinberger et al. 2009). Similarity is lexical overlap.
    A text without words is the zero vector, which is similar to nothing. Its vectors are not kept
    on disk: to make one takes about as long as to look it up.
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
