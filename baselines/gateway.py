"""The one way from a memory system's library to a language model, which counts what passes.

Libraries call their model at any time, from their own threads, through their own clients. Each
system gets a URL of its own on a loopback server in this process, which passes
``/chat/completions`` on to the real server, and counts calls, tokens, errors, and replies that
are not what the call asked for. Nothing else is passed on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

from agemem.baselines.base import MemorySystem, Usage
from agemem_envs.util.endpoint import ChatEndpoint
from agemem_envs.util.http_server import JSONHandler, ThreadedServer

MAX_BODY = 16 * 2**20
"""Bytes of a request; a library's prompt is far below."""
PATH = "/v1/chat/completions"
Body = dict[str, Any]
Complete = Callable[[Body], Body]
"""From the body of a chat completion's request to that of its reply; raises EndpointError."""


class Gateway:
    """A loopback server before a model's server.

    Args:
        complete: Answers a request.
    """

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._lock = threading.Lock()
        self._systems: list[MemorySystem] = []
        gateway = self

        class Handler(_Handler):
            def answer(self, system: int, body: Body) -> tuple[int, Body]:
                return gateway._answer(system, body)

        self._server = ThreadedServer(Handler)
        self._server.start()

    def url(self, system: MemorySystem) -> str:
        """The URL, up to ``/v1``, under which a system's calls are counted as its own."""
        with self._lock:
            self._systems.append(system)
            number = len(self._systems) - 1
        return f"http://127.0.0.1:{self._server.server_port}/{number}/v1"

    def _answer(self, number: int, body: Body) -> tuple[int, Body]:
        if not 0 <= number < len(self._systems):
            return 404, _error("no such system")
        usage = self._systems[number].usage  # of the episode that the call began in
        try:
            reply = self._complete(body)
        except Exception as error:  # the library is told; an endpoint's error or a defect of ours
            with self._lock:
                usage.llm_calls += 1
                usage.llm_errors += 1
            return 502, _error(str(error) or type(error).__name__)
        with self._lock:
            _count(usage, body, reply)
        return 200, reply

    def close(self) -> None:
        """Stop serving. Calling it again has no effect."""
        self._server.close()


def _count(usage: Usage, body: Body, reply: Body) -> None:
    tokens = reply.get("usage") or {}
    usage.llm_calls += 1
    usage.prompt_tokens += int(tokens.get("prompt_tokens") or 0)
    usage.completion_tokens += int(tokens.get("completion_tokens") or 0)
    usage.parse_failures += not _is_as_asked(body, reply)


def _is_as_asked(body: Body, reply: Body) -> bool:
    """Whether a reply has the form that the request asked for."""
    try:
        message = reply["choices"][0]["message"]
        calls = message.get("tool_calls") or []
        if body.get("tools") and body.get("tool_choice") != "none":
            if not calls:
                return False
            return all(_is_object(call["function"]["arguments"]) for call in calls)
        form = (body.get("response_format") or {}).get("type", "text")
        return form == "text" or _is_object(message.get("content"))
    except (AttributeError, IndexError, KeyError, TypeError):
        return False


def _limited(body: Body, limit: int | None) -> Body:
    """A request for at most so many tokens, under the name that it uses itself."""
    if limit is None:
        return body
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    return {**body, name: min(limit, body.get(name) or limit)}


def _is_object(text: Any) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (TypeError, ValueError, RecursionError):
        return False


def _error(message: str) -> Body:
    return {"error": {"message": message, "type": "gateway_error"}}


class _Handler(JSONHandler):
    """The HTTP side of a gateway."""

    def answer(self, system: int, body: Body) -> tuple[int, Body]:
        raise NotImplementedError

    def do_POST(self) -> None:  # noqa: N802
        number, _, path = self.path.lstrip("/").partition("/")
        size = int(self.headers.get("content-length") or 0)
        if f"/{path}" != PATH or not number.isdigit() or size > MAX_BODY:
            self.close_connection = True
            return self.send_json(404, _error(f"{self.path} is not passed on"))
        try:
            body = json.loads(self.rfile.read(size))
        except ValueError as error:
            return self.send_json(400, _error(f"the body is not JSON: {error}"))
        if not isinstance(body, dict):
            return self.send_json(400, _error("the body is not a JSON object"))
        return self.send_json(*self.answer(int(number), body))


def forward_to(endpoint: ChatEndpoint, max_tokens: int | None = None) -> Complete:
    """Completions by a model's server, with the endpoint's retries.

    Args:
        endpoint: The server and the model. The library's own name of the model is replaced.
        max_tokens: Maximum tokens of one reply; a library may ask for fewer.
    """
    return lambda body: endpoint.post(_limited(body, max_tokens))
