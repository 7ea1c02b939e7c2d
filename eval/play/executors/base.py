"""What an engine is: batches in, results out, in any order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from agemem.eval.runs.plan import Batch
from agemem.eval.runs.result import Result


class Executor(ABC):
    """Plays batches of episodes. Only where, and how many at once: never what is measured.

    One that was made is ready to play: what the configuration names could be had.
    """

    @abstractmethod
    def play(self, batches: Sequence[Batch]) -> Iterator[Result]:
        """Play every batch, each episode yielded once, as it ends.

        Raises:
            WorkerError: The processes that play died too often, or cannot play at all.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop what plays, also in the middle of it. Calling it again has no effect."""
