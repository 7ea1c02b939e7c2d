"""SimpleMem: windows of messages compressed to entries, which planned queries find."""

from __future__ import annotations

import functools
import tempfile
import warnings
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

from agemem.baselines import telemetry
from agemem.baselines.base import BUILDING, TOP_K, MemorySystem
from agemem.baselines.client import openai_client
from agemem.baselines.gateway import Gateway
from agemem_envs.encoders import CachedEncoder, Vectors, make_encoder
from agemem_envs.errors import require
from agemem_envs.util.sanitize import sendable

SPEAKER = "User"
"""The library's dialogues have a speaker."""
MAX_TOKENS = 4000
"""Maximum tokens of one reply, which repeats a window, so that a model that never stops does not
block the episode."""


class SimpleMemSystem(MemorySystem):
    """SimpleMem (arXiv 2601.02553), by ``simplemem`` 0.1.0.

    - Store: messages wait until they are a window of 40, a stage ends, or something is recalled.
      One call then writes the entries of the whole window. LLM calls: 1 a window.
    - Recall: one call lists what the query needs, one writes up to four queries, of which the 25
      most similar entries are taken each; at most twice, one call judges whether they suffice,
      and one writes further queries. Here the first ``top_k`` entries of the library's order.
      LLM calls: 3 if the first entries suffice, 6 at most; 2 if there are none.
    - Configured: client (no retries and no waiting, since the gateway has them; no stream),
      shared encoder (the library: Qwen3-Embedding), a table in a temporary folder for each
      episode; temperature 0 (the library: 0.1 to 0.3) and a limit on a reply's length (the
      library: none), so that a run can be repeated and ends; queries one after the other, since
      the order of the entries would depend on their speed. Prompts and all else are the
      library's.
    - Failure modes: a reply without a list of entries, or a failed call, is asked for again twice;
      then the window is lost, up to 40 messages, and the library raises nothing:
      ``parse_failures`` or ``llm_errors`` for each reply, and ``dropped_writes`` for each
      message. Without a plan or queries, the query itself is used; a plan or
      queries of another form are raised, and nothing is recalled. JSON in a fence is what the
      prompt shows, and is no fault.
    - Messages that wait are among the memories, as they were said.
    - Known limits of the library: its searches by keyword and by person, place and time are not
      part of what it retrieves (and the former's index fails with today's LanceDB); it merges no
      entries.
    - Departures from the paper: the release's, whose consolidation is future work.

    Args:
        gateway: Gateway to the language model.
        encoder: One of the environment's encoders, shared within the process.

    Raises:
        MissingDependencyError: The library is not installed.
    """

    name: ClassVar[str] = "simplemem"
    uses_llm: ClassVar[bool] = True

    def __init__(self, gateway: Gateway, encoder: str = "minilm") -> None:
        super().__init__()
        telemetry.disable()
        self._library = _library()
        self._embedder = _SharedEmbeddings(make_encoder(encoder))
        self._url = gateway.url(self)
        self._client = openai_client(self._url, gateway.token)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.reset()

    def reset(self) -> None:
        """Drop the table and start with an empty one."""
        self._drop()
        self._folder = tempfile.TemporaryDirectory(prefix="agemem-simplemem-")
        library = self._library.system
        with (
            BUILDING,
            mock.patch.object(library, "EmbeddingModel", return_value=self._embedder),
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),
        ):
            self._memory = library.SimpleMemSystem(
                api_key="none",
                model="model",
                base_url=self._url,
                db_path=self._folder.name,
                use_streaming=False,
                enable_parallel_retrieval=False,
            )
        model = _client_class()(self._client, self)
        self._memory.memory_builder.llm_client = model
        self._memory.hybrid_retriever.llm_client = model
        self._memory.memory_builder._parse_llm_response = functools.partial(
            _checked_entries, self._memory.memory_builder, self
        )

    def observe(self, text: str) -> None:
        """Let the message wait; compress the window if it is full."""
        builder = self._memory.memory_builder
        before, known, faults = self._pending() + 1, self._count(), self.usage.faults
        self._memory.add_dialogue(SPEAKER, sendable(text))
        if not builder.dialogue_buffer:
            self._count_lost(before, known, faults)

    def end_stage(self) -> None:
        """Compress what waits."""
        pending, known, faults = self._pending(), self._count(), self.usage.faults
        if pending:
            try:
                self._memory.finalize()
            except Exception:
                self._memory.memory_builder.dialogue_buffer.clear()  # or it fails at every recall
                if self.usage.dropped_writes is not None:
                    self.usage.dropped_writes += pending
                raise
            self._count_lost(pending, known, faults)

    def _count_lost(self, messages: int, known: int, faults: int) -> None:
        """Count the messages of a window of which nothing was stored, if there was a fault."""
        lost = self._count() == known and self.usage.faults > faults
        if lost and self.usage.dropped_writes is not None:
            self.usage.dropped_writes += messages

    def _pending(self) -> int:
        return len(self._memory.memory_builder.dialogue_buffer)

    def _count(self) -> int:
        return int(self._memory.vector_store.table.count_rows())

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The first ``top_k`` entries that the library retrieves; compresses what waits."""
        self.end_stage()
        found = self._memory.hybrid_retriever.retrieve(sendable(query))
        return [entry.lossless_restatement for entry in found[:top_k]]

    def memories(self) -> list[str]:
        """All entries, oldest first, and the messages that wait."""
        entries = [entry.lossless_restatement for entry in self._memory.get_all_memories()]
        return entries + [one.content for one in self._memory.memory_builder.dialogue_buffer]

    def _drop(self) -> None:
        if self._folder is not None:
            self._memory = None
            self._folder.cleanup()
            self._folder = None

    def close(self) -> None:
        """Remove the table and close the connections."""
        self._drop()
        self._client.close()


class _SharedEmbeddings:
    """The shared encoder with the interface of the library's, which would load a model."""

    def __init__(self, encoder: CachedEncoder) -> None:
        self._encoder = encoder
        self.dimension = encoder.dim

    def encode_documents(self, documents: list[str]) -> Vectors:
        """A unit vector of each text."""
        return self._encoder.encode(list(documents))

    def encode_single(self, text: str, is_query: bool = False) -> Any:
        """The unit vector of a text."""
        return self._encoder.encode([text])[0]


@functools.cache
def _library() -> SimpleNamespace:
    """The library's modules, patched so that they do not write to standard output."""
    names = (
        "core.memory_builder",
        "core.hybrid_retriever",
        "core.answer_generator",
        "database.vector_store",
        "utils.embedding",
        "utils.llm_client",
        "system",
    )
    with BUILDING:
        modules = {name: require(f"simplemem.{name}", extra="baselines") for name in names}
    for module in modules.values():
        module.print = lambda *_, **__: None  # type: ignore[attr-defined]
    return SimpleNamespace(system=modules["system"], llm=modules["utils.llm_client"])


@functools.cache
def _client_class() -> Any:
    """The class of the library's client, without waiting, which counts what it cannot read."""

    class Client(_library().llm.LLMClient):  # type: ignore[misc]
        """Asks once; the library asks again where it does so."""

        def __init__(self, client: Any, system: SimpleMemSystem) -> None:
            self.model, self.base_url = "model", None
            self.enable_thinking = self.use_streaming = False
            self.client = self.chat = self.completions = self
            self._client, self._system = client, system

        def create(self, **request: Any) -> Any:
            """A chat completion, with what is configured."""
            changed = {**request, "temperature": 0.0, "max_tokens": MAX_TOKENS}
            return self._client.chat.completions.create(**changed)

        def chat_completion(self, messages: list[dict[str, str]], *args: Any, **kwargs: Any) -> str:
            reply: str = super().chat_completion(messages, *args, **{**kwargs, "max_retries": 1})
            return reply

        def extract_json(self, text: str) -> Any:
            try:
                return super().extract_json(text)
            except ValueError:
                self._system.usage.parse_failures += 1
                raise

    return Client


def _checked_entries(builder: Any, system: SimpleMemSystem, response: str, numbers: Any) -> Any:
    """The entries of a reply; counts one that is JSON and is not a list of entries."""
    before = system.usage.parse_failures
    try:
        return type(builder)._parse_llm_response(builder, response, numbers)
    except Exception:  # the library asks again
        system.usage.parse_failures = max(system.usage.parse_failures, before + 1)
        raise
