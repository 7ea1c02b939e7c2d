"""The serial executor: one worker, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agemem.eval.play.executors.base import Executor
from agemem.eval.play.resolve import ResolvedRun
from agemem.eval.play.worker import EpisodeWorker
from agemem.eval.runs.plan import Plan, Planned
from agemem.eval.runs.result import Result


class SerialExecutor(Executor):
    """An executor with one worker, in this process.

    Args:
        run: The run to play.
        plan: The plan of the run.
    """

    def __init__(self, run: ResolvedRun, plan: Plan) -> None:
        self._worker = EpisodeWorker(run, plan.sources)

    def play(self, episodes: Sequence[Planned]) -> Iterator[Result]:
        """Play every episode, and yield each result as it ends."""
        return self._worker.play(episodes)

    def close(self) -> None:
        """Release environments and the backbone."""
        self._worker.close()
