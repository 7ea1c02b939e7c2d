"""The gateway from a memory system's library to a language model, which counts the calls.

Libraries call their model at any time, from their own threads, through their own clients. Each
system gets its own URL on a loopback server in this process. The server forwards
``/chat/completions`` to the real one, and counts calls, tokens, errors, and replies without the
requested form. It forwards nothing else, and nothing for other programs: requests bear a token.
"""

from __future__ import annotations

import inspect
import itertools
import json
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, TypeGuard

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agemem.baselines.base import MAX_COUNT, MemorySystem, Usage
from agemem_envs.errors import EndpointError, PromptTooLongError
from agemem_envs.util.chat_stream import MEDIA_TYPE, wants_usage, whole_stream, without_stream
from agemem_envs.util.endpoint import ChatEndpoint
from agemem_envs.util.http_errors import Body, RequestError
from agemem_envs.util.http_server import ThreadedServer
from agemem_envs.util.json_app import json_app, json_response, read_json, unless_gone

MAX_BODY = 16 * 2**20
"""Maximum bytes of a request, far above a library's prompts."""
PATH = "/v1/chat/completions"
THREADS = 64
"""Calls at once of a model that is a plain function; further ones wait."""
Complete = Callable[[Body], Body | Awaitable[Body]]
"""Maps the JSON of a chat request to that of its reply. It may raise EndpointError. A coroutine
function runs on the gateway's event loop, a plain function in a thread."""


class Gateway:
    """A loopback server in front of a model's server.

    Args:
        complete: Answers the requests.

    Attributes:
        token: The API key that requests must bear, so that no other user of the machine can
            call the model. It is random, and written nowhere.
    """

    def __init__(self, complete: Complete) -> None:
        self.token = secrets.token_urlsafe()
        self._complete = complete
        self._is_async = _is_async(complete)
        self._numbers = itertools.count()
        self._systems: dict[str, MemorySystem] = {}
        self._threads = anyio.CapacityLimiter(THREADS)
        self._server = ThreadedServer()
        route = Route(f"/{{system}}{PATH}", self._answer, methods=["POST"])
        self._server.start(json_app([route], host="127.0.0.1", max_body=MAX_BODY, token=self.token))

    def url(self, system: MemorySystem) -> str:
        """A new URL, up to and including ``/v1``; its calls are counted for ``system``."""
        number = str(next(self._numbers))
        self._systems[number] = system
        return f"http://127.0.0.1:{self._server.port}/{number}/v1"

    async def _answer(self, request: Request) -> Response:
        system = self._systems.get(request.path_params["system"])
        if system is None:
            raise RequestError("no such system", HTTPStatus.NOT_FOUND)
        body = await read_json(request)
        stream, with_usage = bool(body.get("stream")), wants_usage(body)
        usage = system.usage  # of the episode in which the call began
        try:
            reply = await self._reply(request, without_stream(body))
            response = _stream(reply, with_usage) if stream else json_response(reply)
        except Exception as error:  # the endpoint's error, or a defect of ours: the library gets it
            usage.llm_calls += 1
            usage.llm_errors += 1
            if usage.llm_errors == usage.llm_calls and _is_of_the_server(error):
                usage.unserved = error
            message = str(error) or type(error).__name__
            raise RequestError(message, HTTPStatus.BAD_GATEWAY) from error
        _count(usage, body, reply)
        return response

    async def _reply(self, request: Request, body: Body) -> Body:
        if self._is_async:
            reply = self._complete(body)
        else:
            reply = await anyio.to_thread.run_sync(
                self._complete, body, limiter=self._threads, abandon_on_cancel=True
            )
        if inspect.isawaitable(reply):
            reply = await unless_gone(request, reply)
        if not isinstance(reply, dict):
            raise TypeError("the model's reply is not a JSON object")
        return reply

    def close(self) -> None:
        """Stop serving. Calling it again has no effect."""
        self._server.close()


def _is_of_the_server(error: Exception) -> TypeGuard[EndpointError]:
    """Whether it is the server's fault, not that of a prompt that is too long."""
    return isinstance(error, EndpointError) and not isinstance(error, PromptTooLongError)


def _is_async(complete: Complete) -> bool:
    call = getattr(complete, "__call__", None)  # noqa: B004 - of an object with the method
    return inspect.iscoroutinefunction(complete) or inspect.iscoroutinefunction(call)


def _stream(reply: Body, with_usage: bool) -> Response:
    return Response(whole_stream(reply, usage=with_usage), media_type=MEDIA_TYPE)


def _count(usage: Usage, body: Body, reply: Body) -> None:
    given = reply.get("usage")
    tokens = given if isinstance(given, dict) else {}
    usage.llm_calls += 1
    usage.unserved = None
    usage.prompt_tokens += _tokens(tokens.get("prompt_tokens"))
    usage.completion_tokens += _tokens(tokens.get("completion_tokens"))
    usage.parse_failures += not _is_as_asked(body, reply)


def _tokens(value: Any) -> int:
    """A token count; 0 for anything but a whole number of at least 0."""
    return min(value, MAX_COUNT) if type(value) is int and value >= 0 else 0


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


def forward_to(endpoint: ChatEndpoint, max_tokens: int | None = None) -> Complete:
    """Completions by a model's server, with the endpoint's retries.

    Args:
        endpoint: The server and the model. The library's own name of the model is replaced.
        max_tokens: Maximum tokens of one reply; a library may ask for fewer.
    """

    async def complete(body: Body) -> Body:
        return await endpoint.post_async(_limited(body, max_tokens))

    return complete
