"""AgeMem-SyntheticQA: the embedded multi-hop benchmark."""

from __future__ import annotations

from agemem_envs.episode import DataSource
from agemem_envs.errors import UnknownNameError
from agemem_envs.tasks.catalogue import GeneratedIds
from agemem_envs.tasks.qa.cases import Case
from agemem_envs.tasks.qa.fictional_case import FictionalCase
from agemem_envs.tasks.qa.generator import LEVELS, VERSION, make_brief, make_question
from agemem_envs.tasks.qa.mixture import MessageSizes
from agemem_envs.tasks.qa.record import QARecord
from agemem_envs.tasks.qa.task import DISTRACTORS, NOISE, QATask

SPLITS = ("train", "validation", "test")
BRIEF_MESSAGES = MessageSizes(statements=6, distractor=250)
"""Messages whose statements can be stored by the calls of one output."""


class SyntheticQATask(QATask):
    """Generated multi-hop questions about fictional worlds.

    - Task: bridge and comparison questions of 2 to 4 hops over people, places, works and
      organisations with invented names. No question can be answered without the given
      text, and no answer occurs in its question or in a paragraph that is not gold.
    - Observation, actions, success, progress: as :class:`~agemem_envs.tasks.qa.task.QATask`.
    - Splits: train, validation and test, disjoint, unlimited. Ids are
      ``synthetic-<split>-<number>``; each number has its own world.
    - Difficulty: easy, medium, hard for 2, 3, 4 gold paragraphs.
    - Data source: this package (``synthetic_worlds``), its version in every record.
    - Departure from HotpotQA: two to four gold paragraphs instead of two; no yes/no.

    Args:
        split: ``train``, ``validation`` or ``test``.
        level: ``easy``, ``medium`` or ``hard`` for questions of that level alone.
        brief: Paragraphs say little else than the question asks: about one sentence each. The
            messages are shorter as well.
        noise, distractors, facts, updates, together: See
            :class:`~agemem_envs.tasks.qa.task.QATask`.
    """

    name = "syntheticqa"

    def __init__(
        self,
        split: str = "validation",
        noise: int = NOISE,
        distractors: int = DISTRACTORS,
        facts: int = 0,
        updates: int = 0,
        together: bool = False,
        level: str | None = None,
        brief: bool = False,
    ) -> None:
        super().__init__(noise, distractors, facts, updates, together)
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        if level is not None and level not in LEVELS.values():
            raise UnknownNameError("level", level, LEVELS.values())
        own = [f"level={level}" if level is not None else "", "brief=True" if brief else ""]
        self.variant = ", ".join(filter(None, [self.variant, *own]))
        self._split, self._level, self._brief = split, level, brief
        if brief:
            self.message_sizes = BRIEF_MESSAGES
        self.source = DataSource(self.name, "embedded", split, VERSION, "synthetic_worlds")
        self.catalogue: GeneratedIds = GeneratedIds(
            f"synthetic-{split}-", ("question",), str(self.source)
        )

    def record(self, task_id: str) -> QARecord:
        """Generate the record with this id."""
        return self.case(task_id).record

    def case(self, task_id: str) -> Case:
        """Generate the question with this id, and its world."""
        _, number = self.catalogue.parse(task_id)
        question = make_question(task_id, f"{self._split}/{number}", self._level)
        return FictionalCase(make_brief(question) if self._brief else question)
