"""Training curves, from logs as CSV: a column ``step``, and one for each metric.

A file of several trainings, as ``train/curves.py`` writes it, says in the columns ``series`` and
``run`` which of them a line is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.eval.reporting.rendered import Record, RenderedCell, RenderedTable
from agemem_envs.errors import DataFormatError, DataNotFoundError, UnknownNameError, require
from agemem_envs.util.paths import CODE

STEP, SERIES, RUN = "step", "series", "run"
DEFAULT_METRIC = "reward/total"
BAND = ("min", "max")
"""A log of several seeds has ``METRIC_min`` and ``METRIC_max`` beside ``METRIC``, their mean."""
LAST_SHARE = 0.2
"""The end of a curve, whose mean is told."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over the steps of a training, or of several with different seeds.

    Attributes:
        name: What was trained.
        metric: What was measured.
        steps: The training steps, rising.
        mean: Over the seeds.
        low: The lowest seed.
        high: The highest seed.
        seeds: How many logs it is made of.
        files: Where they are, within this checkout or by name.
    """

    name: str
    metric: str
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    seeds: int
    files: tuple[str, ...]

    @property
    def end(self) -> float:
        """The mean over the last fifth of the steps, of at least one."""
        count = max(1, round(len(self.mean) * LAST_SHARE))
        return sum(self.mean[-count:]) / count


def read_curves(files: Mapping[str, Sequence[Path]], metrics: Sequence[str]) -> list[Curve]:
    """The curves of each name, one for each metric; several files are seeds of one training.

    Raises:
        DataNotFoundError: A file is not there.
        DataFormatError: A file is not such a log.
        UnknownNameError: A log lacks a metric.
    """
    pandas = require("pandas", extra="eval")
    return [
        _curve(
            pandas,
            name,
            metric,
            [log for path in paths for log in _logs(pandas, path, name, metric)],
            tuple(map(_shown, paths)),
        )
        for metric in metrics
        for name, paths in files.items()
    ]


def _shown(path: Path) -> str:
    """A report may be given away: it names no folder of this machine."""
    path = path.resolve()
    return str(path.relative_to(CODE)) if path.is_relative_to(CODE) else path.name


def _logs(pandas: Any, path: Path, name: str, metric: str) -> list[Any]:
    """The logs of a file, one for each run: steps, the metric and its band.

    Steps without a value are left out.
    """
    try:
        table = pandas.read_csv(path)
    except FileNotFoundError as error:
        raise DataNotFoundError(f"there is no training log {path}") from error
    except (OSError, ValueError) as error:
        raise DataFormatError(f"{path} is not a CSV file: {error}") from error
    if STEP not in table:
        raise DataFormatError(f"{path} has no column {STEP!r}: is it a training log?")
    if metric not in table:
        known = [column for column in table if column not in (STEP, SERIES, RUN)]
        raise UnknownNameError(f"metric of {path}", metric, known)
    if SERIES in table:
        if name not in set(table[SERIES]):
            raise UnknownNameError(f"series of {path}", name, set(map(str, table[SERIES])))
        table = table[table[SERIES] == name]
    runs = [log for _, log in table.groupby(RUN)] if RUN in table else [table]
    return [_values(pandas, path, log, metric) for log in runs]


def _values(pandas: Any, path: Path, log: Any, metric: str) -> Any:
    columns = [f"{metric}_{end}" for end in BAND]
    low, high = (log[c] if c in log else log[metric] for c in columns)
    chosen = pandas.DataFrame({STEP: log[STEP], "mean": log[metric], "low": low, "high": high})
    try:
        chosen = chosen.dropna().astype(float)
    except ValueError as error:
        raise DataFormatError(f"{path}: {metric} and {STEP} must be numbers: {error}") from error
    if chosen.empty:
        raise DataFormatError(f"{path} has no step with a number for {metric}")
    return chosen


def _curve(
    pandas: Any, name: str, metric: str, logs: Sequence[Any], files: tuple[str, ...]
) -> Curve:
    """The mean over logs at the steps that all of them have."""
    steps = pandas.concat(logs).groupby(STEP)
    joint = steps.agg(mean=("mean", "mean"), low=("low", "min"), high=("high", "max"))
    joint = joint[steps.size() == len(logs)]
    if joint.empty:
        raise DataFormatError(f"the logs of {name} share no step")
    return Curve(
        name=name,
        metric=metric,
        steps=tuple(int(step) for step in joint.index),
        mean=tuple(joint["mean"]),
        low=tuple(joint["low"]),
        high=tuple(joint["high"]),
        seeds=len(logs),
        files=files,
    )


def curve_sheet(curves: Sequence[Curve]) -> RenderedTable:
    """Where each curve begins, how high it gets, where it ends; all steps as records."""
    records: list[Record] = [
        {"name": c.name, "metric": c.metric, "seeds": c.seeds, "step": s, "mean": m, "low": lo,
         "high": hi}
        for c in curves
        for s, m, lo, hi in zip(c.steps, c.mean, c.low, c.high, strict=True)
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
