"""The HTTP server in front of llama.cpp's: OpenAI's paths and errors, limits, and translation.

It keeps no state: each request is translated and passed on, and its reply is translated back.
A client that hangs up ends its completion, so that retries after a time-out do not pile up.
"""

from __future__ import annotations

import http.client
import json
import selectors
import socket
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from agemem.agents.backbones.server.errors import Body, RequestError, error_body
from agemem.agents.backbones.server.translation import translate
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.http_server import JSONHandler, ThreadedServer

MAX_BODY = 8 * 2**20
"""Maximum bytes of a request: far more than the window of a local model holds."""
CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
_MAX_DRAIN = 4 * MAX_BODY
_CHUNK = 2**16


class Front:
    """The public server. It listens at once and answers from :meth:`serve` on.

    Args:
        model: The served model's name. Requests may use any other name.
        host: Address to listen on.
        port: 0 picks a free one.

    Attributes:
        url: Base URL for clients, up to and including ``/v1``.

    Raises:
        ConfigurationError: The server cannot listen on the address.
    """

    def __init__(self, model: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self._model = model
        self._upstream = ("", 0)
        front = self

        class Handler(_Handler):
            def answer(self, method: str, path: str, body: bytes) -> Body:
                return front._answer(method, path, body, self.connection)

        try:
            self._server = ThreadedServer(Handler, host, port)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error}). Choose another --host or --port; "
                "--port 0 picks a free port"
            ) from error
        self.url = f"http://{_reachable(host)}:{self._server.server_port}/v1"

    def serve(self, upstream: str) -> None:
        """Answer from llama.cpp's server at the URL ``upstream``, in a thread."""
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._server.start()

    def close(self) -> None:
        """Stop listening. Calling it again has no effect."""
        self._server.close()

    def _answer(self, method: str, path: str, body: bytes, client: socket.socket) -> Body:
        """The reply's JSON.

        Raises:
            RequestError: The reply is an error.
        """
        if path == CHAT and method == "POST":
            exchange = translate(_parsed(body))
            return exchange.reply(
                self._upstream_call("POST", CHAT, exchange.request, client), self._model
            )
        if path == "/health" and method == "GET":
            return self._upstream_call("GET", "/health", None, client)
        if path == MODELS and method == "GET":
            return {"object": "list", "data": [self._card()]}
        if path.startswith(f"{MODELS}/") and method == "GET":
            if (name := unquote(path[len(MODELS) + 1 :])) == self._model:
                return self._card()
            raise RequestError(f"the model {name!r} is not served here", 404, "model_not_found")
        known = path in (CHAT, MODELS, "/health")
        status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
        raise RequestError(f"{method} {path[:200]} is not served here", status)

    def _card(self) -> Body:
        return {"id": self._model, "object": "model", "created": 0, "owned_by": "local"}

    def _upstream_call(
        self, method: str, path: str, body: Body | None, client: socket.socket
    ) -> Body:
        connection = http.client.HTTPConnection(*self._upstream)
        data = None if body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"})
            _wait(connection.sock, client)
            reply = connection.getresponse()
            status, content = reply.status, json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, _ClientGoneError):
                raise
            raise RequestError(
                f"the model's server does not answer ({type(error).__name__}: {error})",
                HTTPStatus.SERVICE_UNAVAILABLE,
                "upstream_unavailable",
            ) from error
        finally:
            connection.close()
        if status != HTTPStatus.OK or not isinstance(content, dict):
            raise _upstream_error(status, content)
        return content


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("", "0.0.0.0") else host


def _parsed(body: bytes) -> Body:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise RequestError("the body is not a JSON object")
    return parsed


def _wait(upstream: socket.socket, client: socket.socket) -> None:
    """Wait until the reply begins.

    Raises:
        _ClientGoneError: The client hung up first.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(upstream, selectors.EVENT_READ)
        selector.register(client, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if upstream in ready:
                return
            if not client.recv(1, socket.MSG_PEEK):
                raise _ClientGoneError
            selector.unregister(client)  # its next request came early: stop watching


def _upstream_error(status: int, content: Any) -> RequestError:
    error = content.get("error") if isinstance(content, dict) else None
    error = error if isinstance(error, dict) else {}
    message = str(error.get("message") or f"llama.cpp answered with status {status}")
    too_long = error.get("type") == "exceed_context_size_error"
    return RequestError(message, status, "context_length_exceeded" if too_long else None)


class _ClientGoneError(ConnectionError):
    """The client no longer waits for the reply."""


class _Handler(JSONHandler):
    timeout = 60.0  # seconds for a client to finish a request, or to send the next one

    def answer(self, method: str, path: str, body: bytes) -> Body:
        raise NotImplementedError

    def do_GET(self) -> None:  # noqa: N802
        self._handle()

    def do_POST(self) -> None:  # noqa: N802
        self._handle()

    def _handle(self) -> None:
        try:
            body = self._read_body()
            self.send_json(HTTPStatus.OK, self.answer(self.command, urlsplit(self.path).path, body))
        except RequestError as error:
            self.send_json(error.status, error.body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # a client gets an answer, whatever happens
            message = f"{type(error).__name__}: {error}"[:500]
            self.send_json(HTTPStatus.INTERNAL_SERVER_ERROR, error_body(message, 500))

    def _read_body(self) -> bytes:
        if "transfer-encoding" in self.headers:
            self.close_connection = True
            raise RequestError("send a Content-Length", HTTPStatus.LENGTH_REQUIRED)
        length = self.headers.get("content-length", "0").strip()
        if not (length.isascii() and length.isdigit()):
            self.close_connection = True
            raise RequestError(f"Content-Length is {length[:40]!r}, not a number")
        size = int(length[:20])
        if size > MAX_BODY:
            self._drain(size)
            raise RequestError(
                f"the body has {size} bytes; at most {MAX_BODY} are accepted",
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            )
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionAbortedError("the body is shorter than its Content-Length")
        return body

    def _drain(self, size: int) -> None:
        """Read a moderate excess, so that the client gets to read the reply."""
        self.close_connection = True
        left = min(size, _MAX_DRAIN)
        while left > 0 and (chunk := self.rfile.read(min(left, _CHUNK))):
            left -= len(chunk)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send the errors of http.server itself in OpenAI's format."""
        self.close_connection = True
        self.send_json(code, error_body(message or explain or HTTPStatus(code).phrase, code))
