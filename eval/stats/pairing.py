"""Differences and ratios of two methods on the tasks that both played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from agemem.eval.stats.resampling import (
    Component,
    components,
    draws,
    freedom,
    percentile_interval,
    spread,
)
from agemem.eval.stats.sample import Array, Sample

Of = Callable[[Array, Array], Array]
"""A number from the means of the first and of the second method."""


def difference(first: Array, second: Array) -> Array:
    """The first mean minus the second."""
    return first - second


def reduction(first: Array, second: Array) -> Array:
    """The share of the second mean by which the first is smaller; NaN if the second is zero."""
    return np.where(second == 0.0, np.nan, 1.0 - first / np.where(second == 0.0, 1.0, second))


def relative_gain(first: Array, second: Array) -> Array:
    """The share of the second mean by which the first is larger; NaN if the second is zero."""
    return -reduction(first, second)


@dataclass(frozen=True, slots=True)
class Paired:
    """A number from the means of two methods on shared tasks.

    Attributes:
        value: The number; NaN if it is not defined.
        low: The lower end of its 95% paired bootstrap interval, or None.
        high: The upper end, or None.
        tasks: The number of shared tasks.
    """

    value: float
    low: float | None
    high: float | None
    tasks: int


def paired(
    first: Sequence[Sample], second: Sequence[Sample], of: Of, *, share: bool, seed: int = 0
) -> Paired | None:
    """Compare two methods on the tasks that both played, in one benchmark or on average.

    Each draw of the bootstrap takes training runs of each method, then the same tasks for both.
    Where a share does not differ, or differs by whole numbers, the interval of few tasks would
    have no width or too little. There each benchmark gets two more pairs, one for each sign (Bonett
    and Price 2012). Shares alone have that: a difference of 1 is the largest that they can have.

    Args:
        first: The samples of the first method, one for each benchmark.
        second: The samples of the second method, in the same benchmarks.
        of: Computes the number from both means, each averaged over the benchmarks.
        share: Whether the values are in [0, 1] by definition.
        seed: The seed of the bootstrap.

    Returns:
        The number; None if a benchmark has no shared task.
    """
    pairs = [_shared(one, other) for one, other in zip(first, second, strict=True)]
    if not all(one.tasks for one, _ in pairs):
        return None
    means = np.array([[one.mean, other.mean] for one, other in pairs]).mean(axis=0)
    value = float(of(means[0], means[1]))
    tasks = sum(len(one.tasks) for one, _ in pairs)
    if min(len(one.tasks) for one, _ in pairs) < 2 or not np.isfinite(value):
        return Paired(value, None, None, tasks)
    smoothed = [_with_both_signs(*pair) if share else pair for pair in pairs]
    drawn = [draws(pair, seed + index) for index, pair in enumerate(smoothed)]
    averages = [np.mean([both[side] for both in drawn], axis=0) for side in (0, 1)]
    parts = [part for pair in smoothed for part in _components(*pair)]
    interval = percentile_interval(of(averages[0], averages[1]), freedom(parts))
    if interval is None:
        return Paired(value, None, None, tasks)
    # the two more pairs move the draws towards zero, for few tasks past the value
    return Paired(value, min(interval[0], value), max(interval[1], value), tasks)


def _shared(first: Sample, second: Sample) -> tuple[Sample, Sample]:
    common = set(second.tasks)
    tasks = [task for task in first.tasks if task in common]
    return first.on(tasks), second.on(tasks)


def _with_both_signs(first: Sample, second: Sample) -> tuple[Sample, Sample]:
    """Add a pair of 1 and 0 and a pair of 0 and 1, if the spread of the pairs says too little."""
    values = np.array(list(first.by_task.values())) - np.array(list(second.by_task.values()))
    if np.ptp(values) > 0.0 and not np.isin(values, (-1.0, 0.0, 1.0)).all():
        return first, second
    return _extended(first, (1.0, 0.0)), _extended(second, (0.0, 1.0))


def _extended(sample: Sample, values: tuple[float, float]) -> Sample:
    more = np.tile(np.array(values), (sample.trainings, 1))
    return Sample(
        (*sample.tasks, "first alone", "second alone"),
        np.hstack([sample.totals, more]),
        np.hstack([sample.counts, np.ones_like(more)]),
        sample.binary,
    )


def _components(first: Sample, second: Sample) -> list[Component]:
    """The variances of the difference of two means: by tasks, and by the training runs of each."""
    tasks = first.residuals.sum(axis=0) - second.residuals.sum(axis=0)
    runs = [components(sample)[1] for sample in (first, second) if sample.trainings > 1]
    return [spread(tasks), *runs]
