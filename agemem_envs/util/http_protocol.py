"""HTTP/1.1 of uvicorn, with limits on what a client may take.

uvicorn limits the time between two requests, but not that of one: a client could hold a
connection open for ever with half of a request.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from agemem_envs.util.http_errors import error_body


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take.

    Attributes:
        request_seconds: Time for one request to arrive, and for a reply to be taken.
        idle_seconds: Time between two requests of a connection. More than the 5 seconds after
            which httpx, in every OpenAI client, gives up a connection, so that it is never
            closed while a client sends the next request.
        head_bytes: Size of a request's head.
        connections: Connections at once; further ones are cut. Below the 1,024 files that a
            process may open by default.
    """

    request_seconds: float = 60.0
    idle_seconds: int = 60
    head_bytes: int = 32 * 2**10
    connections: int = 700


class LimitedProtocol(H11Protocol):
    """One connection.

    Args:
        limits: What the client may take.
        uvicorns: The arguments of uvicorn's protocol.
    """

    def __init__(self, *, limits: Limits, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.logger = _SILENT
        self.access_log = False
        self._limits = limits
        self._arrival: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and the time of its first request."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._arrival = self._timer()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a request is whole, and start it with the next."""
        super().data_received(data)
        cycle = self.cycle
        answering = cycle is not None and not cycle.more_body and not cycle.response_complete
        if answering or self.timeout_keep_alive_task is not None:
            _cancel(self._arrival)
            self._arrival = None
        elif self._arrival is None:
            self._arrival = self._timer()

    def pause_writing(self) -> None:
        """The client is slow to take the reply."""
        super().pause_writing()
        self._taking = self._timer()

    def resume_writing(self) -> None:
        """The client has taken some of the reply."""
        super().resume_writing()
        _cancel(self._taking)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        _cancel(self._arrival)
        _cancel(self._taking)
        super().connection_lost(exc)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if its client has not taken the reply."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, in OpenAI's format."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            status = getattr(sys.exception(), "error_status_hint", HTTPStatus.BAD_REQUEST)
            data = json.dumps(error_body(msg, status)).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(data))),
                ("connection", "close"),
            ]
            head = h11.Response(status_code=status, headers=headers)
            for event in (head, h11.Data(data=data), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()

    def _timer(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._limits.request_seconds, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


_SILENT = logging.Logger("agemem.http", logging.CRITICAL + 1)
"""Where uvicorn warns of a client's faults: nowhere, since standard error is the program's."""
