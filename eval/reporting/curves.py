"""Training curves, from CSV files with the column ``step`` and a column for each metric.

A file may hold several runs, as ``train/curves.py`` writes it: its columns ``series`` and ``run``
then say to which training and run a row belongs.
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
"""A log that is already a mean over seeds may have ``METRIC_min`` and ``METRIC_max``."""
LAST_SHARE = 0.2
"""The share of the steps that counts as the end of a curve."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One metric over the steps of a training, played with one or several seeds.

    Attributes:
        name: The training.
        metric: The metric.
        steps: The S training steps that all runs have, rising.
        runs: The metric of each run, shape (runs, S).
        extremes: The band that a single log brings itself, shape (2, S): its lowest and
            highest seed. None where there is none, or several runs.
        files: The logs, relative to this checkout or by name.
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
        """The ends of the band around the mean, shape (2, S); None for a single seed.

        It is the 95% interval of the mean over seeds by Student's t
        (:func:`~agemem_envs.util.student.student_interval`), or the log's own band.
        """
        if self.seeds == 1:
            return self.extremes
        mean, half_width = student_interval(self.runs)
        return np.array([mean - half_width, mean + half_width])

    @property
    def end(self) -> float:
        """The mean over the last fifth of the steps, at least one."""
        count = max(1, round(len(self.steps) * LAST_SHARE))
        return float(self.mean[-count:].mean())

    def smoothed(self, window: int) -> Curve:
        """The curve with each run averaged over the last ``window`` steps, fewer at its start."""
        extremes = None if self.extremes is None else _trailing_means(self.extremes, window)
        return replace(self, runs=_trailing_means(self.runs, window), extremes=extremes)


def _trailing_means(values: Array, window: int) -> Array:
    """The mean of each value of a row and the ``window - 1`` before it."""
    return np.stack(
        [values[:, max(0, end - window) : end].mean(1) for end in range(1, values.shape[1] + 1)], 1
    )


def read_curves(files: Mapping[str, Sequence[Path]], metrics: Sequence[str]) -> list[Curve]:
    """Read the curves of each name, one for each metric; several files are seeds of one training.

    Raises:
        DataNotFoundError: A file does not exist.
        DataFormatError: A file is not a training log.
        UnknownNameError: A log lacks a metric or a series.
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
    """A file's name for the report, which may be published: no folder of this machine."""
    path = path.resolve()
    return str(path.relative_to(CODE)) if path.is_relative_to(CODE) else path.name


def _logs(path: Path, name: str, metric: str) -> list[DataFrame]:
    """The logs of a file, one for each run, as :func:`_values` returns them."""
    pandas = require("pandas", extra="eval")
    try:
        table = pandas.read_csv(path)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"there is no training log {path}") from error
    except (OSError, ValueError) as error:
        raise DataFormatError(f"{path} is not a CSV file: {error}") from error
    if STEP not in table:
        raise DataFormatError(f"{path} has no column {STEP!r}: is it a training log?")
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

    Steps without a value are left out, and so are steps that occur twice.
    """
    names = {"mean": metric, **{end: f"{metric}_{suffix}" for end, suffix in BAND.items()}}
    columns = {name: log[column] for name, column in names.items() if column in log}
    try:
        values = log[[STEP]].assign(**columns).dropna().astype(float).set_index(STEP)
        values = values[~values.index.duplicated(keep=False)]
    except ValueError as error:
        raise DataFormatError(f"{path}: {metric} and {STEP} must be numbers: {error}") from error
    if values.empty:
        raise DataFormatError(f"{path} has no step with a number for {metric}")
    return values


def _curve(name: str, metric: str, logs: Sequence[DataFrame], files: tuple[str, ...]) -> Curve:
    """The curve at the steps that all logs have."""
    pandas = require("pandas", extra="eval")
    runs = pandas.concat([log["mean"] for log in logs], axis=1, join="inner").sort_index()
    if runs.empty:
        raise DataFormatError(f"the logs of {name} share no step")
    has_band = len(logs) == 1 and all(end in logs[0] for end in BAND)
    return Curve(
        name=name,
        metric=metric,
        steps=tuple(int(step) for step in runs.index),
        runs=runs.to_numpy().T,
        extremes=logs[0][list(BAND)].sort_index().to_numpy().T if has_band else None,
        files=files,
    )


def curve_sheet(curves: Sequence[Curve]) -> RenderedTable:
    """The start, the highest value and the end of each curve, with all steps as records."""
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
            "Means over seeds, at the steps that all logs of a name have.",
            f"Of {', '.join(dict.fromkeys(file for c in curves for file in c.files))}.",
        ),
        records=tuple(records),
    )  # fmt: skip


def _ends(curve: Curve) -> list[tuple[float | None, float | None]]:
    """The ends of the band at each step."""
    if curve.band is None:
        return [(None, None)] * len(curve.steps)
    return [(float(low), float(high)) for low, high in curve.band.T]
