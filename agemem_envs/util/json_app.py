"""A Starlette application for programs: JSON in, JSON or events out, errors in OpenAI's format."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import math
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from agemem_envs.util.http_errors import Body, RequestError, error_body

CONCURRENT = 512
"""Requests answered at once; further ones get status 503."""
MAX_HEADERS = 100
MAX_HEAD = 32 * 2**10
"""Maximum bytes of the headers together."""
OPEN_PATH = "/health"
"""The path that needs no token, as with vLLM and llama.cpp."""

_PAUSE = 0.5
"""Seconds to wait for more of a body that nobody wants."""
_Result = TypeVar("_Result")


def json_app(
    routes: Sequence[BaseRoute],
    *,
    host: str,
    max_body: int,
    token: str | None = None,
    concurrent: int = CONCURRENT,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """An application whose every error is JSON, and that refuses what no program would send.

    Args:
        routes: What is served. An endpoint may raise :class:`RequestError`.
        host: The address that is listened on. On a loopback address, requests must be for one:
            else a web page could reach the server by a name of its own (DNS rebinding).
        max_body: Maximum bytes of a request's body.
        token: The key that requests must bear, or None.
        concurrent: Requests answered at once.
        lifespan: What is open while the application runs.
    """
    guard = Middleware(
        _Guard, loopback=_is_loopback(host), max_body=max_body, token=token, concurrent=concurrent
    )
    handlers = {
        RequestError: _on_request_error,
        HTTPException: _on_http_error,
        RecursionError: _on_deep_json,
        ClientDisconnect: _on_disconnect,
        Exception: _on_defect,
    }
    app = Starlette(
        routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=lifespan
    )
    app.router.redirect_slashes = False
    return app


def json_response(body: Mapping[str, Any], status: int = HTTPStatus.OK) -> Response:
    """A reply. Starlette's own cannot send lone surrogates, which models do write."""
    return Response(json.dumps(body).encode(), status, media_type="application/json")


async def read_json(request: Request) -> Body:
    """The JSON object that a request sends.

    Raises:
        RequestError: The body is not a JSON object, or holds an infinite number.
    """
    try:
        parsed = json.loads(await request.body(), parse_constant=_number, parse_float=_number)
    except RecursionError:
        raise RequestError("the body is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise RequestError("the body is not a JSON object")
    return parsed


async def unless_gone(request: Request, call: Awaitable[_Result]) -> _Result:
    """The result of a call, which ends when the client hangs up.

    Raises:
        ClientDisconnect: The client has hung up.
    """
    task = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_hang_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Guard:
    """Refuses requests by their head; bounds the bodies of the others.

    A reply to a request whose body has not been read waits until a moderate rest of it is read,
    so that the client, which still sends, gets to read the reply.
    """

    def __init__(
        self, app: ASGIApp, *, loopback: bool, max_body: int, token: str | None, concurrent: int
    ) -> None:
        self._app = app
        self._loopback = loopback
        self._max_body = max_body
        self._token = None if token is None else f"Bearer {token}".encode()
        self._concurrent = concurrent
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        body = _BodyReader(receive, self._max_body)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not body.whole:
                await body.drain()
                if not body.whole:
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        self._active += 1
        try:
            self._check(scope)
            return await self._app(scope, body.receive, answer)
        except RequestError as error:
            return await json_response(error.body, error.status)(scope, receive, answer)
        finally:
            self._active -= 1

    def _check(self, scope: Scope) -> None:
        """Refuse a request by its head.

        Raises:
            RequestError: It is refused.
        """
        given = scope["headers"]
        headers = dict(reversed(given))  # the first of each name
        if len(given) > MAX_HEADERS or sum(len(k) + len(v) for k, v in given) > MAX_HEAD:
            raise RequestError("too many or too long headers", 431)
        if self._active > self._concurrent:
            raise RequestError(
                f"{self._concurrent} requests are being answered: try again later",
                HTTPStatus.SERVICE_UNAVAILABLE,
                "overloaded",
            )
        if scope["method"] not in ("GET", "POST"):
            raise RequestError(f"{scope['method'][:40]} is not served", HTTPStatus.NOT_IMPLEMENTED)
        if b"origin" in headers:
            raise RequestError("web pages may not call this server", HTTPStatus.FORBIDDEN)
        if self._loopback and not _names_loopback(headers.get(b"host", b"")):
            raise RequestError("the Host header names another server", HTTPStatus.FORBIDDEN)
        if self._token is not None and scope["path"] != OPEN_PATH:
            key = headers.get(b"authorization", b"")
            if not hmac.compare_digest(key, self._token):
                raise RequestError("wrong API key", HTTPStatus.UNAUTHORIZED, "invalid_api_key")
        if b"content-length" in headers:
            self._check_length(int(headers[b"content-length"]), b"transfer-encoding" in headers)

    def _check_length(self, size: int, is_chunked: bool) -> None:
        if is_chunked:
            raise RequestError(
                "send a Content-Length or chunks, not both", HTTPStatus.LENGTH_REQUIRED
            )
        if size > self._max_body:
            raise RequestError(
                f"the body has {size} bytes; at most {self._max_body} are accepted",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )


def _names_loopback(header: bytes) -> bool:
    try:
        return _is_loopback(urlsplit(f"//{header.decode('latin-1')}").hostname or "")
    except ValueError:  # an open bracket
        return False


class _BodyReader:
    """The body of a request, up to a maximum of bytes.

    Attributes:
        whole: Whether all of it has been read.
    """

    def __init__(self, receive: Receive, maximum: int) -> None:
        self._receive = receive
        self._maximum = maximum
        self._size = 0
        self.whole = False

    async def receive(self) -> Message:
        """The next part, or the news that the client has hung up.

        Raises:
            RequestError: The body is too long.
        """
        message = await self._next()
        if self._size > self._maximum:
            raise RequestError(
                f"the body has more than the {self._maximum} bytes that are accepted",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        return message

    async def drain(self) -> None:
        """Read and drop what comes at once, at most twice the maximum."""
        with contextlib.suppress(TimeoutError):
            while not self.whole and self._size <= 2 * self._maximum:
                message = await asyncio.wait_for(self._next(), _PAUSE)
                if message["type"] == "http.disconnect":
                    return

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        return message


async def _on_request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return json_response(error.body, error.status)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path[:200]} is not served here"
    return json_response(error_body(message, error.status_code), error.status_code)


async def _on_deep_json(request: Request, error: Exception) -> Response:
    return json_response(error_body("the request is nested too deeply", 400), 400)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


async def _on_defect(request: Request, error: Exception) -> Response:
    """A client gets an answer, whatever happens."""
    return json_response(error_body(f"{type(error).__name__}: {error}"[:500], 500), 500)
