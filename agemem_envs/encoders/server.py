"""Encoders that run on an OpenAI-compatible server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from agemem_envs.encoders.base import Vectors
from agemem_envs.encoders.weights import SHOWN_DIGITS
from agemem_envs.errors import EndpointError
from agemem_envs.util import background
from agemem_envs.util.endpoint import ChatEndpoint
from agemem_envs.util.http_client import ServerError
from agemem_envs.util.sanitize import one_line, sendable

BATCH = 32
"""Most texts of one request: the default limit of text-embeddings-inference."""
PROBES = (
    "The river carried the small boat to the sea.",
    "A list of prime numbers begins with 2, 3, 5 and 7.",
    "def add(a, b): return a + b",
    "Der Zug nach Wien hat heute keine Verspätung.",
    "She paid 14.50 for the ticket on 3 May 1998.",
    "Why do cats purr?",
    "glass",
    "Put the clean plate in the cabinet, then turn on the lamp beside the bed.",
)
"""Fixed texts whose vectors tell one model from another."""
SAME = 0.02
"""Largest distance of two unit vectors of the same text by the same model. What else a server
computes at the same time moves a vector by some 1e-6 in float32 and 0.005 in bfloat16."""


class ServerEncoder:
    """Calls ``/embeddings``, with the retries of :class:`~agemem_envs.util.endpoint.ChatEndpoint`.

    A reply is retried, too, if it holds another number of vectors, vectors of another length or
    numbers that are not finite. A text that is too long is an error: let the server truncate it.
    A server gets queries and contents alike, without prompts.

    It does not say which revision of a model it runs. The name has a fingerprint instead, such as
    ``bge-m3@1a2b3c4``: see :func:`fingerprint`. Every later request holds a probe, too.

    Args:
        model: The model's name on the server.
        base_url: URL of the server, up to and including ``/v1``.
        options: Other arguments of :class:`~agemem_envs.util.endpoint.ChatEndpoint`
            (``timeout``, ``attempts``, ...).

    Attributes:
        probes: The vectors of the texts :data:`PROBES`.

    Raises:
        ConfigurationError: ``base_url`` is not a valid URL.
        EndpointError: The server failed after all retries.
        MissingDependencyError: The library for requests is not installed.
    """

    two_sided = False

    def __init__(self, model: str, base_url: str, **options: Any) -> None:
        self._endpoint = _EmbeddingEndpoint(model, base_url, **options)
        self.probes = self._endpoint.embed(PROBES, 0)
        self.dim = self.probes.shape[1]
        self.name = f"{model}@{fingerprint(self.probes)}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32.

        Raises:
            EndpointError: The server failed after all retries, or runs another model now.
        """
        most = BATCH - 1  # and a probe
        starts = range(0, len(texts), most)
        parts = [self._batch(texts[start : start + most]) for start in starts]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def _batch(self, texts: Sequence[str]) -> Vectors:
        """The vectors of some texts. A probe goes with them and shows if the model is another."""
        vectors = self._endpoint.embed([*texts, PROBES[0]], self.dim)
        if np.linalg.norm(vectors[-1] - self.probes[0]) > SAME:
            raise EndpointError(
                f"{self._endpoint.model} at {self._endpoint.base_url} gives other vectors than "
                "when the run began: the server runs another model now. Start the run again."
            )
        return vectors[:-1]


class _EmbeddingEndpoint(ChatEndpoint):
    """The other end of a server."""

    _path = "/embeddings"

    def embed(self, texts: Sequence[str], dim: int) -> Vectors:
        """The unit vectors of some texts, by one request with retries.

        Args:
            texts: At most :data:`BATCH` texts.
            dim: Length of a vector, or 0 if it is not known.
        """
        clean = [sendable(text) or " " for text in texts]  # many servers refuse an empty text
        body = {"input": clean, "encoding_format": "float"}
        call = self._call(body, lambda reply: _unit_rows(reply, len(texts), dim))
        vectors: Vectors = background.run(call)
        return vectors

    def _failure(self, error: ServerError) -> EndpointError:
        """The error of a call. A text that is too long is not a prompt of the agent."""
        return EndpointError(f"{self.model} at {self.base_url}: {one_line(str(error), 300)}")


def fingerprint(probes: Vectors) -> str:
    """A short text that is the same for vectors that differ by noise alone.

    It is a hash of the place and the sign of each vector's largest component, after the mean of
    all vectors is subtracted (in many models one component dominates every vector). Noise of 1e-6
    changes it about once in a thousand times.
    """
    relative = probes - probes.mean(axis=0)
    places = np.abs(relative).argmax(axis=1)
    signs = np.take_along_axis(relative, places[:, None], axis=1).ravel() > 0
    text = f"{probes.shape[1]} {places.tolist()} {signs.tolist()}"
    return hashlib.sha256(text.encode()).hexdigest()[:SHOWN_DIGITS]


def _unit_rows(reply: Any, count: int, dim: int) -> Vectors:
    """The vectors of a reply, in the order of the texts and of length 1.

    Args:
        reply: The decoded JSON.
        count: Number of texts.
        dim: Length of a vector, or 0 if it is not known.
    """
    try:
        data = sorted(reply["data"], key=lambda entry: int(entry["index"]))
        numbers = [int(entry["index"]) for entry in data]
        rows = np.array([entry["embedding"] for entry in data], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ServerError(f"the reply holds no vectors: {error!r}") from error
    if numbers != list(range(count)):
        raise ServerError(f"the reply holds {len(numbers)} vectors for {count} texts")
    if rows.ndim != 2 or not rows.shape[1] or rows.shape[1] != (dim or rows.shape[1]):
        raise ServerError(f"the reply's vectors have the shape {rows.shape}, not (*, {dim})")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise ServerError("the reply holds a vector without a direction: zero or not finite")
    vectors: Vectors = (rows / norms).astype(np.float32)
    return vectors
