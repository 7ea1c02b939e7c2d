"""Published lists of tasks: what a row of the leaderboard has played, the whole of it, with seed 0.

A list is known by its number of tasks and the digest of their ids, so that a run's record shows
which list was played, without the data. Lists of official data that are too large to be kept with
this project are known by their number of tasks alone; the version of the data file, which a row
states, tells the files apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agemem.eval.paper.benchmarks import benchmark_from
from agemem_envs.episode import DataSource, Episode

SEED = 0
"""The seed of a run on a published list. It orders the tasks and begins the episodes' seeds."""


@dataclass(frozen=True, slots=True)
class TaskList:
    """A published list of tasks.

    Attributes:
        benchmark: The key of the benchmark.
        split: The split, as its data source names it.
        name: What of the split it is, with the number of tasks.
        tasks: The number of tasks.
        sha256: The digest of the ids, by :func:`digest`; None if it is known by its number alone.
        episodes: The option ``--episodes`` that plays it. For endless data ``all`` does, too.
    """

    benchmark: str
    split: str
    name: str
    tasks: int
    sha256: str | None = None
    episodes: str = "all"


LISTS: tuple[TaskList, ...] = (
    TaskList("alfworld", "valid_unseen", "all 134", 134),
    TaskList(
        "alfworld",
        "valid_unseen",
        "sample of 69",
        69,
        "dc3b64b7dbc8b20d352610e50b17f68f8cd5253de95cc959cced39e0c9262c54",
    ),
    TaskList(
        "sciworld",
        "agentboard",
        "all 90",
        90,
        "7960cb97d4131780ce33878e33de63deded5ca96c071e05c3b57984f1ee41298",
    ),
    TaskList(
        "sciworld",
        "test",
        "all 1819",
        1819,
        "6e7be286909b194888134760281c2021cd854f4b490cc3ed19e6bc01492f6bbe",
    ),
    TaskList(
        "sciworld",
        "test",
        "first 100",
        100,
        "48ce31d09c97daa96a5399a89d42f9c204e2f6bc4c093bd6e04ae0ee80bfd6e0",
        "100",
    ),
    TaskList(
        "pddl",
        "agentboard",
        "all 60",
        60,
        "7f96cd6cafc5c6465fa7ba59668d9ae668dc587a49159ea05032b3f18e115d1f",
    ),
    TaskList(
        "babyai",
        "agentboard",
        "all 112",
        112,
        "34a23fcdd8dee1f1c5de309638527c1eb0ede01239f3ed00d764f0f022534150",
    ),
    TaskList(
        "babyai",
        "test",
        "first 100 of the large levels",
        100,
        "f7550e487084b40b8b7ca4871813ac7b24a5ab27c80cd1f4aa1c8d516e722cf4",
        "100",
    ),
    TaskList(
        "babyai",
        "test",
        "first 100 of all levels",
        100,
        "e41ffa73f49f8c31e2dda4737585486cef2777c45f4fc6e2e8ae4efbf9643ba2",
        "100",
    ),
    TaskList("hotpotqa", "validation", "all 7405", 7405),
    TaskList(
        "hotpotqa",
        "validation",
        "sample of 291",
        291,
        "dd3770a88f7967bfcf6dd259edcac82a9b887dc0df10d3dc7b836cae6f41a43c",
    ),
    TaskList(
        "alfworld-generated",
        "valid_unseen",
        "first 100",
        100,
        "bcd6b299cf0db356c084530c3dd69f1ee8aeaf696958a01dfeeeb3929de38623",
        "100",
    ),
    TaskList(
        "pddl-generated",
        "test",
        "first 100",
        100,
        "a5a14556e45f9a3e3e8df8142a5d24c3c3871dffd5c96f542e1005fbbc21adcd",
        "100",
    ),
    TaskList(
        "syntheticqa",
        "validation",
        "first 100",
        100,
        "64ec00b13595cd5ab133aa5d2f1435dbab3f27590fa7d56e204490a08da9d08c",
        "100",
    ),
)
"""All published lists. Official data: ALFWorld's unseen games, HotpotQA's development questions and
samples of both; AgentBoard's lists; ScienceWorld's test variations. Generated data is endless: its
lists are its first tasks of seed 0, and stand under its own name."""


def digest(ids: Collection[str]) -> str:
    """SHA-256 of task ids, sorted, one a line."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def lists_of(benchmark: str) -> list[TaskList]:
    """The published lists of a benchmark, by its key."""
    return [tasks for tasks in LISTS if tasks.benchmark == benchmark]


def find_list(benchmark: str, episodes: Sequence[Episode]) -> TaskList | None:
    """The published list that these episodes of a benchmark have played; None if they have not.

    An id that was played several times counts once.
    """
    ids = {episode.task_id for episode in episodes}
    splits = {episode.source.split for episode in episodes}
    played = digest(ids)
    for tasks in lists_of(benchmark):
        if splits == {tasks.split} and len(ids) == tasks.tasks and tasks.sha256 in (None, played):
            return tasks
    return None


def tasks_of_endless(source: DataSource) -> int | None:
    """The number of tasks that are all of a data source without an end: those of its list.

    Returns:
        The number; None if the data source has an end, or no published list.
    """
    benchmark = benchmark_from(source)
    lists = [t for t in lists_of(benchmark.key) if t.split == source.split] if benchmark else []
    endless = lists and all(tasks.episodes != "all" for tasks in lists)
    return max(tasks.tasks for tasks in lists) if endless else None
