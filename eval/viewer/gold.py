"""Gold facts, the facts that answer the question: when they were stored and retrieved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from agemem.eval.viewer.timeline import Round
from agemem_envs.episode import Episode
from agemem_envs.judging.judges import Case, matcher_of
from agemem_envs.judging.wording import sentences


@dataclass(frozen=True, slots=True)
class GoldFact:
    """A gold fact, and the memory items that held it.

    An item holds a fact if some of its sentences match one of the fact's as the lexical judge
    compares them, independent of the judge of the run.

    Attributes:
        fact: The text of the fact.
        stored: The rounds that added or updated an item with the fact.
        retrieved: The rounds whose tool calls retrieved the fact.
        held_by: The ids of the items that hold the fact at the end.
    """

    fact: str
    stored: tuple[int, ...]
    retrieved: tuple[int, ...]
    held_by: tuple[str, ...]


def gold_facts(episode: Episode, rounds: Sequence[Round]) -> tuple[GoldFact, ...]:
    """Trace each gold fact of an episode through its rounds."""
    matcher = matcher_of(Case.of(episode))

    @cache  # retrievals return the same texts repeatedly
    def stated(text: str) -> frozenset[str]:
        found = (matcher.matched(piece) for piece in sentences(text))
        return frozenset(matcher.gold[index] for indices in found for index in indices)

    return tuple(_trace(episode, rounds, fact, stated) for fact in episode.gold_facts)


def _trace(
    episode: Episode, rounds: Sequence[Round], fact: str, stated: Callable[[str], frozenset[str]]
) -> GoldFact:
    pieces = frozenset(sentences(fact))

    def holds(text: str) -> bool:
        return bool(pieces & stated(text))

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
