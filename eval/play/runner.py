"""Runs a configuration: every missing episode, each written as it ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from agemem.eval.play.executors.registry import make_executor
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.folder import Result, ResultsFolder
from agemem.eval.runs.plan import make_plan
from agemem_envs.util.provenance import provenance


class Run:
    """A run that can start: its plan is made, and what plays it is ready.

    Args:
        config: What to run.

    Raises:
        AgeMemError: Something that the configuration names cannot be had.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.plan = make_plan(config)
        self._engine = make_executor(config, self.plan)

    def describe(self) -> dict[str, Any]:
        """The content of ``config.json``."""
        return {
            "config": self.config.to_dict(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "sources": self.plan.sources,
            "provenance": provenance(),
        }

    def check(self, folder: ResultsFolder, results: list[Result]) -> None:
        """Make sure that a folder's episodes are ones of this run.

        Raises:
            ConfigurationError: They are not.
        """
        self.plan.check(str(folder.path), folder.stored_sources(), results)

    def play(self, folder: ResultsFolder, on_result: Callable[[Result], None]) -> None:
        """Play every episode that the folder lacks, writing each as it ends.

        Args:
            folder: A created folder.
            on_result: Called with each new result, after it was written.

        Raises:
            WorkerError: The processes that play it died too often.
        """
        for result in self._engine.play(self.plan.batches(folder.read(), self.config.batch_size)):
            folder.append(result)
            on_result(result)

    def close(self) -> None:
        """Stop what plays. Calling it again has no effect."""
        self._engine.close()
