"""Pairs the episodes of several runs by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result

Row = tuple[Result | None, ...]
"""The episode of a task in each run, None if a run lacks the task."""


def pair(runs: Sequence[PlayedRun]) -> list[Row]:
    """Pair episodes with the same environment id and task id.

    The n-th episode of a run on a task is paired with the n-th of the other runs. Rows have the
    order of the first run, followed by tasks that it lacks.
    """
    keyed = [_by_task(run.results) for run in runs]
    keys = dict.fromkeys(key for results in keyed for key in results)
    return [tuple(results.get(key) for results in keyed) for key in keys]


def _by_task(results: Sequence[Result]) -> dict[tuple[str, str, int], Result]:
    seen: Counter[tuple[str, str]] = Counter()
    keyed = {}
    for result in results:
        task = (result.episode.env_id, result.episode.task_id)
        keyed[*task, seen[task]] = result
        seen[task] += 1
    return keyed
