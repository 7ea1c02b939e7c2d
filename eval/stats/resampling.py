"""The bootstrap over training runs and tasks, and its degrees of freedom.

Each draw takes ``n - 1`` of ``n`` units with replacement, which makes the variance of the draws
unbiased however few the units are (Rao and Wu 1988). Training runs are drawn first, then tasks.
All training runs of a draw have the same tasks, because they were scored on one list of tasks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from agemem.eval.stats.sample import Array, Sample

RESAMPLES = 9_999
CELLS_AT_ONCE = 4_000_000
"""The number of random draws held in memory at a time."""
Component = tuple[float, float]
"""A part of a variance, and its degrees of freedom."""


def draws(samples: Sequence[Sample], seed: int = 0) -> list[Array]:
    """Bootstrap means of samples on the same tasks.

    The samples of a draw share its tasks, so that their means are paired. Each sample has its own
    training runs.

    Args:
        samples: Samples with equal ``tasks``, at least two of them.
        seed: The seed of the draws. Independent quantities need different seeds.

    Returns:
        :data:`RESAMPLES` means of each sample; NaN where a draw holds no value.
    """
    rng = np.random.default_rng(seed)
    runs = [_counts(rng, RESAMPLES, sample.trainings) for sample in samples]
    means = [np.empty(RESAMPLES) for _ in samples]
    for part in _parts(len(samples[0].tasks)):
        tasks = _counts(rng, part.stop - part.start, len(samples[0].tasks))
        for sample, drawn, mean in zip(samples, runs, means, strict=True):
            totals = ((drawn[part] @ sample.totals) * tasks).sum(axis=1)
            sizes = ((drawn[part] @ sample.counts) * tasks).sum(axis=1)
            mean[part] = np.divide(totals, sizes, out=np.full_like(totals, np.nan), where=sizes > 0)
    return means


def _parts(width: int) -> Iterator[slice]:
    step = max(1, CELLS_AT_ONCE // width)
    for start in range(0, RESAMPLES, step):
        yield slice(start, min(start + step, RESAMPLES))


def _counts(rng: np.random.Generator, times: int, units: int) -> Array:
    """How often each unit is drawn, shape (times, units)."""
    if units == 1:
        return np.ones((times, 1))
    drawn = rng.integers(units, size=(times, units - 1)) + units * np.arange(times)[:, None]
    return np.bincount(drawn.ravel(), minlength=times * units).reshape(times, units).astype(float)


def components(sample: Sample) -> list[Component]:
    """The variance of a mean by tasks, and by training runs if there are several.

    Each is the variance of a ratio of sums over independent units (Cochran 1977, 2.11).
    """
    sums = [sample.residuals.sum(axis=axis) for axis in (0, 1)]
    return [spread(units) for units in sums if len(units) > 1]


def spread(units: Array) -> Component:
    """The variance of a sum of independent units of mean zero, and its degrees of freedom."""
    freedom = len(units) - 1.0
    return float((units**2).sum() * len(units) / freedom), freedom


def freedom(parts: Sequence[Component]) -> float:
    """The degrees of freedom of a sum of variances (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    if total == 0.0:
        return min(degrees for _, degrees in parts)
    return total**2 / sum(variance**2 / degrees for variance, degrees in parts)


def student_quantile(degrees: float, confidence: float) -> float:
    """The end of the central ``confidence`` share of Student's distribution."""
    from scipy import special  # takes a second to import

    return float(special.stdtrit(degrees, 0.5 + confidence / 2))


def percentile_interval(
    values: Array, degrees: float, confidence: float = 0.95
) -> tuple[float, float] | None:
    """The percentiles of bootstrap draws between which the central ``confidence`` share lies.

    The percentiles are moved outwards as Student's distribution is wider than the normal one,
    which matters for few units (the expanded percentile interval, Hesterberg 2015).

    Returns:
        (low, high); None if a draw is not a number, or if all draws are equal.
    """
    if not np.isfinite(values).all() or np.ptp(values) == 0.0:
        return None
    tail = NormalDist().cdf(-student_quantile(degrees, confidence))
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)
