"""A server on loopback that speaks the OpenAI protocol, with faults on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = str | tuple[int, bytes]
"""A completion's text, or a raw status and body."""

REFUSED = (401, b'{"error": {"message": "Incorrect API key provided."}}')


class OpenAIStub:
    """Answers ``/v1/chat/completions`` by a rule on the request's body.

    Args:
        rule: Makes the reply.
        delay: Seconds before each reply.
        key: The API key without which it answers 401.
    """

    def __init__(
        self,
        rule: Callable[[dict[str, Any]], Reply],
        delay: float = 0.0,
        key: str | None = None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        stub, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else the body waits 40 ms for the ACK of the head

            def log_message(self, *_: Any) -> None:
                pass

            def _key(self) -> str:
                return str(self.headers["authorization"]).removeprefix("Bearer ")

            def do_POST(self) -> None:
                stub.headers.append(dict(self.headers))
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    stub.requests.append(body)
                time.sleep(delay)
                reply = rule(body) if key in (None, self._key()) else REFUSED
                status, data = (200, _completion(reply)) if isinstance(reply, str) else reply
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except ConnectionError:  # the client gave up waiting, as some tests want
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> OpenAIStub:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _completion(text: str) -> bytes:
    return json.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "stub",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }
    ).encode()
