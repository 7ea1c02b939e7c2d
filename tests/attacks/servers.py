"""Hostile servers: a model's or an encoder's server that replies with anything at all."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import psutil

from agemem_envs.encoders.server import ServerEncoder
from agemem_envs.errors import AgeMemError
from agemem_envs.util.endpoint import ChatEndpoint
from agemem_envs.util.http_client import MAX_REPLY
from tests.attacks import damage
from tests.attacks.tally import CONTROL, Tally, TooLongError, bounded

TIMEOUT = 0.5
"""Seconds that a call may take."""
SLACK = 15
"""Seconds within which it must end, on a busy machine."""
MOST_MEMORY = 6 * MAX_REPLY
"""Bytes by which the process may grow."""
COMPLETION = json.dumps(
    {
        "id": "c", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "<think>a</think><answer>b</answer>"},
            "logprobs": {"content": [{"token": "a", "logprob": -0.1, "bytes": [97]}]},
        }],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
)  # fmt: skip
EMBEDDING = json.dumps(
    {
        "object": "list",
        "data": [
            {"index": i, "object": "embedding", "embedding": [0.5, -0.5, 0.1]} for i in range(4)
        ],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
)
Send = Callable[[socket.socket], None]


def _reply(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    if not any(one.lower().startswith(("content-length", "transfer")) for one in headers):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + body


def _damaged(valid: str, chance: Random) -> bytes:
    text = damage.json_text(valid, chance).encode("utf-8", "surrogatepass")
    return _reply(damage.raw(text, chance) if chance.random() < 0.2 else text)


def _error(valid: str, chance: Random) -> bytes:
    status = chance.choice(("400", "401", "404", "418", "429", "500", "503", "204", "304", "999"))
    said = chance.choice(
        ("", damage.ESCAPE, "maximum context length", "x" * 100_000, damage.MARKUP)
    )
    body = chance.choice((json.dumps({"error": {"message": said}}), json.dumps({"error": 5}), said))
    waits = ("0", "-1", "1e9", "99999999999", "Thu, 99 Xyz 9999", "Wed, 21 Oct 2099 07:28:00")
    return _reply(body.encode(), f"{status} {said[:20]}", f"Retry-After: {chance.choice(waits)}")


def _headers(valid: str, chance: Random) -> bytes:
    header = chance.choice((
        "Content-Length: -5", "Content-Length: 99999999999", "Content-Length: x", "A" * 70_000,
        "Transfer-Encoding: chunked", "Location: http://127.0.0.1:9/", "Set-Cookie: a=\x00",
        "Content-Encoding: gzip", "Content-Encoding: br", "Connection: upgrade",
    ))  # fmt: skip
    status = chance.choice(("200 OK", "301 Moved", "307 Moved", "101 Switching", "100 Continue"))
    return _reply(valid.encode(), status, header)


def _bomb(valid: str, chance: Random) -> bytes:
    packed = gzip.compress(b" " * (4 * MAX_REPLY) + valid.encode())
    return _reply(packed, "200 OK", "Content-Encoding: gzip")


def _noise(valid: str, chance: Random) -> bytes:
    return chance.choice(
        (b"", b"\x00" * 100, chance.randbytes(300), b"HTTP/1.1 200", b"SSH-2.0\r\n")
    )


REPLIES = (_damaged, _damaged, _damaged, _error, _headers, _noise, _bomb)


def behaviour(valid: str, chance: Random) -> Send:
    """What a server sends, and how."""
    kind = chance.random()
    if kind < 0.02:
        return _endless(chance)
    data = chance.choice(REPLIES if kind < 0.1 else REPLIES[:-1])(valid, chance)
    if kind < 0.12:
        return lambda peer: _slowly(peer, data)
    if kind < 0.17:
        return lambda peer: peer.sendall(data[: chance.randrange(len(data) + 1)])
    return lambda peer: peer.sendall(data)


def _endless(chance: Random) -> Send:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    part = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    def send(peer: socket.socket) -> None:
        peer.sendall(head)
        end = time.monotonic() + 2 * SLACK
        while time.monotonic() < end:
            peer.sendall(part)

    return send


def _slowly(peer: socket.socket, data: bytes) -> None:
    for at in range(0, min(len(data), 100)):
        peer.sendall(data[at : at + 1])
        time.sleep(0.02)


class RawServer:
    """Sends what it is told to whoever connects, without reading much."""

    def __init__(self) -> None:
        self.send: Send = lambda peer: None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=[peer, self.send], daemon=True).start()

    def _answer(self, peer: socket.socket, send: Send) -> None:
        with peer:
            try:
                peer.recv(1 << 16)
                send(peer)
            except OSError:  # the client has hung up
                pass

    def close(self) -> None:
        """Stop."""
        self._listener.close()


def attack(count: int, seed: int = 0) -> Tally:
    """Call a hostile server ``count`` times, alternately for a completion and for vectors."""
    tally, server, process = Tally("servers"), RawServer(), psutil.Process()
    before = process.memory_info().rss
    for number in range(seed, seed + count):
        chance = Random(number)
        is_chat = number % 2 == 0
        server.send = behaviour(COMPLETION if is_chat else EMBEDDING, chance)
        problem = _call(server.url, is_chat)
        tally.tried += 1
        grown = process.memory_info().rss - before
        if problem is None and grown > MOST_MEMORY:
            problem, before = f"{grown:,} bytes more", before + grown
        if problem is not None:
            tally.escape(number, problem)
    server.close()
    return tally


def _call(url: str, is_chat: bool) -> str | None:
    """Call a server. Returns what no reply may cause."""
    options: dict[str, Any] = {"timeout": TIMEOUT, "attempts": 1}
    try:
        with bounded(SLACK):
            if is_chat:
                reply = ChatEndpoint("m", url, **options).complete(
                    [{"role": "user", "content": ""}]
                )
                if not isinstance(reply.text, str):
                    return f"a text of type {type(reply.text).__name__}"
            else:
                ServerEncoder("m", url, **options).encode(["a"])
    except TooLongError:
        return f"more than {SLACK} seconds"
    except AgeMemError as error:
        if len(str(error)) > 1_000 or "\n" in str(error) or CONTROL.search(str(error)):
            return f"the error {str(error)[:200]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200}"
    return None
