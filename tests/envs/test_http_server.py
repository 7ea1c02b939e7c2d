"""The common base of the HTTP servers: what a client may take, and how the server ends."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agemem_envs.util.http_errors import RequestError
from agemem_envs.util.http_protocol import Limits
from agemem_envs.util.http_server import ThreadedServer
from agemem_envs.util.json_app import MAX_HEADERS, json_app, json_response, read_json, unless_gone

MAX_BODY = 100_000
TOKEN = "sesame"
ECHO = "/v1/echo"


class Served:
    """A server with an endpoint that answers at once, one that never does, and one that fails."""

    def __init__(self, limits: Limits | None = None, **options: Any) -> None:
        self.waits, self.cancelled = threading.Event(), threading.Event()
        self.server = ThreadedServer(limits=limits)
        routes = [
            Route(ECHO, self.echo, methods=["POST"]),
            Route("/v1/wait", self.wait, methods=["POST"]),
            Route("/v1/fail", self.fail, methods=["POST"]),
            Route("/health", self.health),
        ]
        self.server.start(json_app(routes, host="127.0.0.1", max_body=MAX_BODY, **options))

    async def echo(self, request: Request) -> Response:
        return json_response({"got": await read_json(request)})

    async def wait(self, request: Request) -> Response:
        self.waits.set()
        try:
            await unless_gone(request, asyncio.sleep(3600))
        finally:
            self.cancelled.set()
        raise AssertionError

    async def fail(self, request: Request) -> Response:
        raise KeyError("a defect")

    async def health(self, request: Request) -> Response:
        return json_response({"status": "ok"})

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)

    def send(self, text: bytes) -> tuple[int, Any]:
        """The reply to what is sent as it is."""
        with self.connect() as client:
            client.sendall(text)
            return reply(client)

    def post(self, body: bytes, path: str = ECHO, **headers: str) -> tuple[int, Any]:
        lines = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return self.send(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)


def reply(client: socket.socket) -> tuple[int, Any]:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, json.loads(answer.read())


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "http server"]


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.server.close()


def chunked(*parts: bytes) -> bytes:
    head = f"POST {ECHO} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


def test_hundreds_of_half_open_connections_take_no_thread(served: Served) -> None:
    before = threading.active_count()
    clients = [served.connect() for _ in range(300)]
    for client in clients:
        client.sendall(b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    assert served.post(b'{"a": 1}') == (200, {"got": {"a": 1}})
    assert threading.active_count() == before
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    ("length", "status"),
    [("-1", 400), ("many", 400), ("1e3", 400), ("9" * 40, 400), ("9" * 15, 413), ("100001", 413)],
)
def test_a_wrong_length_is_refused_before_the_body(
    served: Served, length: str, status: int
) -> None:
    got, body = served.post(b"", **{"Content-Length": length})
    assert got == status
    assert body["error"].keys() == {"message", "type", "param", "code"}


def test_a_body_that_is_too_long_can_be_sent_and_is_refused(served: Served) -> None:
    assert served.post(b" " * (MAX_BODY + 1))[0] == 413
    assert served.post(b'"' + b" " * (MAX_BODY - 2) + b'"')[0] == 400  # as long as may be


def test_chunks_are_read_up_to_the_limit(served: Served) -> None:
    assert served.send(chunked(b'{"a"', b": 1}", b"")) == (200, {"got": {"a": 1}})
    assert served.send(chunked(*[b" " * 10_000] * 11, b""))[0] == 413
    assert served.send(chunked(b"x" * 10) + b"nonsense\r\n")[0] == 400
    with served.connect() as client:  # without an end
        client.sendall(chunked())
        endless = b"2710\r\n%s\r\n" % (b" " * 10_000) * 5_000  # the system holds some of it
        with pytest.raises(ConnectionError):
            client.sendall(endless)


def test_what_follows_a_body_is_the_next_request(served: Served) -> None:
    with served.connect() as client:
        head = b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
        client.sendall(head + b"{}{}{}\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(65_536), b""))
    assert [answers.count(b"HTTP/1.1 %d" % status) for status in (200, 400)] == [1, 1]


def test_heads_are_limited(served: Served) -> None:
    assert served.post(b"{}", **{f"x{i}": "1" for i in range(MAX_HEADERS)})[0] == 431
    assert served.post(b"{}", x="y" * 40_000)[0] == 431
    assert served.post(b"{}", x="y" * 400_000)[0] == 431
    assert served.send(b"nonsense\r\n\r\n")[0] == 400


@pytest.mark.parametrize(
    "part",
    [
        b"",
        b"POST /v1/echo HTTP/1.1\r\nHost: local",
        b"POST /v1/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        b"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HT",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n\r\n",
    ],
)
def test_a_request_that_does_not_arrive_is_given_up(part: bytes) -> None:
    served = Served(Limits(request_seconds=0.2, idle_seconds=1))
    with served.connect() as client:
        client.sendall(part)
        while client.recv(65_536):
            pass  # until the server closes
    served.server.close()


def test_the_time_limit_is_not_one_of_the_answer() -> None:
    served = Served(Limits(request_seconds=0.1))
    with served.connect() as client:
        client.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert served.waits.wait(20)
        assert not served.cancelled.wait(0.5)
    assert served.cancelled.wait(20)
    served.server.close()


def test_more_requests_than_may_be_answered_at_once_are_refused() -> None:
    served = Served(concurrent=1)
    with served.connect() as client:
        client.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert served.waits.wait(20)
        status, body = served.post(b"{}")
        assert (status, body["error"]["code"]) == (503, "overloaded")
    assert served.cancelled.wait(20)
    while served.post(b"{}")[0] == 503:
        pass
    assert served.post(b"{}")[0] == 200
    served.server.close()


def test_more_connections_than_may_be_open_are_cut() -> None:
    served = Served(Limits(connections=2))
    clients = [served.connect() for _ in range(3)]
    assert clients[2].recv(1) == b""
    for client in clients:
        client.close()
    while True:
        try:
            assert served.post(b"{}")[0] == 200
            break
        except ConnectionError:
            pass
    served.server.close()


def test_a_token_is_required_but_for_health() -> None:
    served = Served(token=TOKEN)
    assert served.post(b"{}", Authorization=f"Bearer {TOKEN}")[0] == 200
    for wrong in ("", "Bearer", TOKEN, f"Bearer {TOKEN}2", "Bearer \xe9", f"Basic {TOKEN}"):
        status, body = served.post(b"{}", Authorization=wrong)
        assert (status, body["error"]["code"]) == (401, "invalid_api_key")
        assert TOKEN not in json.dumps(body)
    assert served.post(b"{}")[0] == 401
    assert served.post(b" " * (MAX_BODY * 2))[0] == 401
    assert served.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
    served.server.close()


def test_web_pages_are_refused(served: Served) -> None:
    for origin in ("http://evil.example", "null", "http://localhost"):
        assert served.post(b"{}", Origin=origin)[0] == 403
    for host in ("evil.example", "127.0.0.1.evil.example:80", "[", "", "10.0.0.1"):
        assert served.post(b"{}", Host=host)[0] == 403
    for host in ("localhost", "127.0.0.1:80", "[::1]:80", "LOCALHOST:1"):
        assert served.post(b"{}", Host=host)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        b"{nope",
        b"[]",
        b"\xff",
        b"[" * 90_000,
        b'{"a": NaN}',
        b'{"a": [-Infinity]}',
        b'{"a": 1e999}',
        b'{"a": %s}' % (b"9" * 9_000),
    ],
)
def test_what_is_not_a_json_object_is_refused(served: Served, body: bytes) -> None:
    status, answer = served.post(body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_other_paths_and_methods_are_refused_in_json(served: Served) -> None:
    assert served.post(b"{}", "/v1/nope")[0] == 404
    assert served.post(b"{}", f"{ECHO}/")[0] == 404
    assert served.send(b"GET /v1/echo HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 405
    assert served.send(b"BREW /v1/echo HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 501


def test_nothing_is_written_to_standard_error(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    status, body = served.post(b"{}", "/v1/fail")
    assert (status, body["error"]["type"]) == (500, "server_error")
    served.post(b"{}", Upgrade="websocket", Connection="upgrade")
    served.send(b"nonsense\r\n\r\n")
    with served.connect() as client:
        client.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert served.waits.wait(20)
    assert served.cancelled.wait(20)
    served.server.close()
    assert capfd.readouterr() == ("", "")


def test_closing_amid_requests_ends_them_and_leaves_no_thread() -> None:
    served = Served()
    with served.connect() as busy, served.connect() as idle:
        busy.sendall(b"POST /v1/wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
        assert served.waits.wait(20)
        served.server.close()
        assert served.cancelled.is_set()
        assert busy.recv(1) == idle.recv(1) == b""
    served.server.close()
    assert not threads()
    with pytest.raises(ConnectionError):
        served.connect()


def test_a_port_is_taken_from_the_beginning() -> None:
    first = ThreadedServer()
    with pytest.raises(OSError, match="in use"):
        ThreadedServer(port=first.port)
    with pytest.raises(OverflowError):
        ThreadedServer(port=99_999)
    first.close()
    first.close()
    ThreadedServer(port=first.port).close()


def test_an_error_of_an_endpoint_keeps_the_connection(served: Served) -> None:
    error = RequestError("no", 418, "teapot", "x")
    assert error.body["error"] == {
        "message": "no", "type": "invalid_request_error", "param": "x", "code": "teapot",
    }  # fmt: skip
    with served.connect() as client:
        for path in ("nope", "echo"):
            client.sendall(f"POST /v1/{path} HTTP/1.1\r\nHost: localhost\r\n".encode())
            client.sendall(b"Content-Length: 2\r\n\r\n{}")
            assert reply(client)[0] == (404 if path == "nope" else 200)
