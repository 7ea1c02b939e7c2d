"""The interface of an executor: it takes episodes and yields results, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from agemem.eval.runs.plan import Planned
from agemem.eval.runs.result import Result


class Executor(ABC):
    """Plays episodes. It affects where and how fast they are played, never a result.

    The constructor returns when the executor is ready to play, with models and data loaded.
    """

    @abstractmethod
    def play(self, episodes: Sequence[Planned]) -> Iterator[Result]:
        """Play every episode, and yield each result once, as it ends.

        Raises:
            WorkerError: Workers died repeatedly, or cannot play at all.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop playing, even during an episode. Calling it again has no effect."""
