"""Means and their intervals. Every interval of a metric's mean comes from :func:`mean_interval`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from agemem.eval.stats.resampling import components, draws, freedom, student_quantile
from agemem.eval.stats.sample import Sample
from agemem_envs.errors import DataFormatError

Interval = tuple[float, float]
"""The lower and the upper end."""
ROUNDING = 1e-9
"""How far a share may leave [0, 1] by rounding."""


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None; None if there are none."""
    scored = [value for value in values if value is not None]
    return float(np.mean(scored)) if scored else None


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927), which holds near 0 and 1.

    Args:
        successes: Number of successes.
        trials: Number of trials, more than zero. An effective number need not be whole.
        confidence: The nominal coverage.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mean_interval(
    sample: Sample | None, *, share: bool, confidence: float = 0.95, seed: int = 0
) -> Interval | None:
    """The interval of the mean of a metric.

    For a share, whose values are in [0, 1], it is Wilson's with :func:`effective_trials`: it stays
    in [0, 1], and is wide where all values are equal. For any other quantity it is Student's.

    Args:
        sample: The values; None if there are none.
        share: Whether the values are in [0, 1] by definition.
        confidence: The nominal coverage.
        seed: The seed of the bootstrap, which only several training runs need.

    Returns:
        (low, high); None for fewer than two tasks, and if all values of a quantity without bounds
        are equal, because they tell nothing about its spread.

    Raises:
        DataFormatError: A share is outside of [0, 1].
    """
    if sample is None or len(sample.tasks) < 2:
        return None
    variance, degrees = _variance(sample, seed)
    if share:
        value = _checked(sample)
        trials = effective_trials(sample, variance, degrees, confidence)
        return wilson_interval(value * trials, trials, confidence)
    if variance == 0.0:
        return None
    half = student_quantile(degrees, confidence) * math.sqrt(variance)
    return sample.mean - half, sample.mean + half


def effective_trials(
    sample: Sample, variance: float, degrees: float, confidence: float = 0.95
) -> float:
    """The number of independent trials of 0 or 1 that would tell as much about the mean.

    Zeros and ones on tasks that were played once are what they are: the trials are the tasks.
    Otherwise the number is that with which a proportion has the variance of the mean (the design
    effect, Kish 1965), made smaller as Student's distribution is wider than the normal one (Korn
    and Graubard 1998). With one training run it is never below the information of the tasks, whose
    repetitions can add to it but not take from it, and zeros and ones are never more trials than
    values. Where no spread is seen it is the information of the tasks, and it is never above that
    for fractions that are together less than one value away from a bound: a single value on the
    other side would be most of their spread.

    Args:
        sample: The values, on at least two tasks.
        variance: The variance of the mean.
        degrees: Its degrees of freedom.
        confidence: The nominal coverage.
    """
    weights = sample.counts.sum(axis=0)
    tasks = float(weights.sum() ** 2 / (weights**2).sum())
    if sample.binary and sample.size == len(sample.tasks) and sample.trainings == 1:
        return tasks
    value = sample.mean
    if variance == 0.0 or not 0.0 < value < 1.0:
        return tasks
    wider = student_quantile(degrees, confidence) / NormalDist().inv_cdf(0.5 + confidence / 2)
    trials = value * (1.0 - value) / variance / wider**2
    if sample.trainings == 1:
        trials = max(trials, tasks)
    if sample.binary:
        return min(trials, float(sample.size))
    return min(trials, tasks) if value * (1.0 - value) * sample.size < 1.0 else trials


def _variance(sample: Sample, seed: int) -> tuple[float, float]:
    """The variance of the mean, and its degrees of freedom.

    Tasks are the units. With several training runs it is the variance of the bootstrap over
    training runs and tasks.
    """
    parts = components(sample)
    if sample.trainings == 1:
        return parts[0]
    (means,) = draws([sample], seed)
    return float(np.nanvar(means)), freedom(parts)


def _checked(sample: Sample) -> float:
    """The mean of a share, without errors of rounding."""
    low, high = (f(sample.totals[sample.counts > 0] / sample.counts[sample.counts > 0])
                 for f in (np.min, np.max))  # fmt: skip
    if low < -ROUNDING or high > 1.0 + ROUNDING:
        worst = low if low < -ROUNDING else high
        raise DataFormatError(f"a share must be in [0, 1], but a task has {worst:g}")
    return min(1.0, max(0.0, sample.mean))


def average_interval(values: Sequence[float], intervals: Sequence[Interval]) -> Interval:
    """The interval of the mean of independent numbers, from the interval of each.

    The distances from the numbers to the ends of their intervals are added in squares (Zou and
    Donner 2008), so that it is as wide as its parts require, on each side.
    """
    count = len(values)
    below = math.sqrt(sum((v - low) ** 2 for v, (low, _) in zip(values, intervals, strict=True)))
    above = math.sqrt(sum((high - v) ** 2 for v, (_, high) in zip(values, intervals, strict=True)))
    centre = sum(values) / count
    return centre - below / count, centre + above / count
