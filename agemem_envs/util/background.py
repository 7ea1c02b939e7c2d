"""One event loop in a thread of this process, for all that waits for the network or for episodes.

Every call to a server of a process runs in this loop, whoever makes it: a rollout, a judge, a
summarizer, a memory system's gateway, in whatever thread or event loop. So they share one pool of
connections, and a caller that gives up cancels its call.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_CLOSE_SECONDS = 3.0


class _Background:
    """The loop and its thread, started by the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: a program may end while a call still waits.
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="agemem-background", daemon=True
                )
                self._thread.start()
            return self._loop

    def close(self) -> None:
        """Cancel what still runs, let it release its connections, and end the thread."""
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
        self._thread.join(_CLOSE_SECONDS)


async def _cancel_all() -> None:
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    loop.stop()


_background = _Background()
atexit.register(lambda: _background.close())


def _forget() -> None:
    """In a forked child there is no such thread: its first call starts another loop."""
    global _background
    _background = _Background()


os.register_at_fork(after_in_child=_forget)


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine in the loop. Cancelling its future cancels it."""
    return asyncio.run_coroutine_threadsafe(work, _background.loop())


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in the loop, for callers that wait for it.

    Raises:
        RuntimeError: It was called in the loop itself, which would wait forever.
    """
    if _is_inside():
        work.close()
        raise RuntimeError("a call that waits was made in the event loop: await it instead")
    future = submit(work)
    try:
        return future.result()
    finally:
        future.cancel()  # after Ctrl-C nobody waits for it; else it has ended


async def shared(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in the loop, for callers in any event loop."""
    if _is_inside():
        return await work
    return await asyncio.wrap_future(submit(work))


def _is_inside() -> bool:
    try:
        return asyncio.get_running_loop() is _background._loop
    except RuntimeError:  # no loop runs in this thread
        return False
