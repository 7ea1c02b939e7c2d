"""The episodes of runs on the same tasks, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result

Row = tuple[Result | None, ...]
"""One task: its episode in each run, None where a run lacks it."""


def pair(runs: Sequence[PlayedRun]) -> list[Row]:
    """The episodes of all runs by task: same environment id, same task id.

    The second episode on a task is paired with the other run's second one, and so on. The
    order is that of the first run; tasks that it lacks follow.
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
