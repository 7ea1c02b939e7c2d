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
from agemem_envs.util.sanitize import natural_number

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
        difficulty: Use only tasks of this difficulty, as the benchmark names it, or a
            :func:`curriculum`.
        distinct: Cycle through only this many tasks, the same ones for every seed.
        options: Arguments of the task: ``split``, ``noise``, ...

    Returns:
        Rows with ``task_id``, the ``seed`` of the episode, and ``prompt``, which TRL requires.

    Raises:
        ConfigurationError: The split has no task of this difficulty, or the curriculum is not one.
    """
    phases = curriculum(difficulty)
    with closing(make_task(ENVS[env_id]["task"], options)) as task:
        ids = _endless_ids(task, count, seed if distinct is None else 0)
        wanted = (
            itertools.islice(_of_difficulty(task, ids, level), length) for level, length in phases
        )
        selection = itertools.islice(itertools.chain.from_iterable(wanted), distinct or count)
        if distinct is not None:
            selection = itertools.islice(itertools.cycle(selection), count)
        return [
            {"prompt": task_id, "task_id": task_id, "seed": episode_seed(seed, index)}
            for index, task_id in enumerate(selection)
        ]


def curriculum(text: str | None) -> list[tuple[str | None, int | None]]:
    """The phases of a training: the difficulty of its tasks, and their number.

    Args:
        text: One difficulty; several, such as ``easy:200,medium:200,hard``: 200 easy tasks, 200
            of medium difficulty, and hard ones from then on; or None for all tasks.

    Returns:
        The phases. The last one has no end.

    Raises:
        ConfigurationError: A phase has no difficulty, or a number that is not positive, or the
            last one has a number.
    """
    if text is None:
        return [(None, None)]
    *earlier, last = text.split(",")
    phases: list[tuple[str | None, int | None]] = []
    for phase in earlier:
        level, _, digits = phase.rpartition(":")
        length = natural_number(digits)
        if not level or not length:
            raise ConfigurationError(f"difficulty {text!r}: {phase!r} is not LEVEL:TASKS")
        phases.append((level, length))
    if not last or ":" in last:
        raise ConfigurationError(f"difficulty {text!r}: the last phase has no end, so no number")
    return [*phases, (last, None)]


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
