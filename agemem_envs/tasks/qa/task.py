"""Question answering in HotpotQA's schema: the base of two benchmarks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agemem_envs.episode import Episode
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.judging.hotpot_metrics import (
    exact_match,
    normalize_answer,
    supporting_fact_scores,
    token_f1,
)
from agemem_envs.tasks.base import Fact, Outcome, Talk, TaskSpec
from agemem_envs.tasks.catalogue import CataloguedTask
from agemem_envs.tasks.qa.key_items import key_items

NOISE, DISTRACTORS = 3, 5
"""Unneeded paragraphs of stage 1, and most paragraphs of stage 2, by default."""

Paragraph = tuple[str, tuple[str, ...]]
"""A title and its sentences."""


@dataclass(frozen=True, slots=True)
class QARecord:
    """One question in HotpotQA's schema.

    Attributes:
        id: ``_id``.
        question: The question.
        answer: The reference answer.
        supporting_facts: (title, sentence index) pairs, as annotated.
        context: The paragraphs, gold and not.
        type: ``bridge`` or ``comparison``.
        level: ``easy``, ``medium`` or ``hard``.
    """

    id: str
    question: str
    answer: str
    supporting_facts: tuple[tuple[str, int], ...]
    context: tuple[Paragraph, ...]
    type: str = ""
    level: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> QARecord:
        """Make a record from a row of the original JSON files.

        Raises:
            DataFormatError: A field is missing or of the wrong shape.
        """
        try:
            return cls(
                id=str(row["_id"]),
                question=str(row["question"]),
                answer=str(row["answer"]),
                supporting_facts=tuple((str(t), int(i)) for t, i in row["supporting_facts"]),
                context=tuple((str(t), tuple(map(str, s))) for t, s in row["context"]),
                type=str(row.get("type", "")),
                level=str(row.get("level", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataFormatError(
                f"row {str(row)[:80]!r} is not in HotpotQA's schema: {error!r}"
            ) from error

    def to_row(self) -> dict[str, Any]:
        """Make a row of the original JSON files."""
        return {
            "_id": self.id,
            "question": self.question,
            "answer": self.answer,
            "supporting_facts": [list(pair) for pair in self.supporting_facts],
            "context": [[title, list(sentences)] for title, sentences in self.context],
            "type": self.type,
            "level": self.level,
        }

    def facts(self) -> tuple[Fact, ...]:
        """The paragraphs, with their supporting sentences as the gold part.

        A few of HotpotQA's annotations point beyond the end of a paragraph. A gold paragraph
        without a valid annotation is gold as a whole.
        """
        facts = []
        for title, sentences in self.context:
            text = _join(title, sentences)
            indices = [i for t, i in self.supporting_facts if t == title]
            support = [sentences[i] for i in sorted(set(indices)) if 0 <= i < len(sentences)]
            gold = (_join(title, support) if support else text) if indices else None
            facts.append(Fact(text, gold))
        return tuple(facts)


def _join(title: str, sentences: list[str] | tuple[str, ...]) -> str:
    return " ".join(f"{title}: {' '.join(sentences)}".split())


class QATask(CataloguedTask):
    """Multi-hop question answering over ten paragraphs; the base of two benchmarks.

    - Stage 1 tells the gold paragraphs and ``noise`` others, stage 2 the remaining ones
      (at most ``distractors``), stage 3 asks the question.
    - Success: exact match. Progress: token F1. Both as HotpotQA's scorer defines them.
      The reward's task score is the judge's.

    Args:
        noise: Paragraphs of stage 1 that are not needed.
        distractors: Most paragraphs of stage 2.
    """

    interactive = False

    def __init__(self, noise: int = NOISE, distractors: int = DISTRACTORS) -> None:
        for name, value in (("noise", noise), ("distractors", distractors)):
            if value < 0:
                raise ConfigurationError(f"{name} must be at least 0, got {value}")
        self._noise = noise
        self._distractors = distractors
        if (noise, distractors) != (NOISE, DISTRACTORS):
            self.variant = f"noise={noise}, distractors={distractors}"
        self._record: QARecord | None = None

    @abstractmethod
    def record(self, task_id: str) -> QARecord:
        """Return the record with this id.

        Raises:
            UnknownNameError: No record has this id.
        """

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Choose and order the paragraphs of both stages."""
        record = self._record = self.record(task_id)
        facts = record.facts()
        gold = [fact for fact in facts if fact.needed]
        if not gold:
            raise DataFormatError(
                f"question {record.id!r}: none of its supporting paragraphs is in its context "
                "(HotpotQA's fullwiki setting?). Use the distractor setting."
            )
        others = [fact for fact in facts if not fact.needed]
        order = generator.permutation(len(others))
        others = [others[index] for index in order]
        first_stage = gold + others[: self._noise]
        left = others[self._noise : self._noise + self._distractors]
        return TaskSpec(
            id=record.id,
            query=record.question,
            knowledge=tuple(
                Talk.of(first_stage[index]) for index in generator.permutation(len(first_stage))
            ),
            distractors=tuple(map(Talk.of, left)),
            key_items=key_items(record.question),
            reference=record.answer,
            source=self.source,
            category=record.type,
            difficulty=record.level,
        )

    def step(self, action: str) -> Outcome:
        """Take the final answer."""
        reference = self._current().answer
        success = bool(exact_match(action, reference))
        f1 = 1.0 if success else token_f1(action, reference)[0]
        return Outcome("", progress=f1, success=success, done=True, score=None)

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """EM and F1 of the answer, and of the supporting facts in memory."""
        record = self._current()
        memories = [set(normalize_answer(item.content).split()) for item in episode.memories]
        remembered = [
            (title, index)
            for title, sentences in record.context
            for index, sentence in enumerate(sentences)
            if _is_remembered(set(normalize_answer(sentence).split()), memories)
        ]
        sp_em, sp_f1, _, _ = supporting_fact_scores(remembered, record.supporting_facts)
        prediction = episode.prediction
        return {
            "em": 0.0 if prediction is None else exact_match(prediction, record.answer),
            "f1": 0.0 if prediction is None else token_f1(prediction, record.answer)[0],
            "sp_em": sp_em,
            "sp_f1": sp_f1,
        }

    def _current(self) -> QARecord:
        if self._record is None:
            raise ConfigurationError("no task has begun: call reset() first")
        return self._record


REMEMBERED_SHARE = 0.8
"""A sentence counts as remembered if one memory holds this share of its distinct words."""


def _is_remembered(words: set[str], memories: list[set[str]]) -> bool:
    needed = REMEMBERED_SHARE * len(words)
    return bool(words) and any(len(words & memory) >= needed for memory in memories)
