"""An HTTP server in a thread of this process, whose requests and replies are JSON."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ThreadedServer(ThreadingHTTPServer):
    """Listens at once; answers from :meth:`start` on, each connection in a thread.

    Args:
        handler: The class that answers requests.
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.

    Raises:
        OSError: The server cannot listen on the address.
        OverflowError: The port is out of range.
    """

    daemon_threads = True
    request_queue_size = 256
    """Connections that may wait: clients call from many threads at once."""

    def __init__(
        self, handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__((host, port), handler)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to answer, in a thread."""
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop. Calling it again has no effect."""
        if self._thread is not None:
            self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the client has hung up."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class JSONHandler(BaseHTTPRequestHandler):
    """Keeps connections open, sends JSON, and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms for the ACK of the head

    def send_json(self, status: int, body: Mapping[str, Any]) -> None:
        """Send a reply, unless the client has given up waiting for it."""
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Log nothing: standard error belongs to the program."""
