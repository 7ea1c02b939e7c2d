"""Mem0 2: facts extracted from each message are added, and never revised.

    python -m agemem.baselines.apart.mem0_2

serves it on standard input and output, from an environment in which ``mem0ai`` is a 2.x:
``make mem0-2`` builds one, ``.venv-mem0-2``. The lines are those of
:mod:`agemem.baselines.worker`.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

from agemem.baselines import telemetry
from agemem.baselines.client import openai_client
from agemem.baselines.serve import serve
from agemem_envs.encoders import CachedEncoder, make_encoder
from agemem_envs.errors import MissingDependencyError, require
from agemem_envs.util.sanitize import sendable

SCOPE = {"user_id": "user"}
"""The library's scope of memories. Each episode has its own stores."""
REMEDY = "make mem0-2, which builds the environment .venv-mem0-2"
_ALL = 10**6
_KNOWN = re.compile(r"^## Existing Memories\n(\[.*\])$", re.MULTILINE)


class Mem0Two:
    """Mem0 2 (Mem0, 2026), by ``mem0ai`` 2.2.1: its pipeline that only adds.

    - Store: one call extracts memories from the message. It sees the ten most similar memories,
      and the last ten messages, of each the first 300 characters. Nothing is updated or deleted;
      a memory is dropped if it is word for word one of the ten. LLM calls: 1 a message.
    - Recall: no call. The ``top_k`` memories that are most similar by cosine, of those with a
      cosine of 0 or more (the library: 0.1). An empty query recalls nothing.
    - Configured: client (no retries, since the gateway has them), shared encoder, stores in
      memory, new ones for each episode; temperature 0 (the library: 0.1), so that a run can be
      repeated. Prompts, limits and all else are the library's.
    - Left out: the library ranks by keywords and entities too if it finds spaCy, fastembed and
      their models, which it downloads. Without them, which is how it installs, it does not.
    - Failure modes, none of which the library raises unless said: a reply that is not JSON loses
      the message, and so does a reply of another form, which may be raised; a failed call is
      raised; an entry without a text is lost alone. JSON in a fence, and a link to a memory that
      is not there, are bad replies that lose nothing: the release reads no links.
    - The reply repeats every fact and is cut off at the library's 2,000 tokens, so messages of
      more than a thousand words are lost in this way.
    - Departures from the paper (Chhikara et al. 2025, arXiv 2504.19413): it has another pipeline,
      which the system ``mem0`` shows. The prompt names the day's date: runs of different days
      may differ.

    Args:
        encoder: One of the environment's encoders.

    Raises:
        MissingDependencyError: ``mem0ai`` is not installed, or is not a 2.x.
    """

    name: ClassVar[str] = "mem0-2"

    def __init__(self, encoder: str = "minilm") -> None:
        telemetry.disable()
        self._library = _library()
        self._embedder = _SharedEmbeddings(make_encoder(encoder))
        self._memory: Any = None
        self._client: CheckedClient | None = None
        self._model: tuple[str, str] | None = None

    @property
    def bad_replies(self) -> int:
        """Replies that are JSON as requested, and not what the prompt asks for."""
        return 0 if self._client is None else self._client.malformed

    def use_model(self, url: str, key: str) -> None:
        """Call the language model at ``url`` from now on."""
        if self._model != (url, key):
            self._disconnect()
            self._client, self._model = CheckedClient(openai_client(url, key)), (url, key)

    def reset(self) -> None:
        """Drop all stores and start with empty ones.

        Raises:
            RuntimeError: There is no language model.
        """
        if self._client is None:
            raise RuntimeError("mem0-2 calls a language model: take a backbone on a server")
        self._drop()
        factory = self._library.EmbedderFactory
        with mock.patch.object(factory, "create", return_value=self._embedder):
            self._memory = self._library.Memory.from_config(self._config())
        self._memory.llm.client = self._client
        self._memory.vector_store._bm25_encoder = False  # or it looks for fastembed's model

    def _config(self) -> dict[str, Any]:
        size = self._embedder.encoder.dim
        assert self._model is not None
        url, _ = self._model
        llm = {"model": "model", "api_key": "none", "vllm_base_url": url, "temperature": 0.0}
        store = {"path": ":memory:", "collection_name": "memories", "embedding_model_dims": size}
        return {
            # "vllm" sends what any OpenAI-compatible server knows
            "llm": {"provider": "vllm", "config": llm},
            "vector_store": {"provider": "qdrant", "config": store},
            "history_db_path": ":memory:",
        }

    def observe(self, text: str) -> None:
        """Let the library extract memories from the message."""
        self._memory.add([{"role": "user", "content": sendable(text)}], **SCOPE)

    def recall(self, query: str, top_k: int) -> list[str]:
        """The ``top_k`` most similar memories."""
        clean = sendable(query)
        if not clean.strip():  # the library would raise
            return []
        found = self._memory.search(clean, filters=dict(SCOPE), top_k=top_k, threshold=0.0)
        return [hit["memory"] for hit in found["results"]]

    def memories(self) -> list[str]:
        """The texts of all memories, oldest first."""
        found = self._memory.get_all(filters=dict(SCOPE), top_k=_ALL)["results"]
        found.sort(key=lambda item: (item["created_at"], item["id"]))
        return [item["memory"] for item in found]

    def _drop(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory.vector_store.client.close()
            self._memory = None

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def close(self) -> None:
        """Release the stores and the connections. Calling it again has no effect."""
        self._drop()
        self._disconnect()


class CheckedClient:
    """An OpenAI client with Mem0's interface, which checks each reply against the prompt.

    Attributes:
        malformed: Number of replies that are a JSON object, but not of the prompt's form. Others
            are counted by the gateway.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.chat = self.completions = self
        self.malformed = 0

    def create(self, **request: Any) -> Any:
        """A chat completion."""
        reply = self._client.chat.completions.create(**request)
        found = _object(reply.choices[0].message.content)
        if found is not None:
            self.malformed += not _is_usable(found, request["messages"][-1]["content"])
        return reply

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _object(text: Any) -> Mapping[str, Any] | None:
    """The JSON object that a text is; None if it is anything else."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_usable(found: Mapping[str, Any], prompt: str) -> bool:
    """Whether a reply holds memories, whose links are to memories that the prompt shows."""
    entries = found.get("memory")
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        return False
    links = [one.get("linked_memory_ids") or [] for one in entries]
    if not all(isinstance(one, list) for one in links):
        return False
    known = _shown_ids(prompt)
    texts = [one.get("text") for one in entries]
    return all(isinstance(text, str) and text for text in texts) and all(
        isinstance(link, str) and link in known for one in links for link in one
    )


def _shown_ids(prompt: str) -> set[str]:
    """The ids of the memories that a prompt shows; a message may look like the list of them."""
    shown = _KNOWN.search(prompt)
    try:
        return {entry["id"] for entry in json.loads(shown[1])} if shown else set()
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()


class _SharedEmbeddings:
    """The shared encoder with the interface of Mem0's embedders."""

    def __init__(self, encoder: CachedEncoder) -> None:
        self.encoder = encoder

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        """A unit vector."""
        return self.embed_batch([text])[0]

    def embed_batch(self, texts: Sequence[str], memory_action: str = "add") -> list[list[float]]:
        """A unit vector of each text."""
        vectors: list[list[float]] = self.encoder.encode(list(texts)).tolist()
        return vectors


@functools.cache
def _library() -> ModuleType:
    """The library's main module, imported without the file that it writes.

    Raises:
        MissingDependencyError: It is not installed, or is another version.
    """
    try:
        version = importlib.metadata.version("mem0ai")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if not version.startswith("2."):
        raise MissingDependencyError(
            f"mem0-2 needs mem0ai 2.x, and {sys.prefix} has {version}. Run it with the "
            f"interpreter of an environment of its own: {REMEDY}"
        )
    with (
        tempfile.TemporaryDirectory(prefix="agemem-mem0-") as folder,
        mock.patch.dict(os.environ, MEM0_DIR=folder),
    ):
        library = require("mem0.memory.main", command=REMEDY)
    # spaCy's model would be downloaded
    models = require("mem0.utils.spacy_models", command=REMEDY)
    models._load_failed_full = models._load_failed_lemma = True  # type: ignore[attr-defined]
    return library


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the system until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoder", default="minilm", help="one of the environment's encoders")
    options = parser.parse_args(argv)
    try:
        system = Mem0Two(options.encoder)
    except MissingDependencyError as error:
        raise SystemExit(str(error)) from error
    try:
        serve(system)
    finally:
        system.close()


if __name__ == "__main__":
    main()
