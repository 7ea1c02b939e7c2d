"""A conversation of several sessions, and the questions about it: what every reader makes."""

from __future__ import annotations

from dataclasses import dataclass

from agemem_envs.episode import Scoring

MAX_STATEMENT = 8_000
"""Characters of a turn that count as evidence: what one memory can hold."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says.

    Attributes:
        id: Its id within the conversation, which evidence names.
        speaker: Who says it.
        text: What is said.
    """

    id: str
    speaker: str
    text: str

    @property
    def said(self) -> str:
        """The turn as a line."""
        return f"{self.speaker}: {self.text}"


@dataclass(frozen=True, slots=True)
class Session:
    """One sitting of a conversation.

    Attributes:
        heading: When it takes place, as the data writes it; its number if the data has no dates.
        turns: The turns, in order.
    """

    heading: str
    turns: tuple[Turn, ...]

    def statement(self, turn: Turn) -> str:
        """A turn as a statement that is complete in itself."""
        return f"{self.heading}: {turn.said}"[:MAX_STATEMENT]


@dataclass(frozen=True, slots=True)
class Query:
    """A question about a conversation.

    Attributes:
        id: The benchmark's own id.
        text: The question.
        answer: The reference; :data:`~agemem_envs.episode.UNKNOWN` if the right behaviour is to
            abstain.
        type: The benchmark's type of question.
        evidence: Ids of the turns that answer it; empty if the data names none.
        accepted: Other answers that are right.
        scoring: See :class:`~agemem_envs.episode.Question`.
    """

    id: str
    text: str
    answer: str
    type: str
    evidence: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    scoring: Scoring = "whole"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation and its questions.

    Attributes:
        id: The benchmark's own id.
        about: What it is, for a person: "the conversation of Ann and Bob".
        sessions: The sessions, in their order; at least one.
        queries: The questions, in their order; at least one.
        type: The benchmark's type of conversation, or empty.
    """

    id: str
    about: str
    sessions: tuple[Session, ...]
    queries: tuple[Query, ...]
    type: str = ""
