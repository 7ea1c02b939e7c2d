"""A Starlette application on uvicorn, in a thread of this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from agemem_envs.util.http_protocol import LimitedProtocol, Limits

BACKLOG = 256
"""Connections that may wait to be accepted: clients call from many threads at once."""


class ThreadedServer:
    """Listens at once; answers from :meth:`start` on, all connections in one thread.

    It handles no signals and logs nothing: both belong to the program.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 picks a free one.
        limits: What a client may take.

    Attributes:
        port: The port.

    Raises:
        OSError: The server cannot listen on the address.
        OverflowError: The port is out of range.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, limits: Limits | None = None
    ) -> None:
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._limits = limits or Limits()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self, app: ASGIApp) -> None:
        """Begin to answer by ``app``, whose lifespan is that of the server."""
        self._server = _Server(_config(app, self._limits))
        self._thread = threading.Thread(
            target=self._server.run, args=[[self._socket]], name="http server", daemon=True
        )
        self._thread.start()
        self._server.answers.wait()

    def close(self) -> None:
        """Stop, also amid requests: connections are cut, and coroutines are cancelled.

        A plain function that a request has called in a thread goes on to its end, unheard.
        Calling it again has no effect.
        """
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join()
        self._socket.close()


def _listening(host: str, port: int) -> socket.socket:
    # With its protocol named, unlike that of socket.create_server: asyncio turns Nagle's algorithm
    # off for such sockets only, else the body of a reply waits 40 ms for the ACK of its head.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    protocol: Any = partial(LimitedProtocol, limits=limits)
    return uvicorn.Config(
        app,
        http=protocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        workers=1,
        forwarded_allow_ips="",  # not from the environment
        timeout_keep_alive=limits.idle_seconds,
        h11_max_incomplete_event_size=limits.head_bytes,
    )


class _Server(uvicorn.Server):
    """A server that another thread stops at once, instead of at the next tick of a clock."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self.answers.set()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        # What asyncio itself would report: a client that hung up amid a write, or no more file
        # descriptors to accept with. It would write to standard error.
        self._loop.set_exception_handler(lambda loop, context: None)
        self.answers.set()
        await self._stopped.wait()

    def stop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the requests learn that their clients are gone
        for task in (tasks := set(self.server_state.tasks)):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self.lifespan.shutdown()
