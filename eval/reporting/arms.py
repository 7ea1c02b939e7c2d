"""Arms of an experiment on the same tasks: their means, and paired tests against the first arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agemem.eval.reporting.estimates import Estimate, compared, estimate, stable_seed
from agemem.eval.reporting.summary import Row
from agemem.eval.runs.comparability import identity
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.reading import PlayedRun, read_runs
from agemem.eval.stats.pairing import difference
from agemem.eval.stats.significance import holm, permutation_p
from agemem_envs.errors import ConfigurationError
from agemem_envs.tools import TOOLS, short_name

TESTED = ("success", "reward", "memory_quality")
"""Metrics by which the arms are tested against the first one."""
SHOWN = (
    *TESTED,
    "stale_answer",
    "malformed_rate",
    "rounds",
    *(f"{short_name(tool)}_calls" for tool in TOOLS),
)
SAME = ("env", "data_source", "task")
"""Conditions that make two episodes of the same id episodes of the same task."""
Numbers = Mapping[tuple[str, str], Estimate]
"""The numbers of each arm and metric."""


def read_arms(runs: Mapping[str, Sequence[Path]]) -> Numbers:
    """The means of the arms, with intervals over tasks and training runs.

    Args:
        runs: The evaluations of each arm, one for each training run, in the order of the seeds.

    Raises:
        ConfigurationError: The arms have played different tasks, or with other settings of tasks.
    """
    played = {arm: read_runs(list(folders)) for arm, folders in runs.items()}
    first, *others = ((arm, _tasks(run)) for arm, of in played.items() for run in of)
    for arm, tasks in others:
        if tasks != first[1]:
            raise ConfigurationError(
                f"{first[0]} and a run of {arm} have not played the same tasks"
            )
    return {(arm, metric): _estimate(of, metric) for arm, of in played.items() for metric in SHOWN}


def _tasks(run: PlayedRun) -> set[tuple[str, ...]]:
    """The tasks of a run, whether their episodes were scored or not."""
    conditions = ((result.episode.task_id, identity(result)) for result in run.results)
    return {(task, *(values[name] for name in SAME)) for task, values in conditions}


def means(numbers: Numbers) -> list[Row]:
    """A row for each arm and metric."""
    return [
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


def _estimate(runs: Sequence[PlayedRun], metric: str) -> Estimate:
    results = [result for run in runs for result in run.results]
    seeds = [str(index) for index, run in enumerate(runs) for _ in run.results]
    return estimate(results, metric, seeds)


def tests(numbers: Numbers) -> list[Row]:
    """A row for each paired test of an arm against the first one.

    The tests are one family of hypotheses for Holm's correction. What has no score is not tested.
    """
    first, *others = dict.fromkeys(arm for arm, _ in numbers)
    rows: list[Row] = []
    for metric in TESTED:
        base = numbers[first, metric]
        for arm in others:
            one, name = numbers[arm, metric], f"{metric}/{arm}/{first}"
            share = METRICS[metric].share
            result = compared(one, base, difference, share=share, name=name)
            if result is None:
                continue
            (ours,), (theirs,) = one.samples, base.samples
            shared = [task for task in ours.tasks if task in theirs.by_task]
            pairs = [ours.by_task[task] - theirs.by_task[task] for task in shared]
            rows.append(
                {
                    "arm": arm,
                    "against": first,
                    "metric": metric,
                    "difference": result.value,
                    "low": result.low,
                    "high": result.high,
                    "tasks": result.tasks,
                    "p": permutation_p(pairs, stable_seed(name)),
                }
            )
    adjusted = holm([float(str(row["p"])) for row in rows])
    return [{**row, "p_holm": p} for row, p in zip(rows, adjusted, strict=True)]
