"""Means and their bootstrap intervals.

Tasks may repeat, and episodes on the same task are not independent, so intervals that compare
methods resample whole tasks. SciPy takes a second to import, and is imported inside functions so
that processes that only play do not load it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

RESAMPLES = 9_999
Array = npt.NDArray[np.float64]
CELLS_AT_ONCE = 4_000_000
"""The number of random draws held in memory at a time."""


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are not None; None if there are none."""
    scored = [value for value in values if value is not None]
    return float(np.mean(scored)) if scored else None


def bootstrap_interval(
    values: Sequence[float | None], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of the mean of the values that are not None.

    Returns:
        (low, high); None for fewer than two values. If all are equal, the interval is that point.
    """
    scored = np.array([value for value in values if value is not None], dtype=float)
    if len(scored) < 2:
        return None
    if np.ptp(scored) == 0.0:
        return float(scored[0]), float(scored[0])
    from scipy import stats

    result = stats.bootstrap(
        (scored,),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), which holds near 0 and 1.

    Args:
        successes: Number of successes.
        trials: Number of trials, at least one.
        confidence: The nominal coverage.
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_means(
    values: Sequence[float], clusters: Sequence[Hashable], seed: int = 0
) -> Array | None:
    """Bootstrap means of values, resampled by whole clusters.

    Values of one cluster (repetitions of a task) are not independent; resampling them one by one
    would make intervals too narrow.

    Args:
        values: The values, at least one.
        clusters: The cluster of each value.
        seed: The seed of the draws. Independent quantities need different seeds.

    Returns:
        :data:`RESAMPLES` means; None for fewer than two clusters.
    """
    members: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        members.setdefault(cluster, []).append(value)
    if len(members) < 2:
        return None
    if min(values) == max(values):
        return np.full(RESAMPLES, values[0], dtype=float)
    sums = np.array([sum(group) for group in members.values()])
    sizes = np.array([float(len(group)) for group in members.values()])
    from scipy import stats

    result = stats.bootstrap(
        (sums, sizes),
        lambda total, size, axis: total.sum(axis=axis) / size.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, CELLS_AT_ONCE // len(sums)),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    draws: Array = result.bootstrap_distribution
    return draws


def percentile_interval(draws: Array, confidence: float = 0.95) -> tuple[float, float]:
    """The (low, high) of the central ``confidence`` share of the draws."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
