"""Gold facts, the facts that answer the question: when they were stored and retrieved."""

from __future__ import annotations

from collections.abc import Sequence
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
    facts: dict[str, list[int]] = {}  # the places of the facts that have a sentence
    for place, fact in enumerate(episode.gold_facts):
        for piece in sentences(fact):
            facts.setdefault(piece, []).append(place)

    @cache
    def having(indices: frozenset[int]) -> frozenset[int]:
        """The places of the facts that have one of these sentences."""
        return frozenset(place for index in indices for place in facts[matcher.gold[index]])

    @cache  # retrievals return the same texts repeatedly
    def held(text: str) -> frozenset[int]:
        """The places of the facts that a text holds."""
        found = (matcher.matched(piece) for piece in sentences(text))
        return frozenset().union(*map(having, found))

    def when(*actions: str) -> list[tuple[int, ...]]:
        """For each fact, the rounds in which one of these actions had an item that holds it."""
        found: list[list[int]] = [[] for _ in episode.gold_facts]
        for one in rounds:
            for place in {p for c in one.memory if c.action in actions for p in held(c.content)}:
                found[place].append(one.step.index)
        return [tuple(indices) for indices in found]

    held_by: list[list[str]] = [[] for _ in episode.gold_facts]
    for item in episode.memories:
        for place in held(item.content):
            held_by[place].append(item.id)
    stored, retrieved = when("added", "updated"), when("retrieved")
    traces = zip(episode.gold_facts, stored, retrieved, map(tuple, held_by), strict=True)
    return tuple(GoldFact(*trace) for trace in traces)
