"""Which tasks a run trains on: one deterministic list, from which a resumed run goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from agemem_envs.errors import ConfigurationError
from agemem_envs.registration import ENVS
from agemem_envs.seeding import episode_seed
from agemem_envs.tasks.base import Task, make_task

MAX_MISSES = 10_000
"""Tasks of another difficulty in a row, after which there is none of the wanted one."""


def task_rows(
    env_id: str,
    count: int,
    seed: int,
    difficulty: str | None = None,
    distinct: int | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """``count`` tasks in training order; a larger count begins with the same ones.

    A split that has fewer is gone through again, in another order each time.

    Args:
        env_id: A registered id.
        count: How many.
        seed: Chooses and orders them.
        difficulty: Only tasks of this level, as the benchmark names it.
        distinct: Only the first so many tasks of the split, whatever the seed, again and again.
        options: Of the task: ``split``, ``noise``, ...

    Returns:
        Rows with ``task_id``, ``seed`` of the episode, and ``prompt``, a name for TRL.

    Raises:
        ConfigurationError: The split has no task of this difficulty.
    """
    with closing(make_task(ENVS[env_id]["task"], options)) as task:
        ids = _endless_ids(task, count, seed if distinct is None else 0)
        chosen = itertools.islice(_of_difficulty(task, ids, difficulty), distinct or count)
        if distinct is not None:
            chosen = itertools.islice(itertools.cycle(chosen), count)
        return [
            {"prompt": task_id, "task_id": task_id, "seed": episode_seed(seed, index)}
            for index, task_id in enumerate(chosen)
        ]


def _endless_ids(task: Task, count: int, seed: int) -> Iterator[str]:
    for epoch in itertools.count():
        epoch_seed = seed + epoch * 1_009
        try:
            yield from task.task_ids(None, epoch_seed)
        except ConfigurationError:  # endless by itself: ask for a stretch of it
            yield from task.task_ids(max(count, 1_000) * 10, epoch_seed)


def _of_difficulty(task: Task, ids: Iterator[str], wanted: str | None) -> Iterator[str]:
    misses: list[str] = []
    for task_id in ids:
        if wanted is not None:
            found = task.reset(
                task_id, np.random.default_rng(0), with_stage_messages=False
            ).difficulty
            if found != wanted:
                misses.append(found)
                if len(misses) > MAX_MISSES:
                    known = ", ".join(sorted(set(misses)))
                    raise ConfigurationError(
                        f"no task of difficulty {wanted!r}; there are: {known}"
                    )
                continue
            misses = []
        yield task_id
