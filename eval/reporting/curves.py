"""Training curves, read from CSV files with a column ``step`` and a column for each metric.

A file may hold several runs, as ``train/curves.py`` writes it. The columns ``series`` and ``run``
then name the training and the run of each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agemem.eval.reporting.rendered import Record, RenderedCell, RenderedTable
from agemem_envs.errors import DataFormatError, DataNotFoundError, UnknownNameError, require
from agemem_envs.util.paths import CODE
from agemem_envs.util.student import student_interval

if TYPE_CHECKING:
    from pandas import DataFrame

STEP, SERIES, RUN = "step", "series", "run"
DEFAULT_METRIC = "reward/total"
BAND = {"low": "min", "high": "max"}
"""Column suffixes of the lowest and highest seed, in a log that is a mean over seeds."""
LAST_SHARE = 0.2
"""The share of the steps over which :attr:`Curve.end` is the mean."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One metric over the steps of a training with one or several seeds.

    Attributes:
        name: The name of the training.
        metric: The name of the metric.
        steps: The S training steps that all runs share, ascending.
        runs: The metric of each run, shape (runs, S).
        extremes: The lowest and highest seed as recorded in a single log, shape (2, S). None
            if the log has no such columns, or for several runs.
        files: The logs, relative to this checkout if they are inside it, else the file names.
    """

    name: str
    metric: str
    steps: tuple[int, ...]
    runs: Array
    extremes: Array | None
    files: tuple[str, ...]

    @property
    def seeds(self) -> int:
        """The number of runs."""
        return len(self.runs)

    @property
    def mean(self) -> Array:
        """The mean over the runs, shape (S,)."""
        mean: Array = np.mean(self.runs, axis=0)
        return mean

    @property
    def band(self) -> Array | None:
        """The lower and upper end of the band around the mean, shape (2, S), or None.

        For several seeds it is the 95% interval of their mean by Student's t
        (:func:`~agemem_envs.util.student.student_interval`), for a single log its ``extremes``.
        """
        if self.seeds == 1:
            return self.extremes
        mean, half_width = student_interval(self.runs)
        return np.array([mean - half_width, mean + half_width])

    @property
    def end(self) -> float:
        """The mean over the last fifth of the steps, and at least over the last one."""
        count = max(1, round(len(self.steps) * LAST_SHARE))
        return float(self.mean[-count:].mean())

    def smoothed(self, window: int) -> Curve:
        """The curve with a trailing moving average over ``window`` steps applied to each run."""
        extremes = None if self.extremes is None else _trailing_means(self.extremes, window)
        return replace(self, runs=_trailing_means(self.runs, window), extremes=extremes)


def _trailing_means(values: Array, window: int) -> Array:
    """The mean of each value of a row and the up to ``window - 1`` values before it."""
    return np.stack(
        [values[:, max(0, end - window) : end].mean(1) for end in range(1, values.shape[1] + 1)], 1
    )


def read_curves(files: Mapping[str, Sequence[Path]], metrics: Sequence[str]) -> list[Curve]:
    """Read one curve for each metric and training.

    Args:
        files: The logs of each training, by its name. Several logs are seeds of one training.
        metrics: The columns to read.

    Raises:
        DataNotFoundError: A log does not exist.
        DataFormatError: A file is not a training log.
        UnknownNameError: A log does not have the metric or the series.
    """
    return [
        _curve(
            name,
            metric,
            [log for path in paths for log in _logs(path, name, metric)],
            tuple(map(_public_name, paths)),
        )
        for metric in metrics
        for name, paths in files.items()
    ]


def _public_name(path: Path) -> str:
    """The name of a file in the report: a published report shows no folders of this machine."""
    path = path.resolve()
    return str(path.relative_to(CODE)) if path.is_relative_to(CODE) else path.name


def _logs(path: Path, name: str, metric: str) -> list[DataFrame]:
    """The values of a file as :func:`_values` returns them, one table for each run."""
    pandas = require("pandas", extra="eval")
    try:
        table = pandas.read_csv(path)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"training log {path} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataFormatError(f"{path} is not a CSV file: {error}") from error
    if STEP not in table:
        raise DataFormatError(f"{path} is not a training log: it has no column {STEP!r}")
    if metric not in table:
        columns = [column for column in table if column not in (STEP, SERIES, RUN)]
        raise UnknownNameError(f"metric of {path}", metric, columns)
    if SERIES in table:
        if name not in set(table[SERIES]):
            raise UnknownNameError(f"series of {path}", name, set(map(str, table[SERIES])))
        table = table[table[SERIES] == name]
    runs = [log for _, log in table.groupby(RUN)] if RUN in table else [table]
    return [_values(path, log, metric) for log in runs]


def _values(path: Path, log: DataFrame, metric: str) -> DataFrame:
    """The columns ``mean`` and, if the log has them, ``low`` and ``high``, by step.

    Steps without a value and steps that occur more than once are left out.
    """
    names = {"mean": metric, **{end: f"{metric}_{suffix}" for end, suffix in BAND.items()}}
    columns = {name: log[column] for name, column in names.items() if column in log}
    try:
        values = log[[STEP]].assign(**columns).dropna().astype(float).set_index(STEP)
        values = values[~values.index.duplicated(keep=False)]
    except ValueError as error:
        raise DataFormatError(
            f"columns {metric} and {STEP} of {path} must be numbers: {error}"
        ) from error
    if values.empty:
        raise DataFormatError(f"{path} has no step with a value of {metric}")
    return values


def _curve(name: str, metric: str, logs: Sequence[DataFrame], files: tuple[str, ...]) -> Curve:
    """The curve at the steps that all logs share."""
    pandas = require("pandas", extra="eval")
    runs = pandas.concat([log["mean"] for log in logs], axis=1, join="inner").sort_index()
    if runs.empty:
        raise DataFormatError(f"the training logs of {name} have no step in common")
    has_band = len(logs) == 1 and all(end in logs[0] for end in BAND)
    return Curve(
        name=name,
        metric=metric,
        steps=tuple(int(step) for step in runs.index),
        runs=runs.to_numpy().T,
        extremes=logs[0][list(BAND)].sort_index().to_numpy().T if has_band else None,
        files=files,
    )


def render_curves(curves: Sequence[Curve]) -> RenderedTable:
    """The first, the highest and the last values of each curve, with all steps as records."""
    records: list[Record] = [
        {"name": c.name, "metric": c.metric, "seeds": c.seeds, "step": step, "mean": float(mean),
         "low": low, "high": high}
        for c in curves
        for step, mean, (low, high) in zip(c.steps, c.mean, _ends(c), strict=True)
    ]  # fmt: skip
    return RenderedTable(
        title="Training curves",
        header=("Name", "Metric", "Seeds", "Steps", "First", "Highest", "Last fifth"),
        rows=tuple(
            tuple(map(RenderedCell, (c.name, c.metric, str(c.seeds), str(len(c.steps)), *ends)))
            for c in curves
            for ends in [[f"{value:.3f}" for value in (c.mean[0], max(c.mean), c.end)]]
        ),
        notes=(
            "Means over seeds, at the steps that all logs of a name share.",
            f"Read from {', '.join(dict.fromkeys(file for c in curves for file in c.files))}.",
        ),
        records=tuple(records),
    )  # fmt: skip


def _ends(curve: Curve) -> list[tuple[float | None, float | None]]:
    """The lower and upper end of the band at each step."""
    if curve.band is None:
        return [(None, None)] * len(curve.steps)
    return [(float(low), float(high)) for low, high in curve.band.T]
