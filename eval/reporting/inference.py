"""Intervals and tests where tasks repeat: the task, not the episode, is what was drawn."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from eval.statistics import RESAMPLES

Array = npt.NDArray[np.float64]
CELLS_AT_ONCE = 4_000_000
"""Random draws that are held in memory at a time."""


def clustered_means(
    values: Sequence[float], clusters: Sequence[Hashable], seed: int = 0
) -> Array | None:
    """Bootstrap means of values, where whole clusters are drawn.

    Values of one cluster (the same task, played again) depend on each other; drawing them one
    by one would make intervals too narrow.

    Args:
        values: At least one.
        clusters: To which cluster each value belongs.
        seed: Of the draws. Independent quantities need different ones.

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
    """The (low, high) between which the middle of the draws lies."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def permutation_p(differences: Sequence[float], seed: int = 0) -> float:
    """The two-sided p-value of a paired permutation test: is the mean difference zero?

    Under the null hypothesis each difference is as likely to have the other sign. All sign
    patterns are counted if there are at most :data:`RESAMPLES`, else so many random ones.
    Differences of zero have no sign and change nothing.

    Args:
        differences: One for each task.
        seed: Of the random patterns.
    """
    signed = np.array([value for value in differences if value != 0.0])
    if len(signed) < 2:
        return 1.0  # one difference is as large with the other sign
    result = stats.permutation_test(
        (signed,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, CELLS_AT_ONCE // len(signed)),
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for a family of tests (Holm 1979); in the order given."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(ranked):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
