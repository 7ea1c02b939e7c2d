"""The one way from a memory system's library to a language model, which counts what passes.

Libraries call their model at any time, from their own threads, through their own clients. Each
system gets a URL of its own on a loopback server in this process, which passes
``/chat/completions`` on to the real server, and counts calls, tokens, errors, and replies that
are not what the call asked for. Nothing else is passed on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agemem.baselines.base import MemorySystem, Usage
from agemem_envs.errors import EndpointError, require

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

        self._server = _Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

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
        self._server.shutdown()
        self._server.server_close()


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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    """Connections that may wait: libraries call from many threads at once."""


class _Handler(BaseHTTPRequestHandler):
    """The HTTP side."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the ACK of the head

    def answer(self, system: int, body: Body) -> tuple[int, Body]:
        raise NotImplementedError

    def do_POST(self) -> None:
        number, _, path = self.path.lstrip("/").partition("/")
        size = int(self.headers.get("content-length") or 0)
        if f"/{path}" != PATH or not number.isdigit() or size > MAX_BODY:
            self.close_connection = True
            return self._send(404, _error(f"{self.path} is not passed on"))
        try:
            body = json.loads(self.rfile.read(size))
        except ValueError as error:
            return self._send(400, _error(f"the body is not JSON: {error}"))
        if not isinstance(body, dict):
            return self._send(400, _error("the body is not a JSON object"))
        return self._send(*self.answer(int(number), body))

    def _send(self, status: int, body: Body) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:  # the library gave up waiting
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Nothing: standard error is the progress bar's."""


def forward_to(
    url: str,
    model: str,
    *,
    max_tokens: int | None = None,
    timeout: float = 120.0,
    attempts: int = 4,
    key: str = "none",
) -> Complete:
    """A completion by an OpenAI-compatible server, tried again on passing failures.

    Args:
        url: The server, up to and with ``/v1``.
        model: Put in place of the name that the library sends.
        max_tokens: Of one reply; a library that asks for fewer gets fewer.
        timeout: Seconds for one attempt.
        attempts: At most so many.
        key: The server's API key.

    Raises:
        MissingDependencyError: httpx or tenacity is not installed.
    """
    httpx = require("httpx", extra="baselines")
    tenacity = require("tenacity", extra="eval")
    client = httpx.Client(timeout=timeout, headers={"Authorization": f"Bearer {key}"})

    def once(body: Mapping[str, Any]) -> Body:
        sent = _limited({**body, "model": model}, max_tokens)
        reply = client.post(f"{url}/chat/completions", json=sent)
        reply.raise_for_status()
        found = reply.json()
        if not isinstance(found, dict) or not found.get("choices"):
            raise httpx.DecodingError("the reply is not a chat completion")
        return found

    def is_passing(error: BaseException) -> bool:
        if isinstance(error, httpx.HTTPStatusError):
            status = error.response.status_code
            return status in (408, 409, 429) or status >= 500
        return isinstance(error, (httpx.TransportError, httpx.DecodingError, ValueError))

    retry = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_passing),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_random_exponential(multiplier=0.25, max=8.0),
        reraise=True,
    )

    def complete(body: Body) -> Body:
        try:
            return dict(retry(once, body))
        except (httpx.HTTPError, ValueError) as error:
            told = f"{model} at {url}: {type(error).__name__}: {str(error)[:300]}"
            raise EndpointError(told) from error

    return complete
