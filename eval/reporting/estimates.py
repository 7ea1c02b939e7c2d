"""Estimates: means with intervals and counts, and numbers derived from several of them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agemem.eval.paper.benchmarks import PAPER
from agemem.eval.paper.exhibits import ALL, AVERAGE, GAIN, REDUCTION, SCORE
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import Array, clustered_means, percentile_interval

Key = tuple[str, str, str]
"""The keys of the row, the benchmark and the metric."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number of a table.

    Attributes:
        value: The mean over scored episodes; None if no episode was scored.
        low: The lower end of the 95% interval, or None.
        high: The upper end, or None.
        episodes: The number of episodes played.
        scored: The number of episodes scored.
        tasks: The number of different tasks among the scored episodes.
        draws: The bootstrap distribution of the mean, or None.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    episodes: int = 0
    scored: int = 0
    tasks: int = 0
    draws: Array | None = field(default=None, compare=False, repr=False)


Numbers = Mapping[Key, Estimate]


def estimate(results: Sequence[Result], metric: str) -> Estimate:
    """The mean of a metric over episodes of one benchmark, clustered by task.

    Episodes that an endpoint, a simulator or a judge failed are left out, never counted as zero.
    """
    measure = METRICS[metric].of
    pairs = [(measure(r), r.episode.task_id) for r in results if r.scored]
    scored = [(value, task) for value, task in pairs if value is not None]
    if not scored:
        return Estimate(None, episodes=len(results))
    values, tasks = [value for value, _ in scored], [task for _, task in scored]
    seed = zlib.crc32(f"{results[0].episode.source.name}/{metric}".encode(errors="surrogatepass"))
    draws = clustered_means(values, tasks, seed)
    low, high = (None, None) if draws is None else percentile_interval(draws)
    return Estimate(
        value=float(np.mean(values)),
        low=low,
        high=high,
        episodes=len(results),
        scored=len(scored),
        tasks=len(set(tasks)),
        draws=draws,
    )


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of the means of several benchmarks.

    The bootstrap draws of different benchmarks are independent, so the mean of the draws has the
    distribution of the average.
    """
    values = [e.value for e in estimates if e.value is not None]
    draws = [e.draws for e in estimates if e.draws is not None]
    counts = (sum(e.episodes for e in estimates), sum(e.scored for e in estimates))
    if len(values) < len(estimates):
        return Estimate(None, None, None, *counts)
    low, high, joint = None, None, None
    if len(draws) == len(estimates):
        joint = np.mean(draws, axis=0)
        low, high = percentile_interval(joint)
    tasks = sum(e.tasks for e in estimates)
    return Estimate(float(np.mean(values)), low, high, *counts, tasks, joint)


def with_averages(numbers: Numbers) -> dict[Key, Estimate]:
    """Add the average of each row that has all of the paper's benchmarks."""
    added = dict(numbers)
    for row in dict.fromkeys(row for row, _, _ in numbers):
        scores = [numbers.get((row, benchmark.key, SCORE)) for benchmark in PAPER]
        if all(score is not None for score in scores):
            added[row, ALL, AVERAGE] = average([score for score in scores if score is not None])
    return added


def with_reductions(numbers: Numbers, against: str) -> dict[Key, Estimate]:
    """Add the share of prompt tokens that each row saves relative to the row ``against``."""
    added = dict(numbers)
    for (row, benchmark, metric), number in numbers.items():
        base = numbers.get((against, benchmark, "prompt_tokens"))
        if metric == "prompt_tokens" and number.value is not None and base and base.value:
            added[row, benchmark, REDUCTION] = Estimate(1.0 - number.value / base.value)
    return added


def with_gains(numbers: Numbers, over: str) -> dict[Key, Estimate]:
    """Add the score of each row minus that of the row ``over``."""
    added = dict(numbers)
    for (row, benchmark, metric), number in numbers.items():
        base = numbers.get((over, benchmark, SCORE))
        if metric == SCORE and number.value is not None and base and base.value is not None:
            added[row, benchmark, GAIN] = Estimate(number.value - base.value)
    return added
