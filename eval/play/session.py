"""A run in progress: plays every missing episode, and records each as it ends."""

from __future__ import annotations

from collections.abc import Callable

from agemem.eval.play.executors.base import Executor
from agemem.eval.play.resolve import EXECUTORS, resolve
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import ResultsFolder
from agemem.eval.runs.plan import make_plan
from agemem.eval.runs.result import Result
from agemem.eval.runs.training import find_training
from agemem_envs.errors import ConfigurationError
from agemem_envs.run_record import RunKind, RunRecord
from agemem_envs.util.loading import load


class RunSession:
    """A run that is ready to start, with its plan and its executor.

    Args:
        config: The configuration of the run.

    Raises:
        AgeMemError: A model, data set or library that the configuration names is unavailable.
    """

    def __init__(self, config: RunConfig) -> None:
        run = resolve(config)
        self.config = config
        self.plan = make_plan(config)
        self.training = find_training(config)
        self._executor: Executor = load(EXECUTORS[run.executor])(run, self.plan)

    def describe(self) -> RunRecord[RunConfig]:
        """The record of the run."""
        return RunRecord(
            kind=RunKind.EVALUATION,
            config=self.config,
            sources=self.plan.sources,
            training=self.training,
        )

    def check(self, folder: ResultsFolder, results: list[Result]) -> None:
        """Check that the episodes in a folder belong to this run.

        Raises:
            ConfigurationError: An episode, the data or the model does not belong to this run.
        """
        record = folder.record()
        self.plan.check(str(folder.path), record.sources, results)
        if record.training not in (None, self.training):
            raise ConfigurationError(
                f"{folder.path} was begun with another model: the training of "
                f"{self.config.backbone} has changed since. Start a new run with another --out"
            )

    def play(self, folder: ResultsFolder, on_result: Callable[[Result], None]) -> None:
        """Play every episode that the folder lacks, and write each as it ends.

        Args:
            folder: The folder of the run, already created.
            on_result: Called with each new result, after it was written.

        Raises:
            WorkerError: Workers died repeatedly.
        """
        for result in self._executor.play(self.plan.missing(folder.read())):
            folder.append(result)
            on_result(result)

    def close(self) -> None:
        """Stop the executor. Calling it again has no effect."""
        self._executor.close()
