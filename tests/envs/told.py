"""What a task tells, in a form that tests compare."""

from __future__ import annotations

import hashlib

import numpy as np

from agemem_envs.tasks.base import Task, TaskSpec


def texts(spec: TaskSpec) -> list[str]:
    """The messages of both stages."""
    return [talk.text for talk in (*spec.knowledge, *spec.distractors)]


def digests(task: Task) -> list[str]:
    """The beginnings of the hashes of what six tasks tell."""
    found = []
    for task_id in task.task_ids(6, seed=0):
        spec = task.reset(task_id, np.random.default_rng(5))
        parts = [spec.query, spec.opening, *(talk.text for talk in spec.knowledge), "|"]
        parts += [*(talk.text for talk in spec.distractors), "|", *spec.gold_facts]
        found.append(hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12])
    return found
