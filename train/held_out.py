"""The held-out table: what the arms of an experiment do on tasks that no training has seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agemem.eval.reporting.estimates import Estimate, compared, estimate, stable_seed
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.reading import read_runs
from agemem.eval.stats.pairing import difference
from agemem.eval.stats.significance import holm, permutation_p
from agemem_envs.errors import require
from agemem_envs.tools import TOOLS, short_name

if TYPE_CHECKING:
    from pandas import DataFrame

TESTED = ("success", "reward", "memory_quality")
"""Metrics by which the arms are tested against the warm start."""
SHOWN = (
    *TESTED,
    "stale_answer",
    "malformed_rate",
    "rounds",
    *(f"{short_name(tool)}_calls" for tool in TOOLS),
)


def held_out(runs: Mapping[str, Sequence[Path]]) -> tuple[DataFrame, DataFrame]:
    """The means of the arms, and their paired tests against the first arm of all.

    Tasks and training runs are resampled for the intervals. The tests are one family of hypotheses
    for Holm's correction.

    Args:
        runs: The evaluations of each arm, one for each training run, in the order of the seeds.

    Returns:
        A table with a row for each arm and metric, and one with a row for each test.
    """
    pandas = require("pandas", extra="train")
    numbers = {
        (arm, metric): _estimate(arm, folders, metric)
        for arm, folders in runs.items()
        for metric in SHOWN
    }
    means = [
        {
            "arm": arm,
            "metric": metric,
            "mean": number.value,
            "low": number.low,
            "high": number.high,
            "episodes": number.scored,
            "tasks": number.tasks,
            "trainings": number.trainings,
        }
        for (arm, metric), number in numbers.items()
    ]
    return pandas.DataFrame(means), pandas.DataFrame(_tests(list(runs), numbers))


def _estimate(arm: str, folders: Sequence[Path], metric: str) -> Estimate:
    played = read_runs(list(folders))
    results = [result for run in played for result in run.results]
    seeds = [str(index) for index, run in enumerate(played) for _ in run.results]
    return estimate(results, metric, seeds)


def _tests(
    arms: Sequence[str], numbers: Mapping[tuple[str, str], Estimate]
) -> list[dict[str, object]]:
    first, *others = arms
    rows: list[dict[str, object]] = []
    for metric in TESTED:
        base = numbers[first, metric]
        for arm in others:
            one, name = numbers[arm, metric], f"{metric}/{arm}/{first}"
            share = METRICS[metric].share
            result = compared(one, base, difference, share=share, name=name)
            assert result is not None, "both have played the same tasks"
            (ours,), (theirs,) = one.samples, base.samples
            pairs = zip(ours.by_task.values(), theirs.by_task.values(), strict=True)
            rows.append(
                {
                    "arm": arm,
                    "against": first,
                    "metric": metric,
                    "difference": result.value,
                    "low": result.low,
                    "high": result.high,
                    "tasks": result.tasks,
                    "p": permutation_p([a - b for a, b in pairs], stable_seed(name)),
                }
            )
    for row, p in zip(rows, holm([float(str(row["p"])) for row in rows]), strict=True):
        row["p_holm"] = p
    return rows
