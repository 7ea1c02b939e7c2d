"""One question in HotpotQA's schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agemem_envs.data import reading
from agemem_envs.tasks.base import Fact
from agemem_envs.util.records import from_plain

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
    def from_row(cls, row: Mapping[str, Any], where: str = "row") -> QARecord:
        """Make a record from a row of the original JSON files.

        Args:
            row: The row.
            where: What an error calls it.

        Raises:
            DataFormatError: A field is missing or of the wrong shape.
        """
        with reading(f"{where} {str(row)[:80]!r} is not in HotpotQA's schema"):
            return from_plain(cls, {**row, "id": str(row["_id"])})

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

    def shortened(self, paragraphs: int, sentences: int) -> QARecord:
        """The record with its first paragraphs, and of each the first sentences.

        Annotations of what is left out are left out.
        """
        kept = tuple((title, text[:sentences]) for title, text in self.context[:paragraphs])
        lengths = {title: len(text) for title, text in kept}
        facts = tuple((t, i) for t, i in self.supporting_facts if 0 <= i < lengths.get(t, 0))
        return replace(self, context=kept, supporting_facts=facts)

    def facts(self) -> tuple[Fact, ...]:
        """The paragraphs, with their supporting sentences as the gold part.

        A few of HotpotQA's annotations point beyond the end of a paragraph. A gold paragraph
        without a valid annotation is gold as a whole. In the fullwiki setting the context may lack
        gold paragraphs.
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
