"""A-Mem: notes with keywords, context and tags that link to and revise each other."""

from __future__ import annotations

import functools
import json
import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from agemem.baselines import telemetry
from agemem.baselines.base import TOP_K, MemorySystem
from agemem.baselines.client import openai_client
from agemem.baselines.gateway import Gateway
from agemem_envs.encoders import CachedEncoder, make_encoder
from agemem_envs.errors import require
from agemem_envs.util.sanitize import sendable

MAX_TOKENS = 2000
"""Maximum tokens of one reply, so that a model that never stops does not block the episode."""
_ACTIONS = frozenset({"strengthen", "update_neighbor"})
_FIRST_TIME = datetime(2000, 1, 1)
_STARTING = threading.Lock()
_ENTRY = re.compile(r"^talk start time:\d+\t(?=memory content: )", re.MULTILINE)
_NEIGHBOURS = re.compile(r"The number of neighbors is (\d+)\.")


class AMemSystem(MemorySystem):
    """A-Mem (Xu et al. 2025, arXiv 2502.12110), by the third-party fork ``a-mem`` 0.2.6.

    The authors' code is not packaged; the fork is MIT-licensed and imports as
    ``agentic_memory``. The name ``a-mem-fork`` says so in every result.

    - Store: every message becomes a note, whole. One call writes its keywords, context and
      tags; from the second note on another call sees the five nearest notes and may link
      the new one to them, change its tags, or rewrite their contexts and tags.
      LLM calls: 2 a message, 1 for the first.
    - Recall: no call. Nearest notes by the embedding of text, context, keywords and tags,
      each followed by the notes that it links to; here without repetition, the first
      ``top_k`` of them, as the fork writes them into a prompt but without their time.
    - Configured: client, shared encoder and an in-memory Chroma collection for each episode;
      temperature 0 (the fork: 1.0) and a limit on a reply's length (the fork: none), so that
      a run can be repeated and ends; ids and times count the messages, since episodes have no
      clock; the cache holds all notes.
    - Mended: the fork reads a stored text that is JSON or a number back as that value; here
      it stays the text.
    - Failure modes: a reply that is not JSON (fenced, cut off, empty) or not of the schema
      that the fork sent costs the note its keywords, context and tags, or the evolution:
      ``parse_failures``. So are a link to an unknown id (which stays dead), an unknown
      action, and a list of another length than the neighbours'. A failed call costs the same
      as an unreadable reply: ``llm_errors``. The text itself is kept in all of these, so
      nothing is a dropped write.
    - Departures from the paper: the fork's, which keeps the prompts and replaces storage.

    Args:
        gateway: Gateway to the language model.
        encoder: One of the environment's encoders, shared within the process.

    Raises:
        MissingDependencyError: The library is not installed.
    """

    name: ClassVar[str] = "a-mem-fork"
    uses_llm: ClassVar[bool] = True

    def __init__(self, gateway: Gateway, encoder: str = "minilm") -> None:
        super().__init__()
        telemetry.disable()
        self._name, self._encoder = encoder, make_encoder(encoder)
        self._url = gateway.url(self)
        self._client = openai_client(self._url, gateway.token)
        self._retriever: Any = None
        self.reset()

    def reset(self) -> None:
        """Drop the collection and start with an empty one."""
        self._drop()
        library = _library()
        self._retriever = _retriever_class()(self._name, self._encoder)
        self._notes = library.AgenticMemorySystem(
            llm_model="model", api_key="none", storage_path=self._retriever, cache_size=10**9
        )
        self._notes.llm_controller.llm.client = self._client
        self._notes.llm_controller.llm = _CheckedLLM(self._notes.llm_controller.llm, self)

    def observe(self, text: str) -> None:
        """Make a note of the message."""
        number = len(self._retriever.texts)
        clean = sendable(text)
        identity = str(uuid.uuid5(uuid.NAMESPACE_OID, f"note {number}"))
        time = _FIRST_TIME + timedelta(minutes=number)
        self._notes.add_note(clean, time=time.strftime("%Y%m%d%H%M"), id=identity)

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The nearest notes and the notes that they link to."""
        clean = sendable(query)
        listing = self._notes.find_related_memories_raw(clean, k=top_k)
        notes = (entry.rstrip("\n") for entry in _ENTRY.split(listing) if entry)
        return list(dict.fromkeys(notes))[:top_k]

    def memories(self) -> list[str]:
        """The texts of all notes, oldest first."""
        stored = set(self._retriever.get_all_ids())
        return [text for key, text in self._retriever.texts.items() if key in stored]

    def knows(self, identity: str) -> bool:
        """Whether a note has this id."""
        return identity in self._retriever.texts

    def _drop(self) -> None:
        if self._retriever is not None:
            self._retriever.drop()
            self._retriever = None

    def close(self) -> None:
        """Drop the collection and close the connections."""
        self._drop()
        self._client.close()


class _CheckedLLM:
    """The fork's client, with a check of each reply against the schema that the fork sends.

    The fork's code accepts any JSON, and a wrong type would corrupt the store. A reply that
    does not follow the schema is raised, which the fork treats like a reply that is not JSON.
    """

    def __init__(self, library: Any, system: AMemSystem) -> None:
        self._library = library
        self._system = system

    def get_completion(self, prompt: str, response_format: Mapping[str, Any]) -> str:
        """The checked reply to a prompt of the fork."""
        reply: str = self._library.get_completion(
            prompt, response_format, temperature=0.0, max_tokens=MAX_TOKENS
        )
        data = json.loads(reply)  # a failure is counted by the gateway, caught by the fork
        if not isinstance(data, dict):
            raise ValueError("the reply is not a JSON object")
        if not _follows(response_format["json_schema"]["schema"], data):
            self._system.usage.parse_failures += 1
            raise ValueError("the reply does not follow the schema")
        self._system.usage.parse_failures += self._is_partly_lost(prompt, data)
        return reply

    def _is_partly_lost(self, prompt: str, data: Mapping[str, Any]) -> bool:
        """Whether the fork will silently ignore a part of a decision."""
        actions = data.get("actions", ()) if data.get("should_evolve") else ()
        if not _ACTIONS.issuperset(actions):
            return True
        links = data["suggested_connections"] if "strengthen" in actions else ()
        if not all(map(self._system.knows, links)):
            return True
        if "update_neighbor" not in actions:
            return False
        count = int(_NEIGHBOURS.findall(prompt)[-1])
        lists = (data["new_context_neighborhood"], data["new_tags_neighborhood"])
        return any(len(entries) != count for entries in lists)


def _follows(schema: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Whether a reply has every field of its schema, each of the right type."""
    strict = {**schema, "required": list(schema["properties"])}
    return bool(
        require("jsonschema", extra="baselines").Draft202012Validator(strict).is_valid(data)
    )


@functools.cache
def _library() -> Any:
    """The fork, patched so that it does not write to standard output."""
    library = require("agentic_memory.memory_system", extra="baselines")
    for module in ("memory_system", "retrievers", "llm_controller"):
        part = require(f"agentic_memory.{module}", extra="baselines")
        part.print = lambda *_, **__: None  # type: ignore[attr-defined]
    library.ChromaRetriever = _given_retriever  # type: ignore[attr-defined]
    return library


def _given_retriever(*, persist_directory: Any, **_: Any) -> Any:
    """Returns the retriever passed as the path: the fork would open files and load a model."""
    return persist_directory


@functools.cache
def _chroma() -> Any:
    """The process's in-memory Chroma client. Each episode has a collection of its own."""
    chromadb = require("chromadb", extra="baselines")
    settings = require("chromadb.config", extra="baselines").Settings(anonymized_telemetry=False)
    return chromadb.EphemeralClient(settings)


@functools.cache
def _retriever_class() -> Any:
    """The class of the fork's retriever, on an in-memory collection with the shared encoder."""
    library = require("agentic_memory.retrievers", extra="baselines")
    chromadb = require("chromadb", extra="baselines")

    class Embedding(chromadb.EmbeddingFunction):  # type: ignore[misc, name-defined]
        """The shared encoder with Chroma's interface."""

        def __init__(self, name: str, encoder: CachedEncoder) -> None:
            self._name = name
            self._encoder = encoder

        def __call__(self, input: Sequence[str]) -> Any:
            return list(self._encoder.encode(list(input)))

        @staticmethod
        def name() -> str:
            return "agemem-shared"

        def get_config(self) -> dict[str, Any]:
            return {"encoder": self._name}

        @staticmethod
        def build_from_config(config: Mapping[str, Any]) -> Any:
            return Embedding(config["encoder"], make_encoder(config["encoder"]))

    class Retriever(library.ChromaRetriever):  # type: ignore[misc, name-defined]
        """Keeps the original text of each note."""

        def __init__(self, name: str, encoder: CachedEncoder) -> None:
            with _STARTING:
                self.client = _chroma()
            self.texts: dict[str, str] = {}
            self.embedding_function = Embedding(name, encoder)
            self.collection = self.client.create_collection(
                f"agemem-{uuid.uuid4().hex}", embedding_function=self.embedding_function
            )

        def add_document(self, document: str, metadata: dict[str, Any], doc_id: str) -> None:
            super().add_document(document, metadata, doc_id)
            self.texts[doc_id] = document

        def search(self, query: str, k: int = 5) -> Any:
            hits = super().search(query, k)
            for key, metadata in zip(hits["ids"][0], hits["metadatas"][0], strict=True):
                metadata["content"] = self.texts[key]
            return hits

        def drop(self) -> None:
            self.client.delete_collection(self.collection.name)

    return Retriever
