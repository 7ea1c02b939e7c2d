"""What became of the facts that answer the question: stored, found again, still there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from agemem.eval.viewer.timeline import Round
from agemem_envs.episode import Episode
from agemem_envs.judging.judges import Case, LexicalJudge

_JUDGE = LexicalJudge()


@dataclass(frozen=True, slots=True)
class GoldFact:
    """One gold fact, and where memory held it.

    A memory holds a fact if the lexical judge says that it supports it: by shared words,
    whichever judge scored the run.

    Attributes:
        fact: The fact.
        stored: Rounds that added it, or put it into an item by an update.
        retrieved: Rounds that brought it up by a tool call.
        held_by: Ids of the items that hold it at the end.
    """

    fact: str
    stored: tuple[int, ...]
    retrieved: tuple[int, ...]
    held_by: tuple[str, ...]


def gold_facts(episode: Episode, rounds: Sequence[Round]) -> tuple[GoldFact, ...]:
    """The fate of each gold fact of an episode."""
    return tuple(_trace(episode, rounds, fact) for fact in episode.gold_facts)


def _trace(episode: Episode, rounds: Sequence[Round], fact: str) -> GoldFact:
    case = Case(episode.query, episode.reference, (fact,))

    @cache  # retrievals bring up the same texts again and again
    def holds(text: str) -> bool:
        return _JUDGE.storage(case, [text]).score == 1.0

    def when(*actions: str) -> tuple[int, ...]:
        return tuple(
            r.step.index
            for r in rounds
            if any(c.action in actions and holds(c.content) for c in r.memory)
        )

    return GoldFact(
        fact=fact,
        stored=when("added", "updated"),
        retrieved=when("retrieved"),
        held_by=tuple(item.id for item in episode.memories if holds(item.content)),
    )
