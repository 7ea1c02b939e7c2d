"""Graphiti: a temporal graph of entities and facts, by Zep, on the embedded Kuzu."""

from __future__ import annotations

import functools
import itertools
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

from agemem.baselines import telemetry
from agemem.baselines.base import BUILDING, TOP_K, MemorySystem
from agemem.baselines.client import openai_client
from agemem.baselines.gateway import Gateway
from agemem.baselines.kuzu import load_kuzu, small_kuzu
from agemem_envs.encoders import CachedEncoder, make_encoder
from agemem_envs.errors import require
from agemem_envs.util.sanitize import sendable

MAX_TOKENS = 2000
"""Maximum tokens of one reply, so that a model that never stops does not block the episode."""
_FIRST_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class GraphitiSystem(MemorySystem):
    """Graphiti (Rasmussen et al. 2025, arXiv 2501.13956), by ``graphiti-core`` 0.31.1.

    - Store: one call names the entities of the message, and one the facts between two of them.
      A new entity is compared with those of a similar name, by one call if text alone cannot
      decide. For each new fact, one call sees the known facts like it and names those that it
      repeats or refutes, and one dates it. One call rewrites summaries of entities that have
      grown long. The calls see the last ten messages. LLM calls: 3 to 5 a message with
      one fact, and more with more.
    - A repeated fact is kept once. A refuted one is kept with the date of its end, if both are
      dated; it is recalled as before.
    - Recall: no call. The ``top_k`` best facts, by reciprocal rank fusion of BM25 and cosine.
      What was not extracted as a fact is not recalled, though the messages are stored.
    - Configured: client (no retries, since the gateway has them), shared encoder, a graph in
      memory for each episode; the full-text indices, which the library does not create on Kuzu;
      temperature 0 (the library: 1) and a limit on a reply's length (the library: 16,384), so
      that a run can be repeated and ends; no waiting before a reply that is not JSON is asked
      for again; the message's number is its time; recall has no least similarity (the library:
      cosine 0.6). Messages are of the source ``text``, since they name no speaker. Prompts and
      all else are the library's.
    - Failure modes: a reply that is not JSON is asked for again three times, then raised; one
      of another schema, or a failed call, is raised at once. All lose the message:
      ``parse_failures`` for each reply, ``llm_errors``, ``failures`` and ``dropped_writes``.
      Only a date is done without. JSON in a fence, and the number of no entity or fact, are bad
      replies that lose nothing. A fact about an entity that was not named creates it.
    - Control characters and invisible ones are not sent to the model, so facts lack them.
    - Departures from the paper: Kuzu instead of Neo4j, no communities, and search without the
      graph's distances, which are not the library's default either.

    Args:
        gateway: Gateway to the language model.
        encoder: One of the environment's encoders, shared within the process.

    Raises:
        MissingDependencyError: The library is not installed.
    """

    name: ClassVar[str] = "graphiti"
    uses_llm: ClassVar[bool] = True

    def __init__(self, gateway: Gateway, encoder: str = "minilm") -> None:
        super().__init__()
        telemetry.disable()
        self._library = _library()
        self._embedder = _embedder_class()(make_encoder(encoder))
        self._openai = openai_client(gateway.url(self), gateway.token)
        self._client = _client_class()(_Threaded(self._openai), self)
        # the library is asynchronous: a loop of its own runs it, whoever calls
        self._loop = require("anyio.from_thread", extra="baselines").start_blocking_portal()
        self._portal: Any = self._loop.__enter__()
        self._graph: Any = None
        try:
            self.reset()
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """Drop the graph and start with an empty one."""
        self._drop()
        library = self._library
        kuzu = small_kuzu()
        with (
            BUILDING,
            mock.patch.object(library.driver, "kuzu", kuzu),
            warnings.catch_warnings(action="ignore", category=DeprecationWarning),
        ):
            driver = library.driver.KuzuDriver(":memory:")
        connection = kuzu.Connection(driver.db)
        for query in library.queries.get_fulltext_indices(driver.provider):
            connection.execute(query)
        connection.close()
        self._graph = library.graphiti.Graphiti(
            graph_driver=driver,
            llm_client=self._client,
            embedder=self._embedder,
            cross_encoder=_no_cross_encoder(),
        )
        self._numbers = itertools.count()

    def observe(self, text: str) -> None:
        """Let the library extract entities and facts from the message."""
        number = next(self._numbers)
        self._call(
            self._graph.add_episode,
            name=f"message {number}",
            episode_body=sendable(text),
            source_description="message",
            reference_time=_FIRST_TIME + timedelta(minutes=number),
            source=self._library.nodes.EpisodeType.text,
        )

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The ``top_k`` best facts."""
        recipe = self._library.recipes.EDGE_HYBRID_SEARCH_RRF
        edges = recipe.edge_config.model_copy(update={"sim_min_score": -math.inf})
        config = recipe.model_copy(update={"edge_config": edges, "limit": top_k})
        found = self._call(self._graph.search_, query=sendable(query), config=config)
        return [edge.fact for edge in found.edges]

    def memories(self) -> list[str]:
        """All facts, oldest first."""
        driver = self._graph.driver
        known = self._call(
            driver.execute_query,
            "MATCH (e:RelatesToNode_) RETURN e.fact AS fact ORDER BY e.created_at, e.uuid",
        )
        return [row["fact"] for row in known[0]]

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self._portal.call(functools.partial(function, *args, **kwargs))

    def _drop(self) -> None:
        if self._graph is not None:
            self._graph.driver.client.close()
            self._graph.driver.db.close()
            self._graph = None

    def close(self) -> None:
        """Drop the graph, close the connections and end the loop."""
        if self._portal is not None:
            self._drop()
            self._portal = self._loop.__exit__(None, None, None)
            self._openai.close()


class _Threaded:
    """An OpenAI client with the interface of the asynchronous one, which depends on its loop."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.chat = self.completions = self

    async def create(self, **request: Any) -> Any:
        """A chat completion."""
        call = functools.partial(self._client.chat.completions.create, **request)
        return await require("anyio.to_thread", extra="baselines").run_sync(call)


@functools.cache
def _library() -> SimpleNamespace:
    """The library's modules, imported without the ``.env`` file that it would read."""
    load_kuzu()  # before the library does
    names = {
        "graphiti": "graphiti",
        "driver": "driver.kuzu_driver",
        "queries": "graph_queries",
        "nodes": "nodes",
        "recipes": "search.search_config_recipes",
        "openai": "llm_client.openai_generic_client",
        "llm": "llm_client.client",
        "config": "llm_client.config",
        "embedder": "embedder.client",
        "ranker": "cross_encoder.client",
    }
    with (
        BUILDING,
        mock.patch.object(require("dotenv", extra="baselines"), "load_dotenv"),
        warnings.catch_warnings(action="ignore", category=DeprecationWarning),
    ):
        return SimpleNamespace(
            **{
                name: require(f"graphiti_core.{module}", extra="baselines")
                for name, module in names.items()
            }
        )


@functools.cache
def _client_class() -> Any:
    """The class of a client that checks each reply against its schema and its prompt."""
    library = _library()
    again = library.llm.LLMClient._generate_response_with_retry.retry_with(
        wait=require("tenacity", extra="baselines").wait_none()
    )

    class Client(library.openai.OpenAIGenericClient):  # type: ignore[misc, name-defined]
        """The library's client, which does not wait, and counts what the library ignores."""

        def __init__(self, client: Any, system: GraphitiSystem) -> None:
            config = library.config.LLMConfig(api_key="none", model="model", temperature=0.0)
            super().__init__(config=config, client=client, max_tokens=MAX_TOKENS)
            self._system = system
            self._generate_response_with_retry = functools.partial(again, self)

        async def _generate_response(
            self, messages: list[Any], response_model: Any = None, *args: Any, **kwargs: Any
        ) -> Any:
            most, *rest = args or (MAX_TOKENS,)
            most = min(kwargs.pop("max_tokens", most), MAX_TOKENS)
            reply = await super()._generate_response(
                messages, response_model, most, *rest, **kwargs
            )
            if isinstance(reply, dict):  # the gateway counts the others
                usable = _is_usable(reply, response_model, messages[-1].content)
                self._system.usage.parse_failures += not usable
            return reply

    return Client


def _is_usable(reply: Mapping[str, Any], schema: Any, prompt: str) -> bool:
    """Whether a reply follows its schema, and refers to nothing that the prompt does not show."""
    try:
        schema(**reply)
    except ValueError:
        return False
    shown = prompt.casefold()  # the library finds names in any case
    return all(mark.casefold() in shown for mark in _references(reply))


def _references(reply: Mapping[str, Any]) -> Iterator[str]:
    """What a reply refers to, in the form in which its prompt shows it."""
    for name in ("duplicate_facts", "contradicted_facts"):
        yield from (f"'idx': {number}," for number in reply.get(name, ()))
    for entry in reply.get("entity_resolutions", ()):
        if (number := entry["duplicate_candidate_id"]) >= 0:
            yield f'"candidate_id": {number},'
    for edge in reply.get("edges", ()):
        for end in ("source_entity_name", "target_entity_name"):
            yield f'"name": {json.dumps(edge[end].strip(), ensure_ascii=False)}'


@functools.cache
def _embedder_class() -> Any:
    """The class of the shared encoder with the library's interface."""

    class Embedder(_library().embedder.EmbedderClient):  # type: ignore[misc]
        """Unit vectors of texts."""

        def __init__(self, encoder: CachedEncoder) -> None:
            self._encoder = encoder

        async def create(self, input_data: str | list[str]) -> list[float]:
            text = input_data if isinstance(input_data, str) else input_data[0]
            return (await self.create_batch([text]))[0]

        async def create_batch(self, input_data_list: list[str]) -> list[list[float]]:
            vectors: list[list[float]] = self._encoder.encode(list(input_data_list)).tolist()
            return vectors

    return Embedder


@functools.cache
def _no_cross_encoder() -> Any:
    """What stands for a reranker, which the search does not use: the library's needs a key."""

    class NoCrossEncoder(_library().ranker.CrossEncoderClient):  # type: ignore[misc]
        async def rank(self, query: str, passages: list[str]) -> list[tuple[str, float]]:
            raise NotImplementedError

    return NoCrossEncoder()
