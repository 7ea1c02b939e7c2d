"""A limit of concurrent calls that gives way when the server asks for it."""

from __future__ import annotations

import asyncio
from collections import deque


class Limiter:
    """Lets at most ``limit`` calls run at once, in the order in which they came.

    The limit is halved when the server is overloaded (status 429, or a time-out), and grows by
    one for as many successes as it is high: additive increase, multiplicative decrease, as in
    TCP (Chiu and Jain 1989). While the server has asked to wait, no call starts.

    It belongs to one event loop.

    Args:
        most: The limit at the start, and its maximum; at least 1.

    Attributes:
        limit: The limit now, in [1, most].
        running: Number of calls that run now.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(most)
        self.running = 0
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._pause: asyncio.TimerHandle | None = None
        self._stale = 0
        """Calls that began before the limit was halved: their failures do not halve it again."""

    async def __aenter__(self) -> None:
        """Wait for a place."""
        if self._has_room() and not self._waiting:
            self.running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was just given a place
                self._leave()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Give the place to the next."""
        self._leave()

    def succeeded(self) -> None:
        """A call was answered."""
        self._stale = max(0, self._stale - 1)
        self.limit = min(self._most, self.limit + 1 / self.limit)

    def overloaded(self, seconds: float = 0.0) -> None:
        """The server could not take a call.

        Args:
            seconds: How long it asked to wait.
        """
        if self._stale == 0:
            self.limit = max(1.0, min(self.limit, self.running) / 2)
            self._stale = self.running
        self._stale = max(0, self._stale - 1)
        if seconds > 0:
            self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        if self._pause is not None:
            if self._pause.when() >= end:
                return
            self._pause.cancel()
        self._pause = loop.call_at(end, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._admit()

    def _has_room(self) -> bool:
        return self._pause is None and self.running < int(self.limit)

    def _leave(self) -> None:
        self.running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.cancelled():
                self.running += 1
                turn.set_result(None)
