"""Samples: the values of a metric, by the task and by the training run of each."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Values of a metric, summed over the episodes of each training run on each task.

    Attributes:
        tasks: The tasks, each once.
        totals: The sums of the values, shape (training runs, tasks).
        counts: The numbers of values, of the same shape.
        binary: Whether every value is 0 or 1.
    """

    tasks: tuple[Hashable, ...]
    totals: Array
    counts: Array
    binary: bool

    @property
    def trainings(self) -> int:
        """The number of training runs."""
        return len(self.counts)

    @property
    def size(self) -> int:
        """The number of values."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return float(self.totals.sum() / self.counts.sum())

    @property
    def residuals(self) -> Array:
        """The part of each cell in the error of the mean, of the shape of the totals."""
        residuals: Array = (self.totals - self.mean * self.counts) / self.counts.sum()
        return residuals

    @property
    def by_task(self) -> dict[Hashable, float]:
        """The mean of each task."""
        means = self.totals.sum(axis=0) / self.counts.sum(axis=0)
        return dict(zip(self.tasks, map(float, means), strict=True))

    def on(self, tasks: Sequence[Hashable]) -> Sample:
        """The values on some of the tasks, in their order."""
        places = {task: index for index, task in enumerate(self.tasks)}
        columns = [places[task] for task in tasks]
        totals, counts = self.totals[:, columns], self.counts[:, columns]
        played = counts.sum(axis=1) > 0
        return Sample(tuple(tasks), totals[played], counts[played], self.binary)


def make_sample(
    values: Sequence[float | None],
    tasks: Sequence[Hashable],
    trainings: Sequence[Hashable] | None = None,
) -> Sample | None:
    """The sample of the values that are not None.

    Args:
        values: The values.
        tasks: The task of each value. Values of one task are not independent.
        trainings: The training run of each value; None if there is only one.

    Returns:
        The sample; None if no value is left.
    """
    of = trainings if trainings is not None else [""] * len(values)
    scored = [(v, t, r) for v, t, r in zip(values, tasks, of, strict=True) if v is not None]
    if not scored:
        return None
    columns = _numbered(task for _, task, _ in scored)
    rows = _numbered(run for _, _, run in scored)
    totals, counts = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for value, task, run in scored:
        totals[rows[run], columns[task]] += value
        counts[rows[run], columns[task]] += 1.0
    binary = all(value in (0.0, 1.0) for value, _, _ in scored)
    return Sample(tuple(columns), totals, counts, binary)


def _numbered(names: Iterable[Hashable]) -> dict[Hashable, int]:
    """The place of each name, which does not depend on the order of the values."""
    return {name: place for place, name in enumerate(sorted(dict.fromkeys(names), key=str))}
