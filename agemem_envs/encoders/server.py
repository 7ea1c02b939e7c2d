"""Encoders that run on an OpenAI-compatible server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from agemem_envs.encoders.base import Vectors
from agemem_envs.encoders.weights import SHOWN_DIGITS
from agemem_envs.errors import ConfigurationError, EndpointError, require
from agemem_envs.util.sanitize import sendable

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
    """Calls ``/embeddings``, with exponential back-off on passing failures.

    Retried: refused or broken connections, time-outs, status 408, 409, 429 and 5xx, and replies
    that are not the protocol's JSON, or hold another number of vectors, vectors of another length
    or numbers that are not finite. Not retried: every other status, say 400 for a text that is too
    long (let the server truncate it).

    A server does not say which revision of a model it runs. The name has a fingerprint instead,
    such as ``bge-m3@1a2b3c4``: for each of the texts :data:`PROBES` the largest component of its
    vector, relative to the mean of all. Every later request holds a probe, too.

    Args:
        model: The model's name on the server.
        base_url: URL of the server, up to and including ``/v1``.
        api_key: API key; by default ``$OPENAI_API_KEY``, else a placeholder that vLLM ignores.
        timeout: Seconds for one attempt.
        attempts: Maximum number of attempts; at least 1.
        longest_wait: Maximum seconds between two attempts.

    Raises:
        ConfigurationError: ``base_url`` is not a valid URL.
        EndpointError: The server failed after all retries.
        MissingDependencyError: openai or tenacity is not installed.
    """

    two_sided = False

    def __init__(
        self,
        model: str,
        base_url: str,
        api_key: str | None = None,
        timeout: float = 120.0,
        attempts: int = 4,
        longest_wait: float = 8.0,
    ) -> None:
        openai = require("openai", extra="eval")
        tenacity = require("tenacity", extra="eval")
        self.model = model
        self.base_url = _checked(base_url)
        self.dim = 0
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout,
            max_retries=0,
        )
        self._raw = require("httpx", extra="eval").Response
        self._status_error = openai.APIStatusError
        self._errors = (openai.OpenAIError, _BadReplyError)
        self._retry = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_passing),
            stop=tenacity.stop_after_attempt(attempts),
            wait=tenacity.wait_random_exponential(multiplier=0.25, max=longest_wait),
            reraise=True,
        )
        self.probes = self._request(PROBES)
        self.dim = self.probes.shape[1]
        self.name = f"{model}@{fingerprint(self.probes)}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32.

        Raises:
            EndpointError: The server failed after all retries, or runs another model now.
        """
        parts = [
            self._batch(texts[start : start + BATCH - 1])
            for start in range(0, len(texts), BATCH - 1)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def _batch(self, texts: Sequence[str]) -> Vectors:
        """The vectors of some texts. A probe goes with them and shows if the model is another."""
        *_, probe = vectors = self._request([*texts, PROBES[0]])
        if np.linalg.norm(probe - self.probes[0]) > SAME:
            raise EndpointError(
                f"{self.model} at {self.base_url} gives other vectors than when the run began: "
                "the server runs another model now. Start the run again."
            )
        return vectors[:-1]

    def _request(self, texts: Sequence[str]) -> Vectors:
        """The unit vectors of some texts, by one request with retries."""
        clean = [sendable(text) or " " for text in texts]  # many servers refuse an empty text
        body = {"model": self.model, "input": clean, "encoding_format": "float"}
        try:
            vectors: Vectors = self._retry(self._post, body)
        except self._errors as error:
            raise EndpointError(
                f"{self.model} at {self.base_url}: {type(error).__name__}: {str(error)[:300]}"
            ) from error
        return vectors

    def _post(self, body: Mapping[str, Any]) -> Vectors:
        try:
            reply = self._client.post("/embeddings", body=body, cast_to=self._raw).json()
        except (ValueError, RecursionError) as error:
            raise _BadReplyError(f"the reply is not JSON: {error}") from error
        return _unit_rows(reply, len(body["input"]), self.dim)

    def _is_passing(self, error: BaseException) -> bool:
        if isinstance(error, self._status_error):
            status = int(error.status_code)
            return status in (408, 409, 429) or status >= 500
        return isinstance(error, self._errors)


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
        raise _BadReplyError(f"the reply holds no vectors: {error!r}") from error
    if numbers != list(range(count)):
        raise _BadReplyError(f"the reply holds {len(numbers)} vectors for {count} texts")
    if rows.ndim != 2 or not rows.shape[1] or rows.shape[1] != (dim or rows.shape[1]):
        raise _BadReplyError(f"the reply's vectors have the shape {rows.shape}, not (*, {dim})")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise _BadReplyError("the reply holds a vector without a direction: zero or not finite")
    vectors: Vectors = (rows / norms).astype(np.float32)
    return vectors


class _BadReplyError(Exception):
    """A reply of status 200 that does not hold the vectors."""


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port out of range, an open bracket
        valid = False
    if not valid:
        raise ConfigurationError(
            f"{url!r} is not the URL of a server. Write one like http://localhost:8000/v1"
        )
    return url
