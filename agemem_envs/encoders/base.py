"""The interface of text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Maps texts to unit vectors.

    An encoder may tell queries from contents, as models with prompts do. It then has the
    attribute ``two_sided``, which is True, and a method ``encode_queries`` like :meth:`encode`.

    Attributes:
        name: Recorded in the settings of every episode. Encoders that give other vectors have
            other names.
        dim: Length of a vector.
    """

    name: str
    dim: int

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""


def is_two_sided(encoder: Encoder) -> bool:
    """Whether an encoder maps a query to another vector than a content of the same text."""
    return bool(getattr(encoder, "two_sided", False))


def encode_queries(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """Encode the queries of a search: as any other text, if the encoder is not two-sided."""
    if not is_two_sided(encoder):
        return encoder.encode(texts)
    queries: Any = encoder
    vectors: Vectors = queries.encode_queries(texts)
    return vectors
