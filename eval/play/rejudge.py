"""Scoring of a run's recorded episodes by another judge, without playing them again.

Judgements are cached, so that a repetition after Ctrl-C or a server failure requests only those
that are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from agemem.eval.play.worker import evaluation_judge
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.reading import read_run
from agemem.eval.runs.result import Result, consistent
from agemem_envs.judging.judges import Judge
from agemem_envs.judging.scoring import rejudged
from agemem_envs.run_record import Origin, RunKind, RunRecord
from agemem_envs.util.endpoint import split_endpoint


def default_folder(run: Path, judge: str) -> Path:
    """The default folder of the new run: next to the run, named after it and the judge."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", split_endpoint(judge)[0])
    run = run.resolve()
    return run.with_name(f"{run.name}-rejudged-{slug}")


class Rejudging:
    """A run that another judge is to score.

    Args:
        run: The folder of the run, which is not changed.
        config: The configuration of the run, with the new judge.

    Raises:
        ConfigurationError: The run has no episodes.
        AgeMemError: The judge is unavailable.
    """

    def __init__(self, run: Path, config: RunConfig) -> None:
        self.config = config
        self._judge: Judge = evaluation_judge(config)
        self._run = read_run(run)
        self.results = self._run.results

    def describe(self) -> RunRecord[RunConfig]:
        """The record of the new run."""
        return RunRecord(
            kind=RunKind.EVALUATION,
            config=self.config,
            sources=self._run.record.sources,
            rejudged=Origin(self._run.name, self._run.played_sha256),
            training=self._run.record.training,
        )

    def score(self, on_result: Callable[[Result], None]) -> list[Result]:
        """Score all episodes by the new judge, ``config.workers`` of them concurrently."""
        return rejudge(self.results, self._judge, self.config.workers, on_result)


def rejudge(
    results: Sequence[Result],
    judge: Judge,
    at_once: int,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Score results by another judge; returns them in the same order.

    Args:
        results: The recorded results.
        judge: The judge, called from ``at_once`` threads.
        at_once: Number of episodes that are judged concurrently.
        on_result: Called with each new result, in the order of completion.

    Raises:
        DataFormatError: A record lacks the weights of its reward, or contradicts itself.
    """

    def one(result: Result) -> Result:
        with consistent(result.episode):
            return replace(result, episode=rejudged(result.episode, judge))

    with ThreadPoolExecutor(at_once) as pool:
        jobs = [pool.submit(one, result) for result in results]
        try:
            for job in as_completed(jobs):
                on_result(job.result())
        except BaseException:  # Ctrl-C, for example: finish the running calls, start no others
            pool.shutdown(cancel_futures=True)
            raise
        return [job.result() for job in jobs]
