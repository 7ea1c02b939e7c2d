"""Means and their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 9_999


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of the scored values; None if there is none."""
    scored = [value for value in values if value is not None]
    return float(np.mean(scored)) if scored else None


def bootstrap_interval(
    values: Sequence[float | None], confidence: float = 0.95, seed: int = 0
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of the mean of the scored values.

    Returns:
        (low, high); None for fewer than two scored values. If all are equal the bootstrap
        cannot see any spread, and the interval is that point.
    """
    scored = np.array([value for value in values if value is not None], dtype=float)
    if len(scored) < 2:
        return None
    if np.ptp(scored) == 0.0:
        return float(scored[0]), float(scored[0])
    from scipy import stats  # a second to import: not for the processes that only play

    result = stats.bootstrap(
        (scored,),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
