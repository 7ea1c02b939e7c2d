"""Runs a configuration: every missing episode, each written as it ends."""

from __future__ import annotations

from collections.abc import Callable

from agemem.eval.play.executors.base import Executor
from agemem.eval.play.resolve import resolve
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.plan import make_plan
from agemem.eval.runs.registry import EXECUTORS
from agemem.eval.runs.result import Result
from agemem_envs.run_record import RunKind, RunRecord
from agemem_envs.util.loading import load


class RunSession:
    """A run that can start: its plan is made, and what plays it is ready.

    Args:
        config: What to run.

    Raises:
        AgeMemError: Something that the configuration names cannot be had.
    """

    def __init__(self, config: RunConfig) -> None:
        run = resolve(config)
        self.config = config
        self.plan = make_plan(config)
        self._executor: Executor = load(EXECUTORS[run.executor])(run, self.plan)

    def describe(self) -> RunRecord[RunConfig]:
        """The record of the run."""
        return RunRecord(kind=RunKind.EVALUATION, config=self.config, sources=self.plan.sources)

    def check(self, folder: ResultsFolder, results: list[Result]) -> None:
        """Make sure that a folder's episodes are ones of this run.

        Raises:
            ConfigurationError: They are not.
        """
        self.plan.check(str(folder.path), folder.record().sources, results)

    def play(self, folder: ResultsFolder, on_result: Callable[[Result], None]) -> None:
        """Play every episode that the folder lacks, writing each as it ends.

        Args:
            folder: A created folder.
            on_result: Called with each new result, after it was written.

        Raises:
            WorkerError: The processes that play it died too often.
        """
        for result in self._executor.play(self.plan.batches(folder.read(), self.config.batch_size)):
            folder.append(result)
            on_result(result)

    def close(self) -> None:
        """Stop what plays. Calling it again has no effect."""
        self._executor.close()
