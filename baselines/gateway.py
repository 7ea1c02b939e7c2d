"""The gateway from a memory system's library to a language model, which counts the calls.

Libraries call their model at any time, from their own threads, through their own clients. Each
system gets its own URL on a loopback server in this process. The server forwards
``/chat/completions`` to the real one, and counts calls, tokens, errors, and replies without the
requested form. It forwards nothing else.
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
"""Maximum bytes of a request, far above a library's prompts."""
PATH = "/v1/chat/completions"
Body = dict[str, Any]
Complete = Callable[[Body], Body]
"""Maps the JSON of a chat request to that of its reply. It may raise EndpointError."""


class Gateway:
    """A loopback server in front of a model's server.

    Args:
        complete: Answers the requests.
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
        """A new URL, up to and including ``/v1``; its calls are counted for ``system``."""
        with self._lock:
            self._systems.append(system)
            number = len(self._systems) - 1
        return f"http://127.0.0.1:{self._server.server_port}/{number}/v1"

    def _answer(self, number: int, body: Body) -> tuple[int, Body]:
        if not 0 <= number < len(self._systems):
            return 404, _error("no such system")
        usage = self._systems[number].usage  # of the episode in which the call began
        try:
            reply = self._complete(body)
        except Exception as error:  # the endpoint's error, or a defect of ours: the library gets it
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
    """Whether a reply has the form that the request asks for."""
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
    """The request with at most ``limit`` tokens, in the field that the library uses."""
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
