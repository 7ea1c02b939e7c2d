"""Estimates: a mean with its interval and what it rests on; and what is made of several."""

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
"""Row, benchmark, metric."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number of a table.

    Attributes:
        value: The mean; None if episodes were played and none was scored.
        low: The lower end of its 95% interval, or None.
        high: The upper end.
        episodes: How many were played.
        scored: On how many of them it rests.
        tasks: How many different tasks these are.
        draws: Its bootstrap distribution.
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

    Failures of the surroundings and of the judge are left out, never counted as zero.
    """
    measure = METRICS[metric].of
    pairs = [(measure(r), r.episode.task_id) for r in results if r.scored]
    known = [(value, task) for value, task in pairs if value is not None]
    if not known:
        return Estimate(None, episodes=len(results))
    values, tasks = [value for value, _ in known], [task for _, task in known]
    seed = zlib.crc32(f"{results[0].episode.source.name}/{metric}".encode(errors="surrogatepass"))
    draws = clustered_means(values, tasks, seed)
    low, high = (None, None) if draws is None else percentile_interval(draws)
    return Estimate(
        value=float(np.mean(values)),
        low=low,
        high=high,
        episodes=len(results),
        scored=len(known),
        tasks=len(set(tasks)),
        draws=draws,
    )


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several benchmarks' means, all of equal weight.

    The benchmarks' draws are independent, so their mean has the distribution of the average.
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
    """The numbers, and the average of each row that has all of the paper's benchmarks."""
    added = dict(numbers)
    for row in dict.fromkeys(row for row, _, _ in numbers):
        scores = [numbers.get((row, benchmark.key, SCORE)) for benchmark in PAPER]
        if all(score is not None for score in scores):
            added[row, ALL, AVERAGE] = average([score for score in scores if score is not None])
    return added


def with_reductions(numbers: Numbers, against: str) -> dict[Key, Estimate]:
    """The numbers, and by which share each row needs fewer prompt tokens than one of them."""
    added = dict(numbers)
    for (row, benchmark, metric), number in numbers.items():
        base = numbers.get((against, benchmark, "prompt_tokens"))
        if metric == "prompt_tokens" and number.value is not None and base and base.value:
            added[row, benchmark, REDUCTION] = Estimate(1.0 - number.value / base.value)
    return added


def with_gains(numbers: Numbers, over: str) -> dict[Key, Estimate]:
    """The numbers, and how much higher each row scores than one of them."""
    added = dict(numbers)
    for (row, benchmark, metric), number in numbers.items():
        base = numbers.get((over, benchmark, SCORE))
        if metric == SCORE and number.value is not None and base and base.value is not None:
            added[row, benchmark, GAIN] = Estimate(number.value - base.value)
    return added
