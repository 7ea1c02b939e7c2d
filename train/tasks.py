"""The tasks of a training run: a deterministic list, so that a resumed run continues with it."""

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
"""Consecutive tasks of other difficulties after which the search gives up."""


def task_rows(
    env_id: str,
    count: int,
    seed: int,
    difficulty: str | None = None,
    distinct: int | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """List ``count`` tasks in training order; a larger count starts with the same tasks.

    A split with fewer tasks is repeated, in a different order each time.

    Args:
        env_id: A registered id.
        count: The number of tasks.
        seed: The seed of the run, for the selection and order of tasks and for episode seeds.
        difficulty: Use only tasks of this difficulty, as the benchmark names it.
        distinct: Cycle through only this many tasks, the same ones for every seed.
        options: Arguments of the task: ``split``, ``noise``, ...

    Returns:
        Rows with ``task_id``, the ``seed`` of the episode, and ``prompt``, which TRL requires.

    Raises:
        ConfigurationError: The split has no task of this difficulty.
    """
    with closing(make_task(ENVS[env_id]["task"], options)) as task:
        ids = _endless_ids(task, count, seed if distinct is None else 0)
        selection = itertools.islice(_of_difficulty(task, ids, difficulty), distinct or count)
        if distinct is not None:
            selection = itertools.islice(itertools.cycle(selection), count)
        return [
            {"prompt": task_id, "task_id": task_id, "seed": episode_seed(seed, index)}
            for index, task_id in enumerate(selection)
        ]


def _endless_ids(task: Task, count: int, seed: int) -> Iterator[str]:
    for epoch in itertools.count():
        epoch_seed = seed + epoch * 1_009
        try:
            yield from task.task_ids(None, epoch_seed)
        except ConfigurationError:  # an endless split: take a finite part of it
            yield from task.task_ids(max(count, 1_000) * 10, epoch_seed)


def _of_difficulty(task: Task, ids: Iterator[str], wanted: str | None) -> Iterator[str]:
    misses: list[str] = []
    for task_id in ids:
        if wanted is not None:
            spec = task.reset(task_id, np.random.default_rng(0), with_stage_messages=False)
            if spec.difficulty != wanted:
                misses.append(spec.difficulty)
                if len(misses) > MAX_MISSES:
                    levels = ", ".join(sorted(set(misses)))
                    raise ConfigurationError(
                        f"no task of difficulty {wanted!r} was found. Found: {levels}."
                    )
                continue
            misses = []
        yield task_id
