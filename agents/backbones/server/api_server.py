"""The HTTP server in front of llama.cpp's: OpenAI's paths and errors, limits, and translation.

It keeps no state: each request is translated and passed on, and its reply is translated back.
A client that hangs up ends its completion, so that retries after a time-out do not pile up.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agemem.agents.backbones.server.translation import Exchange, translate
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.chat_stream import DONE, MEDIA_TYPE, event, wants_usage, whole_stream
from agemem_envs.util.http_errors import Body, RequestError, error_body
from agemem_envs.util.http_server import ThreadedServer
from agemem_envs.util.json_app import json_app, json_response, read_json, unless_gone

MAX_BODY = 8 * 2**20
"""Maximum bytes of a request: far more than the window of a local model holds."""
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
HEALTH = "/health"
_IDLE_SECONDS = 2.0
"""llama.cpp closes a connection that is idle for 5 seconds."""
_NO_LIMIT = aiohttp.ClientTimeout(total=None)
_FAULTY = (AttributeError, IndexError, KeyError, TypeError, ValueError)


class Front:
    """The public server. It listens at once and answers from :meth:`serve` on.

    Args:
        model: The served model's name. Requests may use any other name.
        host: Address to listen on.
        port: 0 picks a free one.
        api_key: The key that clients must send, or None.

    Attributes:
        url: Base URL for clients, up to and including ``/v1``.

    Raises:
        ConfigurationError: The server cannot listen on the address.
    """

    def __init__(
        self, model: str, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None
    ) -> None:
        self._model, self._host, self._api_key = model, host, api_key
        try:
            self._server = ThreadedServer(host, port)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error}). Choose another --host or --port; "
                "--port 0 picks a free port"
            ) from error
        self.url = f"http://{_reachable(host)}:{self._server.port}/v1"

    def serve(self, upstream: str, key: str | None = None, connections: int | None = None) -> None:
        """Answer in a thread.

        Args:
            upstream: URL of llama.cpp's server, without ``/v1``.
            key: The key of that server, or None.
            connections: Requests that it is sent at once; further ones wait here. None: all.
        """
        endpoints = _Endpoints(self._model)
        routes = [
            Route(CHAT, endpoints.chat, methods=["POST"]),
            Route(HEALTH, endpoints.health),
            Route(MODELS, endpoints.models),
            Route(f"{MODELS}/{{name:path}}", endpoints.model),
        ]
        self._server.start(
            json_app(
                routes,
                host=self._host,
                max_body=MAX_BODY,
                token=self._api_key,
                lifespan=lambda _: endpoints.before(upstream, key, connections),
            )
        )

    def close(self) -> None:
        """Stop listening. Calling it again has no effect."""
        self._server.close()


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0") else host


class _Endpoints:
    """What is served."""

    def __init__(self, model: str) -> None:
        self._model = model

    @asynccontextmanager
    async def before(
        self, url: str, key: str | None, connections: int | None
    ) -> AsyncIterator[None]:
        """Stand before llama.cpp's server."""
        pool = aiohttp.TCPConnector(limit=connections or 0, keepalive_timeout=_IDLE_SECONDS)
        others = aiohttp.TCPConnector(force_close=True)  # their turn is not after completions
        async with (
            aiohttp.ClientSession(connector=pool, timeout=_NO_LIMIT) as session,
            aiohttp.ClientSession(connector=others, timeout=_NO_LIMIT) as other,
        ):
            self._llama = _Llama(url, key, session, other)
            yield

    async def chat(self, request: Request) -> Response:
        body = await read_json(request)
        usage = wants_usage(body)
        exchange = translate(body)
        if not body.get("stream"):
            return json_response(await self._reply(request, exchange))
        if exchange.calls:  # the reply is read as a whole
            stream = whole_stream(await self._reply(request, exchange), usage=usage)
            return Response(stream, media_type=MEDIA_TYPE)
        asked = {**exchange.request, "stream": True, "stream_options": {"include_usage": usage}}
        reply = await unless_gone(request, self._llama.open(asked))
        return _Stream(reply, self._model)

    async def _reply(self, request: Request, exchange: Exchange) -> Body:
        reply = await unless_gone(request, self._llama.complete(exchange.request))
        try:
            return exchange.reply(reply, self._model)
        except _FAULTY as error:
            raise RequestError(
                f"llama.cpp's reply is not a chat completion ({type(error).__name__}: {error})",
                HTTPStatus.BAD_GATEWAY,
                "bad_upstream_reply",
            ) from error

    async def health(self, request: Request) -> Response:
        return json_response(await unless_gone(request, self._llama.health()))

    async def models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        if (name := request.path_params["name"]) == self._model:
            return json_response(self._card())
        raise RequestError(f"the model {name[:200]!r} is not served here", 404, "model_not_found")

    def _card(self) -> Body:
        return {"id": self._model, "object": "model", "created": 0, "owned_by": "local"}


class _Llama:
    """llama.cpp's server, over one pool of connections.

    Every method raises RequestError if it does not answer as it should.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        session: aiohttp.ClientSession,
        other: aiohttp.ClientSession,
    ) -> None:
        self._url = url
        self._headers = {"content-type": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._session = session
        self._other = other

    async def complete(self, body: Body) -> Body:
        return await _read(await self.open(body))

    async def open(self, body: Body) -> aiohttp.ClientResponse:
        """The reply to a chat request, of status 200, to be read and closed."""
        data = json.dumps(body).encode()
        call = self._session.post(f"{self._url}{CHAT}", data=data, headers=self._headers)
        return await _successful(call)

    async def health(self) -> Body:
        return await _read(await _successful(self._other.get(f"{self._url}{HEALTH}")))


async def _successful(call: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    try:
        reply = await call
    except (aiohttp.ClientError, OSError) as error:
        raise _unavailable(error) from error
    if reply.status != HTTPStatus.OK:
        raise _upstream_error(reply.status, await _read(reply))
    return reply


async def _read(reply: aiohttp.ClientResponse) -> Body:
    """The JSON of a reply, which is closed."""
    try:
        content = json.loads(await reply.read())
    except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
        raise _unavailable(error) from error
    finally:
        reply.close()
    if not isinstance(content, dict):
        raise RequestError(
            f"llama.cpp answered with status {reply.status} and no JSON object",
            HTTPStatus.BAD_GATEWAY,
            "bad_upstream_reply",
        )
    return content


class _Stream(StreamingResponse):
    """The events of llama.cpp, as they arrive. They end when the client hangs up."""

    def __init__(self, reply: aiohttp.ClientResponse, model: str) -> None:
        super().__init__(_events(reply, model), media_type=MEDIA_TYPE)
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._reply.close()


async def _events(reply: aiohttp.ClientResponse, model: str) -> AsyncIterator[bytes]:
    """The translated events. A fault amid the stream is its last event."""
    try:
        async for line in reply.content:
            field, _, text = line.decode().partition(":")
            if field not in ("data", "error"):
                continue
            if text.strip() == "[DONE]":
                yield DONE
                return
            chunk = json.loads(text)
            if field == "error" or "error" in chunk:
                error = chunk.get("error", chunk)
                yield event(_upstream_error(HTTPStatus.BAD_GATEWAY, {"error": error}).body)
                return
            yield event({**chunk, "model": model})
        fault = "llama.cpp's stream ended early"
    except (aiohttp.ClientError, OSError, *_FAULTY) as error:
        fault = f"llama.cpp's stream broke off ({type(error).__name__}: {error})"
    yield event(error_body(fault, HTTPStatus.BAD_GATEWAY, "bad_upstream_reply"))


def _unavailable(error: Exception) -> RequestError:
    return RequestError(
        f"the model's server does not answer ({type(error).__name__}: {error})",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "upstream_unavailable",
    )


def _upstream_error(status: int, content: Any) -> RequestError:
    error = content.get("error") if isinstance(content, dict) else None
    error = error if isinstance(error, dict) else {}
    message = str(error.get("message") or f"llama.cpp answered with status {status}")
    too_long = error.get("type") == "exceed_context_size_error"
    return RequestError(message, status, "context_length_exceeded" if too_long else None)
