"""AgeMem-SyntheticQA: the embedded multi-hop benchmark."""

from __future__ import annotations

import numpy as np

from agemem_envs.episode import DataSource
from agemem_envs.errors import UnknownNameError
from agemem_envs.tasks.base import MAX_NUMBER, generated_numbers
from agemem_envs.tasks.qa.generator import VERSION, make_record
from agemem_envs.tasks.qa.task import DISTRACTORS, NOISE, QARecord, QATask
from agemem_envs.util.sanitize import natural_number

SPLITS = ("train", "validation", "test")


class SyntheticQATask(QATask):
    """Multi-hop questions about fictional worlds, generated without limit.

    - Task: bridge and comparison questions of 2 to 4 hops over people, places, works and
      organisations with invented names: nothing can be answered without the given text,
      no answer occurs in its question or in a paragraph that is not gold.
    - Observation, actions, success, progress: as :class:`~agemem_envs.tasks.qa.task.QATask`.
    - Splits: train, validation and test, disjoint, unlimited. Ids are
      ``synthetic-<split>-<number>``; each number is a world of its own.
    - Difficulty: easy, medium, hard for 2, 3, 4 gold paragraphs.
    - Data source: this package (``synthetic_worlds``), its version in every record.
    - Departure from HotpotQA: two to four gold paragraphs instead of two; no yes/no.

    Args:
        split: ``train``, ``validation`` or ``test``.
        noise: Paragraphs of stage 1 that are not needed.
        distractors: Most paragraphs of stage 2.
    """

    name = "syntheticqa"

    def __init__(
        self, split: str = "validation", noise: int = NOISE, distractors: int = DISTRACTORS
    ) -> None:
        super().__init__(noise, distractors)
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        self._split = split
        self.source = DataSource(self.name, "embedded", split, VERSION, "synthetic_worlds")

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """Ids number ``seed * 1e6`` onwards."""
        numbers = generated_numbers(count, seed, self.name)
        return [f"synthetic-{self._split}-{number}" for number in numbers]

    def sample_id(self, generator: np.random.Generator) -> str:
        """Any id of the split."""
        return f"synthetic-{self._split}-{generator.integers(MAX_NUMBER)}"

    def record(self, task_id: str) -> QARecord:
        """Generate the record with this id."""
        prefix, _, digits = task_id.rpartition("-")
        number = natural_number(digits)
        if prefix != f"synthetic-{self._split}" or number is None:
            raise UnknownNameError("task id", task_id, [f"synthetic-{self._split}-<number>"])
        return make_record(task_id, f"{self._split}/{number}")
