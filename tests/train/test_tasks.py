"""The list of tasks: deterministic, a prefix of any longer one, without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from agemem.train.tasks import curriculum, task_rows
from agemem_envs.errors import ConfigurationError
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask

ID = "AgeMem-SyntheticQA-v0"


def test_a_longer_run_begins_with_the_same_tasks() -> None:
    rows = task_rows(ID, 30, 3, split="train")
    assert task_rows(ID, 10, 3, split="train") == rows[:10]
    assert len({row["task_id"] for row in rows}) == len({row["seed"] for row in rows}) == 30
    assert not {row["task_id"] for row in rows} & {
        row["task_id"] for row in task_rows(ID, 30, 4, split="train")
    }


def test_only_tasks_of_a_difficulty() -> None:
    task = SyntheticQATask(split="train")
    rows = task_rows(ID, 12, 0, "hard", split="train")
    assert {task.record(row["task_id"]).level for row in rows} == {"hard"}
    with pytest.raises(ConfigurationError, match="Found: easy, hard, medium"):
        task_rows(ID, 1, 0, "impossible", split="train")


def test_a_curriculum_goes_from_one_difficulty_to_the_next() -> None:
    task = SyntheticQATask(split="train")
    rows = task_rows(ID, 12, 0, "easy:3,medium:4,hard", split="train")
    levels = [task.record(row["task_id"]).level for row in rows]
    assert levels == ["easy"] * 3 + ["medium"] * 4 + ["hard"] * 5
    assert rows[:5] == task_rows(ID, 5, 0, "easy:3,medium:4,hard", split="train")
    assert len({row["task_id"] for row in rows}) == 12


@pytest.mark.parametrize("text", ["easy,hard", "easy:0,hard", ":3,hard", "easy:3,", "easy:3", ""])
def test_what_is_not_a_curriculum_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="difficulty"):
        curriculum(text)


def test_a_pool_of_tasks_is_the_same_for_every_seed_and_gone_through_again() -> None:
    rows = task_rows(ID, 7, 1, None, 3, split="train")
    ids = [row["task_id"] for row in rows]
    assert ids[:3] * 2 + ids[:1] == ids
    assert len(set(ids)) == 3
    assert len({row["seed"] for row in rows}) == 7  # told in another order each time
    assert [row["task_id"] for row in task_rows(ID, 3, 2, None, 3, split="train")] == ids[:3]


def test_a_split_with_an_end_begins_again(real_data: Path) -> None:
    rows = task_rows("AgeMem-HotpotQA-v0", 700, 0, split="train")
    ids = [row["task_id"] for row in rows]
    size = len(set(ids))
    assert size < 700
    assert len(set(ids[:size])) == size  # every task once before any twice
    assert ids[size : 2 * size] != ids[: len(ids[size : 2 * size])]
