"""Questions about invented worlds: a wrong sentence leads on to a definite wrong answer."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from agemem_envs.tasks.qa.cases import Case, Place, Variant, holds, replaced
from agemem_envs.tasks.qa.generator import Entity, FictionalQuestion, Relation
from agemem_envs.tasks.qa.record import Paragraph

MAX_COMPANIONS = 4
"""Most paragraphs that are told only because wrong versions lead to them."""
MAX_SHIFT = 15
"""Most years by which a wrong year lies beyond the other one."""
DATES = {
    "person": "the year in which {} was born",
    "organisation": "the year in which {} was founded",
    "work": "the year in which {} appeared",
}
"""What the sentence says that dates an entity, by its kind."""


class FictionalCase(Case):
    """A question about an invented world.

    Args:
        question: The question and its world.
    """

    def __init__(self, question: FictionalQuestion) -> None:
        super().__init__(question.record)
        self._world = question.world
        compares = question.record.type == "comparison"
        self._compared = question.used[:2] if compares else ()
        self._hops = question.used[2:] if compares else question.used
        self._relations = [_relation(self._world[title], index) for title, index in self._hops]

    def paragraph(self, title: str) -> Paragraph:
        """The paragraph with this title, of any entity of the world."""
        return self._world[title].paragraph

    def variants(self, pool: Sequence[str], generator: np.random.Generator) -> list[Variant]:
        """Replace the targets of relations, and the years that decide a comparison.

        The answer's own sentence comes first. Versions which lead to too many further paragraphs
        are left out.
        """
        drawn = [
            self._other_target(place, relation, generator)
            for place, relation in reversed(list(zip(self._hops, self._relations, strict=True)))
        ]
        drawn += [self._other_year(place, generator) for place in self._compared]
        chosen: dict[Place, Variant] = {}
        companions: set[str] = set()
        for variant in drawn:
            if variant is None or variant.place in chosen:
                continue
            together = companions | set(variant.companions)
            if len(together) <= MAX_COMPANIONS:
                chosen[variant.place] = variant
                companions = together
        return list(chosen.values())

    def stale_answers(self, changed: Sequence[Variant]) -> tuple[str, ...]:
        """Answers of a reader who believes some of the wrong versions, where there is one."""
        answers = []
        for count in range(1, len(changed) + 1):
            for some in itertools.combinations(changed, count):
                names = self._follow({variant.place: variant.wrong_value for variant in some})
                answers.append(names[-1] if names else some[-1].wrong_value)
        return tuple(dict.fromkeys(a for a in answers if a != self.record.answer))

    def _other_target(
        self, place: Place, relation: Relation, generator: np.random.Generator
    ) -> Variant | None:
        """A version with another target of the same kind, from which the path goes on."""
        title, index = place
        entity = self._world[title]
        others = [
            target
            for target in self._targets(entity, relation)
            if target not in entity.sentences[index]
        ]
        for number in generator.permutation(len(others)):
            wrong = others[number]
            names = self._follow({place: wrong})
            companions = self._companions(names)
            if companions is None or wrong in self.record.question:
                continue
            topic = relation.phrase.format(entity.intro)
            sentence = entity.sentences[index]
            return Variant(
                place,
                sentence,
                replaced(sentence, relation.target, wrong),
                relation.target,
                wrong,
                topic,
                stale=names[-1],
                unknown=f"Nobody knows {topic}." if relation.target == self.record.answer else "",
                companions=companions,
            )
        return None

    def _targets(self, entity: Entity, relation: Relation) -> list[str]:
        """What entities of the same kind have in the same relation."""
        found = [
            other.target
            for rival in self._world.values()
            if rival.kind == entity.kind
            for other in rival.relations
            if other.phrase == relation.phrase
        ]
        return list(dict.fromkeys(found))

    def _other_year(self, place: Place, generator: np.random.Generator) -> Variant | None:
        """A version with a year that turns the comparison."""
        title, index = place
        entity = self._world[title]
        rival = next(self._world[name] for name, _ in self._compared if name != title)
        beyond = 1 if rival.year > entity.year else -1
        wrong = str(rival.year + beyond * int(generator.integers(1, MAX_SHIFT)))
        names = self._follow({place: wrong})
        companions = self._companions(names)
        if companions is None:
            return None
        sentence = entity.sentences[index]
        return Variant(
            place,
            sentence,
            replaced(sentence, str(entity.year), wrong),
            str(entity.year),
            wrong,
            topic=DATES[entity.kind].format(entity.intro),
            stale=names[-1],
            companions=companions,
        )

    def _companions(self, names: list[str]) -> tuple[str, ...] | None:
        """The further paragraphs of a path; None if it is no way to a definite wrong answer."""
        if not names or names[-1] == self.record.answer:
            return None
        gold = {title for title, _ in self.record.supporting_facts}
        titles = [name for name in names[:-1] if name not in gold]
        if any(self._is_leak(title) for title in titles) or names[-1] in self.record.question:
            return None
        return tuple(titles)

    def _is_leak(self, title: str) -> bool:
        return holds(" ".join(self._world[title].sentences), self.record.answer)

    def _follow(self, wrong: Mapping[Place, str]) -> list[str]:
        """The names on the question's path if some sentences are wrong; empty at a dead end."""
        at = self._hops[0][0]
        if self._compared:
            years = {
                title: int(self._told_year(title, index, wrong)) for title, index in self._compared
            }
            at = min(years, key=lambda title: years[title])
        names = [at]
        for relation in self._relations:
            entity = self._world.get(at)
            same = [r for r in entity.relations if r.phrase == relation.phrase] if entity else []
            if not same:
                return []
            place = (at, same[0].sentence)
            told = wrong.get(place, "")
            at = same[0].target if not told or told.isdigit() else told
            names.append(at)
        return names

    def _told_year(self, title: str, index: int, wrong: Mapping[Place, str]) -> str:
        told = wrong.get((title, index), "")
        return told if told.isdigit() else str(self._world[title].year)


def _relation(entity: Entity, sentence: int) -> Relation:
    """The relation that a sentence states."""
    return next(r for r in entity.relations if r.sentence == sentence)
