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
from agemem.eval.stats.intervals import average_interval, mean_interval
from agemem.eval.stats.pairing import Of, Paired, difference, paired, reduction
from agemem.eval.stats.sample import Sample, make_sample

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
        trainings: The number of trained models among the scored episodes.
        pooled: The runs that were pooled into the number, if there are several.
        samples: The values: one sample, or one for each benchmark of an average. None without
            episodes.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    episodes: int = 0
    scored: int = 0
    tasks: int = 0
    trainings: int = 0
    pooled: str = ""
    samples: tuple[Sample, ...] = field(default=(), compare=False, repr=False)


Numbers = Mapping[Key, Estimate]


def stable_seed(*names: str) -> int:
    """The seed of the bootstrap of a number, the same in every process."""
    return zlib.crc32("/".join(names).encode(errors="surrogatepass"))


def estimate(
    results: Sequence[Result],
    metric: str,
    seeds: Sequence[str] | None = None,
    pooled: str = "",
) -> Estimate:
    """The mean of a metric over episodes of one benchmark, clustered by task.

    Episodes that an endpoint, a simulator or a judge failed are left out, never counted as zero.

    Args:
        results: The episodes of one cell.
        metric: A metric.
        seeds: The training seed of the model of each episode; None if there is only one.
        pooled: The runs that are pooled in the cell, if there are several.
    """
    measure = METRICS[metric].of
    sample = make_sample(
        [measure(result) if result.scored else None for result in results],
        [result.episode.task_id for result in results],
        seeds,
    )
    if sample is None:
        return Estimate(None, episodes=len(results), pooled=pooled)
    seed = stable_seed(results[0].episode.source.name, metric)
    low, high = mean_interval(sample, share=METRICS[metric].share, seed=seed) or (None, None)
    return Estimate(
        value=sample.mean,
        low=low,
        high=high,
        episodes=len(results),
        scored=sample.size,
        tasks=len(sample.tasks),
        trainings=sample.trainings,
        pooled=pooled,
        samples=(sample,),
    )


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The unweighted mean of the means of several benchmarks, which are independent."""
    values = [e.value for e in estimates if e.value is not None]
    ends = [(e.low, e.high) for e in estimates if e.low is not None and e.high is not None]
    counts = (sum(e.episodes for e in estimates), sum(e.scored for e in estimates))
    if len(values) < len(estimates):
        return Estimate(None, None, None, *counts)
    low, high = average_interval(values, ends) if len(ends) == len(values) else (None, None)
    return Estimate(
        float(np.mean(values)),
        low,
        high,
        *counts,
        tasks=sum(e.tasks for e in estimates),
        trainings=min(e.trainings for e in estimates),
        pooled=_pooled(*estimates),
        samples=tuple(sample for e in estimates for sample in e.samples),
    )


def _pooled(*parts: Estimate) -> str:
    return "; ".join(dict.fromkeys(part.pooled for part in parts if part.pooled))


def with_averages(numbers: Numbers) -> dict[Key, Estimate]:
    """Add the average of each row that has all of the paper's benchmarks."""
    added = dict(numbers)
    for row in dict.fromkeys(row for row, _, _ in numbers):
        scores = [numbers.get((row, benchmark.key, SCORE)) for benchmark in PAPER]
        if all(score is not None for score in scores):
            added[row, ALL, AVERAGE] = average([score for score in scores if score is not None])
    return added


def compared(number: Estimate, base: Estimate, of: Of, *, share: bool, name: str) -> Paired | None:
    """A number from two estimates on the tasks that both played.

    Args:
        number: The estimate.
        base: The estimate to compare it with.
        of: Computes the number from both means.
        share: Whether the values of both are in [0, 1] by definition.
        name: Names the number, for the seed of the bootstrap.

    Returns:
        The number with its paired bootstrap interval, which numbers without episodes do not have.
        None if it is not defined, or if a benchmark has no shared task.
    """
    if number.value is None or base.value is None:
        return None
    if number.samples and base.samples:
        result = paired(number.samples, base.samples, of, share=share, seed=stable_seed(name))
    else:
        value = float(of(np.array(number.value), np.array(base.value)))
        result = Paired(value, None, None, 0)
    return result if result is not None and np.isfinite(result.value) else None


def with_reductions(numbers: Numbers, against: str) -> dict[Key, Estimate]:
    """Add the share of prompt tokens that each row saves relative to the row ``against``."""
    return _with(numbers, "prompt_tokens", against, REDUCTION, reduction, share=False)


def with_gains(numbers: Numbers, over: str) -> dict[Key, Estimate]:
    """Add the score of each row minus that of the row ``over``."""
    return _with(numbers, SCORE, over, GAIN, difference, share=True)


def _with(
    numbers: Numbers, metric: str, other: str, derived: str, of: Of, *, share: bool
) -> dict[Key, Estimate]:
    """Add a number from a metric of each row and that of the row ``other``."""
    added = dict(numbers)
    for (row, benchmark, name), number in numbers.items():
        base = numbers.get((other, benchmark, metric))
        if name != metric or base is None:
            continue
        seeded = f"{row}/{benchmark}/{derived}"
        result = compared(number, base, of, share=share, name=seeded)
        if result is not None:
            low, high = (None, None) if row == other else (result.low, result.high)
            pooled = _pooled(number, base)
            added[row, benchmark, derived] = Estimate(
                result.value, low, high, tasks=result.tasks, pooled=pooled
            )
    return added
