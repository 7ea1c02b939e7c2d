"""A question with what the memory style needs of it: near misses, and wrong versions of sentences.

There are two kinds: questions over given text (:mod:`agemem_envs.tasks.qa.text_case`), whose
wrong versions replace a value in the text, and questions about invented worlds
(:mod:`agemem_envs.tasks.qa.fictional_case`), whose wrong versions follow from the world.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agemem_envs.tasks.qa.record import Paragraph, QARecord

Place = tuple[str, int]
"""A title, and the index of a sentence in its paragraph."""
ANCHOR_WORDS = 3
"""Most words before a value by which a correction recalls the sentence."""
VERDICTS = ("yes", "no")
"""Answers that are no value of a sentence."""
_PRONOUNS = frozenset("he she it they his her its their this these".split())


@dataclass(frozen=True, slots=True)
class Variant:
    """Another version of a supporting sentence.

    Attributes:
        place: The sentence.
        right: The sentence as it is.
        wrong: The sentence with another value.
        value: The value that is replaced.
        wrong_value: The value in its place.
        topic: What the sentence says, as a noun phrase without the value.
        stale: The answer of a reader who believes the wrong version alone.
        unknown: The statement that the answer is not known; empty if the sentence does not
            state the answer.
        companions: Titles of paragraphs that a reader of the wrong version needs.
    """

    place: Place
    right: str
    wrong: str
    value: str
    wrong_value: str
    topic: str
    stale: str
    unknown: str = ""
    companions: tuple[str, ...] = ()


class Case(ABC):
    """A question, its paragraphs, and other versions of its supporting sentences.

    Args:
        record: The question.
    """

    withdrawn_share = 0.15
    """Probability that the answer is withdrawn, where that can be done."""
    turns = False
    """Whether a wrong answer may hold, so that knowledge of the world is no answer."""

    def __init__(self, record: QARecord) -> None:
        self.record = record

    @abstractmethod
    def variants(self, pool: Sequence[str], generator: np.random.Generator) -> list[Variant]:
        """Other versions of supporting sentences, at most one of each.

        Args:
            pool: Sentences about other questions, from which wrong values may be taken.
            generator: The only source of chance.
        """

    def stale_answers(self, changed: Sequence[Variant]) -> tuple[str, ...]:
        """Answers of a reader who believes some of these wrong versions."""
        return tuple(variant.stale for variant in changed)

    def paragraph(self, title: str) -> Paragraph:
        """The paragraph with this title."""
        return next(p for p in self.record.context if p[0] == title)

    @property
    def gold(self) -> list[Paragraph]:
        """The supporting paragraphs."""
        titles = {title for title, _ in self.record.supporting_facts}
        return [p for p in self.record.context if p[0] in titles]

    @property
    def near_misses(self) -> list[Paragraph]:
        """The other paragraphs, without those that contain the answer."""
        titles = {title for title, _ in self.record.supporting_facts}
        return [p for p in self.record.context if p[0] not in titles and not self.tells(p)]

    def tells(self, paragraph: Paragraph) -> bool:
        """Whether a paragraph contains the answer; false for yes and no."""
        answer = self.record.answer
        return answer.lower() not in VERDICTS and holds(full_text(paragraph), answer)


def full_text(paragraph: Paragraph) -> str:
    """The title and the sentences as one text."""
    title, sentences = paragraph
    return " ".join(f"{title}: {' '.join(sentences)}".split())


def stated(title: str, sentence: str) -> str:
    """A sentence, complete in itself: with its title, unless it is a sentence about the title."""
    words = sentence.split()
    if title in sentence and words[0].lower() not in _PRONOUNS:
        return sentence
    return f"{title}: {sentence}"


def holds(text: str, item: str) -> bool:
    """Whether a text contains an item as whole words, in upper or lower case."""
    if item.lower() not in text.lower():  # much faster than the search, and mostly true
        return False
    return _whole(item, re.IGNORECASE).search(text) is not None


def replaced(sentence: str, value: str, other: str) -> str:
    """The sentence with another value wherever it has this one, as whole words."""
    return _whole(value).sub(lambda _: other, sentence)


def anchored(sentence: str, value: str) -> str:
    """A value with the words before it, without names: the beginning of the value's phrase."""
    found = _whole(value).search(sentence)
    if found is None:
        return value
    anchor: list[str] = []
    for word in reversed(sentence[: found.start()].split()):
        if len(anchor) == ANCHOR_WORDS or not word.islower():
            break
        anchor.insert(0, word)
    return " ".join([*anchor, value])


def _whole(item: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(item)}(?!\w)", flags)
