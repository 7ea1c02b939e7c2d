"""Scores the recorded episodes of a run by another judge, without playing them again.

What is asked and answered is in the cache of judgements, so that a repetition after Ctrl-C or
a failing server asks only for what is missing.
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
    """Beside the run, named after it and the judge."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", split_endpoint(judge)[0])
    run = run.resolve()
    return run.with_name(f"{run.name}-rejudged-{slug}")


class Rejudging:
    """A run that is to be scored anew.

    Args:
        run: Its folder, which stays as it is.
        config: Its configuration, but for the judge.

    Raises:
        ConfigurationError: There are no episodes.
        AgeMemError: The judge cannot be had.
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
        )

    def score(self, on_result: Callable[[Result], None]) -> list[Result]:
        """All episodes under the new judge, several judged at once."""
        return rejudge(self.results, self._judge, self.config.workers, on_result)


def rejudge(
    results: Sequence[Result],
    judge: Judge,
    at_once: int,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """The same results under another judge, in the same order.

    Args:
        results: As recorded.
        judge: It is called from ``at_once`` threads.
        at_once: Episodes that are judged at once.
        on_result: Called with each, as it is done.

    Raises:
        DataFormatError: A record does not say how its reward is weighted, or contradicts itself.
    """

    def one(result: Result) -> Result:
        with consistent(result.episode):
            return replace(result, episode=rejudged(result.episode, judge))

    with ThreadPoolExecutor(at_once) as pool:
        jobs = [pool.submit(one, result) for result in results]
        try:
            for job in as_completed(jobs):
                on_result(job.result())
        except BaseException:  # Ctrl-C: what is asked is waited for, and nothing more is asked
            pool.shutdown(cancel_futures=True)
            raise
        return [job.result() for job in jobs]
