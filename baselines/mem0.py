"""Mem0: facts extracted from each message, which add to, revise or delete the stored ones."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

from agemem.baselines import telemetry
from agemem.baselines.base import BUILDING, TOP_K, MemorySystem
from agemem.baselines.client import openai_client
from agemem.baselines.gateway import Gateway
from agemem_envs.encoders import CachedEncoder, make_encoder
from agemem_envs.errors import require
from agemem_envs.util.sanitize import sendable

USER = "user"
"""The library's scope of memories, named in its graph prompts. Each episode has its own stores."""
_ALL = 10**6


class Mem0System(MemorySystem):
    """Mem0 (Chhikara et al. 2025, arXiv 2504.19413), by ``mem0ai`` 1.0.11.

    - Store: one call extracts facts from the message. For each fact the five most similar
      memories are looked up, and one call decides over all of them: ADD, UPDATE, DELETE,
      NONE. LLM calls: 2 a message, 1 if there is no fact in it.
    - Recall: no call. The ``top_k`` memories that are most similar by cosine.
    - Configured: client (no retries, since the gateway has them), shared encoder, stores in
      memory, new ones for each episode; temperature 0 (the library: 0.1), so that a run can
      be repeated. Prompts, limits and all else are the library's.
    - Failure modes, none of which the library raises unless said: a reply to the extraction
      that is not JSON with a list ``facts`` loses the message, as does a failed call, which
      is raised; a reply to the decision that is not JSON, or a failed call, loses all its
      facts; an action with an unknown or integer id, no text or an unknown event is lost
      alone. They show as ``parse_failures``, ``llm_errors`` and ``failures``, and as
      ``dropped_writes`` if the store is as before. JSON in a fence is a parse failure that
      loses nothing.
    - The decision repeats the memories that were looked up and is cut off at the library's
      2,000 tokens, so messages of many hundred words are lost in this way.
    - Not a failure, and not counted: the prompt asks for facts about the user, so a model
      that takes it literally stores few facts about the world.
    - Departures from the paper: its summary of the conversation and the recent messages are
      not in the release's prompts, which name the day's date: runs of different days may
      differ.

    Args:
        gateway: Gateway to the language model.
        encoder: One of the environment's encoders, shared within the process.

    Raises:
        MissingDependencyError: The library is not installed.
    """

    name: ClassVar[str] = "mem0"
    uses_llm: ClassVar[bool] = True

    def __init__(self, gateway: Gateway, encoder: str = "minilm") -> None:
        super().__init__()
        telemetry.disable()
        self._library = _library()
        self._embedder = _SharedEmbeddings(make_encoder(encoder))
        self._url = gateway.url(self)
        self._client = openai_client(self._url, gateway.token)
        self._memory: Any = None
        self.reset()

    def reset(self) -> None:
        """Drop all stores and start with empty ones."""
        self._drop()
        self._memory = self._build()
        self._clients = [CheckedClient(self._client) for _ in self._models()]
        for model, client in zip(self._models(), self._clients, strict=True):
            model.client = client

    def _build(self) -> Any:
        """The library's object on new stores."""
        return self._library.Memory.from_config(self._config())

    def _config(self) -> dict[str, Any]:
        """The library's configuration."""
        size = self._embedder.encoder.dim
        llm = {"model": "model", "api_key": "none", "vllm_base_url": self._url, "temperature": 0.0}
        return {
            # "vllm" sends what any OpenAI-compatible server knows; "openai" sends more
            "llm": {"provider": "vllm", "config": llm},
            "embedder": {
                "provider": "langchain",
                "config": {"model": self._embedder, "embedding_dims": size},
            },
            "vector_store": {
                "provider": "qdrant",
                "config": {
                    "path": ":memory:",
                    "collection_name": "memories",
                    "embedding_model_dims": size,
                },
            },
            "history_db_path": ":memory:",
        }

    def _models(self) -> list[Any]:
        """The library's language models; each is called by one thread at a time."""
        return [self._memory.llm]

    def observe(self, text: str) -> None:
        """Let the library extract memories from the message."""
        with self._counted():
            done = self._memory.add([{"role": "user", "content": sendable(text)}], user_id=USER)
            self._count_undone(done)

    def _count_undone(self, done: Mapping[str, Any]) -> None:
        """Count a decision of which the library ignored a part, by its report."""
        decider = self._clients[0]
        decider.malformed += decider.actions > len(done["results"])

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The ``top_k`` most similar memories."""
        return [hit["memory"] for hit in self._search(query, top_k)["results"]]

    def _search(self, query: str, top_k: int) -> dict[str, Any]:
        with self._counted():
            found: dict[str, Any] = self._memory.search(sendable(query), user_id=USER, limit=top_k)
        return found

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the malformed replies of a block, by the form that each prompt asks for.

        This replaces the gateway's count, which knows only the outer form. All of the
        library's threads have ended when the block ends.
        """
        usage, before = self.usage, self.usage.parse_failures
        for client in self._clients:
            client.malformed = client.actions = 0
        try:
            yield
        finally:
            usage.parse_failures = before + sum(client.malformed for client in self._clients)

    def memories(self) -> list[str]:
        """The texts of all memories, oldest first."""
        return [item["memory"] for item in self._everything()["results"]]

    def _everything(self) -> dict[str, Any]:
        found: dict[str, Any] = self._memory.get_all(user_id=USER, limit=_ALL)
        found["results"].sort(key=lambda item: (item["created_at"], item["id"]))
        return found

    def _drop(self) -> None:
        """Release the stores."""
        if self._memory is not None:
            self._memory.close()
            self._memory.vector_store.client.close()
            self._memory = None

    def close(self) -> None:
        """Release the stores and the connections."""
        self._drop()
        self._client.close()


class CheckedClient:
    """An OpenAI client with Mem0's interface, which checks each reply against its prompt.

    Attributes:
        malformed: Number of replies without the form that their prompt asks for.
        actions: Number of changes of the store in the last decision.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self.chat = self.completions = self
        self.malformed = 0
        self.actions = 0

    def create(self, **request: Any) -> Any:
        """A chat completion."""
        reply = self._client.chat.completions.create(**request)
        try:
            self._check(request, reply.choices[0].message)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
            self.malformed += 1
        return reply

    def _check(self, request: Mapping[str, Any], message: Any) -> None:
        """Raise an error for a reply of which the library ignores a part."""
        if request.get("tools"):
            _check_calls(request["tools"][0]["function"], message.tool_calls or [])
        elif request["messages"][0]["role"] == "system":
            facts = json.loads(message.content)["facts"]
            if not isinstance(facts, list) or not all(map(_is_fact, facts)):
                raise ValueError("facts is not a list of texts")
        else:
            entries = json.loads(message.content)["memory"]
            if not isinstance(entries, list):
                raise ValueError("memory is not a list of actions")
            self.actions = sum(not _is_none(entry) for entry in entries)


def _is_fact(entry: Any) -> bool:
    """Whether the library reads an entry as a fact."""
    if isinstance(entry, dict):
        entry = entry.get("fact") or entry.get("text")
    return isinstance(entry, str)


def _is_none(entry: Any) -> bool:
    """Whether a decision's entry leaves the store as it is."""
    return isinstance(entry, dict) and entry.get("event") == "NONE"


def _check_calls(tool: Mapping[str, Any], calls: list[Any]) -> None:
    """Raise ValueError for calls that do not follow their tool's schema.

    Each request of the library has one tool. No call is well-formed only if the tool deletes:
    the model has no other way to delete nothing.
    """
    if not calls and not tool["name"].startswith("delete"):
        raise ValueError("no tool was called")
    schema = require("jsonschema", extra="baselines").Draft202012Validator(tool["parameters"])
    for call in calls:
        if call.function.name != tool["name"]:
            raise ValueError("another tool was called")
        if not schema.is_valid(json.loads(call.function.arguments)):
            raise ValueError("the arguments do not follow the schema")


class _SharedEmbeddings:
    """The shared encoder with LangChain's interface, which Mem0 accepts as an object."""

    def __init__(self, encoder: CachedEncoder) -> None:
        self.encoder = encoder

    def embed_query(self, text: str) -> list[float]:
        """A unit vector."""
        vector: list[float] = self.encoder.encode([text])[0].tolist()
        return vector


@functools.cache
def _library() -> ModuleType:
    """The library, imported without the file that it writes and the warning filter that it sets."""
    with BUILDING, tempfile.TemporaryDirectory(prefix="agemem-mem0-") as folder:
        previous = os.environ.get("MEM0_DIR")
        os.environ["MEM0_DIR"] = folder
        try:
            with warnings.catch_warnings():
                library = require("mem0", extra="baselines")
        finally:
            os.environ.pop("MEM0_DIR")
            if previous is not None:
                os.environ["MEM0_DIR"] = previous
        # an earlier import may have left its telemetry on
        for module in ("main", "telemetry"):
            require(f"mem0.memory.{module}", extra="baselines").MEM0_TELEMETRY = False  # type: ignore[attr-defined]
        # its "langchain" provider checks the class of an embedder
        require("langchain_core.embeddings", extra="baselines").Embeddings.register(
            _SharedEmbeddings
        )
    return library
