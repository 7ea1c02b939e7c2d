"""The next round, which is played while the one before it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Rows = Sequence[dict[str, Any]]
Played = TypeVar("Played")


class RoundAhead(Generic[Played]):
    """Plays one round in a thread of its own.

    Args:
        play: Plays the trajectories of rows, in an optimizer step.
    """

    def __init__(self, play: Callable[[Rows, int], Played]) -> None:
        self._play = play
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="round-ahead")
        self._started: tuple[list[Any], Future[Played]] | None = None

    def start(self, rows: Rows, step: int) -> None:
        """Begin to play the round of an optimizer step. None may be under way."""
        assert self._started is None, "a round is under way"
        self._started = list(rows), self._thread.submit(self._play, rows, step)

    def take(self, rows: Rows) -> Played | None:
        """Wait for the round under way, and return it; None if there is none of these rows.

        Raises:
            Exception: What the round has raised.
        """
        started, self._started = self._started, None
        if started is None:
            return None
        played = started[1].result()
        return played if started[0] == list(rows) else None

    def wait(self) -> None:
        """Wait until no round is under way. Its result, or its error, is for :meth:`take`."""
        if self._started is not None:
            self._started[1].exception()
