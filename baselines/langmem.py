"""LangMem: a language model adds, patches and removes memories by calling tools."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from agemem.baselines import telemetry
from agemem.baselines.base import BUILDING, TOP_K, MemorySystem
from agemem.baselines.client import http_client
from agemem.baselines.gateway import Gateway
from agemem_envs.encoders import make_encoder
from agemem_envs.errors import require
from agemem_envs.util.sanitize import sendable

MAX_TOKENS = 2000
"""Maximum tokens of one reply, so that a model that never stops does not block the episode."""
NAMESPACE = ("memories",)
MAX_STEPS = 10
"""Maximum steps of trustcall's graph for one message; its longest path, with two repairs, has 8.
Without a limit, a call that fails while memories exist is tried 10,000 times."""
_SHOWN_ID = re.compile(r"<instance id=(\S+) schema_type=|json_doc_id=\[([^\]\s]+)\]")


class LangMemSystem(MemorySystem):
    """LangMem 0.0.30 (LangChain): its store manager in the foreground, on trustcall 0.0.39.

    - Store: the five memories nearest to the message are shown to the model with it; the
      model answers with tool calls: ``Memory`` adds one, ``PatchDoc`` changes one by a JSON
      patch, ``RemoveDoc`` deletes one. Arguments that do not validate are shown to the model
      for repair, twice. LLM calls: 1 a message, 3 at most unless the server fails.
    - Recall: no call. The ``top_k`` memories nearest to the query.
    - Configured: client (temperature 0, a limit on a reply's length) and a LangGraph
      ``InMemoryStore`` for each episode, which embeds a memory's text alone with the shared
      encoder (by default: the JSON around it as well); inserts, updates and deletes are on;
      instructions, schema and search are the library's own.
    - Failure modes: a model that answers in plain text, with arguments that are not JSON, or
      with the id of no memory, changes nothing, and the library says nothing:
      ``parse_failures``, one for every such reply, and ``dropped_writes``. So is a model's
      decision in plain words that there is nothing to store. A failed call raises
      (``llm_errors`` and ``failures``); while memories exist trustcall asks again, here
      ``MAX_STEPS`` times at most. Writes that the store refused are raised: ``failures``.
    - Prompts are not reproducible byte for byte: they hold random ids.
    - Departures from the paper: none known; the paper names no version.

    Args:
        gateway: Gateway to the language model.
        encoder: One of the environment's encoders, shared within the process.

    Raises:
        MissingDependencyError: The library is not installed.
    """

    name: ClassVar[str] = "langmem"
    uses_llm: ClassVar[bool] = True

    def __init__(self, gateway: Gateway, encoder: str = "minilm") -> None:
        super().__init__()
        telemetry.disable()
        logging.getLogger("extraction").setLevel(logging.CRITICAL + 1)  # trustcall's
        self._encoder = make_encoder(encoder)
        self._url = gateway.url(self)
        self._http = http_client()
        self._model = require("langchain_openai", extra="baselines").ChatOpenAI(
            model="model",
            base_url=self._url,
            api_key=gateway.token,
            temperature=0,
            max_tokens=MAX_TOKENS,
            max_retries=0,
            http_client=self._http,
            openai_proxy="",  # or the environment's, which the client would be refused for
            callbacks=[_make_checker(self)],
        )
        self.reset()

    def reset(self) -> None:
        """Start with an empty store."""
        library = require("langmem", extra="baselines")
        stores = require("langgraph.store.memory", extra="baselines")
        index = {
            "dims": self._encoder.dim,
            "embed": lambda texts: self._encoder.encode(list(texts)).tolist(),
            "fields": ["content.content"],
        }
        self._store = stores.InMemoryStore(index=index)
        with BUILDING:  # LangChain changes the process's warning filters meanwhile
            self._manager = library.create_memory_store_manager(
                self._model, namespace=NAMESPACE, store=self._store, enable_deletes=True
            )
        self._order: dict[str, None] = {}

    def observe(self, text: str) -> None:
        """Let the model decide what to store of the message."""
        clean = sendable(text)
        with _untraced():
            puts = self._manager.invoke(
                {"messages": [{"role": "user", "content": clean}]},
                config={"recursion_limit": MAX_STEPS},
            )
        self._order.update(dict.fromkeys(put["key"] for put in puts))
        for put in puts:  # the library writes in threads and ignores their errors
            stored = self._store.get(NAMESPACE, put["key"])
            if stored is None or stored.value != put["value"]:
                raise RuntimeError("a memory was not written")

    def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
        """The nearest memories."""
        clean = sendable(query)
        with _untraced():
            return [_text(item.value) for item in self._manager.search(query=clean, limit=top_k)]

    def memories(self) -> list[str]:
        """All memories, in the order in which they were added."""
        items = (self._store.get(NAMESPACE, key) for key in self._order)
        return [_text(item.value) for item in items if item is not None]

    def close(self) -> None:
        """Empty the store and close the connections."""
        self.reset()
        self._http.close()


def _text(value: Any) -> str:
    """A memory's text, as the store holds it or as the manager returns it."""
    content = getattr(value, "content", value)
    while isinstance(content, Mapping) and "content" in content:
        content = content["content"]
    return str(content)


def _untraced() -> Any:
    """A context in which no trace is sent, whatever the environment variables say."""
    return require("langsmith", extra="baselines").tracing_context(enabled=False)


def _make_checker(system: LangMemSystem) -> Any:
    """A listener that counts the replies that trustcall silently ignores.

    The gateway counts replies without a call, or with unreadable arguments.
    """
    callbacks = require("langchain_core.callbacks", extra="baselines")

    class Checker(callbacks.BaseCallbackHandler):  # type: ignore[misc, name-defined]
        """Checks each reply against the tools and the ids of its prompt."""

        def __init__(self) -> None:
            self._asked: dict[Any, tuple[dict[str, Any], set[str]]] = {}

        def on_chat_model_start(
            self, _: Any, messages: Sequence[Sequence[Any]], *, run_id: Any, **kwargs: Any
        ) -> None:
            offered = (tool["function"] for tool in kwargs["invocation_params"]["tools"])
            tools = {tool["name"]: tool["parameters"] for tool in offered}
            shown = "\n".join(str(message.content) for chat in messages for message in chat)
            ids = {first or second for first, second in _SHOWN_ID.findall(shown)}
            self._asked[run_id] = (tools, ids)

        def on_llm_end(self, response: Any, *, run_id: Any, **_: Any) -> None:
            tools, ids = self._asked.pop(run_id)
            message = response.generations[0][0].message
            if not message.invalid_tool_calls:
                calls = message.tool_calls
                system.usage.parse_failures += not all(_is_usable(c, tools, ids) for c in calls)

        def on_llm_error(self, _: BaseException, *, run_id: Any, **__: Any) -> None:
            self._asked.pop(run_id, None)

    return Checker()


def _is_usable(call: Mapping[str, Any], tools: Mapping[str, Any], ids: set[str]) -> bool:
    """Whether a tool call can be carried out."""
    name, arguments = call["name"], call["args"]
    if name not in tools:
        return False
    validator = require("jsonschema", extra="baselines").Draft202012Validator(tools[name])
    if not validator.is_valid(arguments):
        return False
    if name == "PatchDoc" and any(p["path"] != "/content" for p in arguments["patches"]):
        return False  # a memory has one field
    return arguments.get("json_doc_id", None) in ids if "json_doc_id" in arguments else True
