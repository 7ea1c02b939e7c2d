"""A thread with a queue of its own, for what must always be called from the same thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Work = tuple[Future[Any], Callable[[], Any]]


class OwnThread(Executor):
    """Calls functions one after another, in one daemon thread.

    An environment, its simulator and the libraries of an agent are bound to a thread (SQLite, event
    loops), and may wait for minutes. The thread does not keep the program from ending, as those of
    a :class:`~concurrent.futures.ThreadPoolExecutor` would.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let the thread call a function."""
        future: Future[T] = Future()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the thread after what it was given.

        Args:
            wait: Not supported: it does not wait.
            cancel_futures: Not supported.
        """
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            future, call = work
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # the caller gets it
                future.set_exception(error)
            del work, future, call  # what they refer to must not live until the next call
