"""The messages about several houses, of which one is played: where its things are is told.

Each house has an owner and a place. The goal names the owner, the statements name the place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np

from agemem_envs.errors import ConfigurationError
from agemem_envs.tasks.base import Fact, Talk
from agemem_envs.tasks.sites import Site, draw_sites, link, placed
from agemem_envs.tasks.telling import Statement, Told, numbered, tell, with_corrections

HOUSES = 5
"""Houses that stage 1 is about, if they hold enough things."""
SITES = 12
"""Houses of both stages."""
MOST_HOUSES = 10
"""Most houses that stage 1 is about."""
TOGETHER = 4
"""Statements about a house that are told one after another."""
IN_A_DISTRACTOR = 15
"""Statements in a message of stage 2."""
A_HOUSE = 14
"""Most things of a house that stage 2 names before it goes on to the next house."""
HOME = "The {owner} family lives at {place}."
LIES = "At {place}, the {subject} is {value}."
MOVED = "What I said was {wrong} at {place} is {value} now."
_HOLLOW = frozenset(
    "bathtubbasin cabinet drawer fridge garbagecan laundryhamper microwave safe sinkbasin".split()
)
"""Receptacles that a thing is in, not on."""


@dataclass(frozen=True, slots=True)
class House:
    """The inside of a game's house.

    Attributes:
        contents: The things with their receptacles, sorted; a few things have two.
        places: The receptacles.
        fits: Which class of receptacles may hold which class of things.
        goal: The class of the receptacle where the task's thing must end, or empty.
        needed: The things that the task needs, with the receptacles where they are.
    """

    contents: Sequence[tuple[str, str]]
    places: Sequence[str]
    fits: Collection[tuple[str, str]]
    goal: str
    needed: Sequence[tuple[str, str]]

    def told(self, most: int, generator: np.random.Generator) -> list[tuple[str, str]]:
        """The needed things, then others in random order, up to a number.

        Left out are further things of the needed classes, so that what is told names one of
        them, and things in two receptacles.
        """
        kinds = {kind(thing) for thing, _ in self.needed}
        once = [thing for thing, _ in self.contents]
        others = [
            (thing, place)
            for thing, place in self.contents
            if kind(thing) not in kinds and once.count(thing) == 1
        ]
        order = generator.permutation(len(others))
        rest = max(0, most - len(self.needed))
        return [*self.needed, *(others[index] for index in order[:rest])]

    def may_hold(self, thing: str) -> list[str]:
        """Receptacles without a thing of this class, of which one may think that they hold it."""
        taken = {place for other, place in self.contents if kind(other) == kind(thing)}
        return [
            place
            for place in self.places
            if place not in taken
            and kind(place) != self.goal
            and (kind(place), kind(thing)) in self.fits
        ]


@dataclass(frozen=True, slots=True)
class Messages:
    """What stages 1 and 2 say about several houses.

    Attributes:
        owner: Whose house is played.
        knowledge: The messages of stage 1.
        distractors: The messages of stage 2.
    """

    owner: str = ""
    knowledge: tuple[Talk, ...] = ()
    distractors: tuple[Talk, ...] = ()


def kind(name: str) -> str:
    """The class of a numbered thing or receptacle."""
    return name.split()[0]


def where(place: str) -> str:
    """A receptacle with its preposition."""
    return f"{'in' if kind(place) in _HOLLOW else 'on'} the {place}"


def make_messages(
    house: House,
    others: Iterator[House],
    facts: int,
    updates: int,
    distractors: int,
    generator: np.random.Generator,
) -> Messages:
    """Make the messages about the house that is played and about others.

    Args:
        house: The house that is played.
        others: Other houses, without end.
        facts: The least number of statements in stage 1.
        updates: How many of them change.
        distractors: The messages of stage 2, without late corrections.
        generator: The only source of chance.

    Raises:
        ConfigurationError: The houses hold fewer statements.
    """
    sites = draw_sites(SITES, generator)
    described = _Described(facts, generator)
    described.add(house, sites[0], played=True)
    while described.houses < HOUSES or described.count < facts:
        if described.houses == MOST_HOUSES:
            raise ConfigurationError(
                f"facts={facts} is more than {MOST_HOUSES} houses hold: ask for fewer"
            )
        described.add(next(others), sites[described.houses], played=False)
    told = tell(described.groups, updates, generator)
    owner = sites[0].owner
    late = any(owner in talk.text for talk in told.late)
    avoided = {kind(thing) for thing, _ in house.needed} if late else set()
    talks = _distractors(sites[described.houses :], others, avoided, generator)
    return _arranged(owner, told, list(islice(talks, distractors)), generator)


def _arranged(
    owner: str, told: Told, talks: Sequence[Talk], generator: np.random.Generator
) -> Messages:
    knowledge, distractors = numbered(told.knowledge, with_corrections(talks, told.late, generator))
    return Messages(owner, knowledge, distractors)


@dataclass(slots=True)
class _Described:
    """The statements about houses so far, in groups."""

    facts: int
    generator: np.random.Generator
    houses: int = 0
    count: int = 0
    groups: list[list[Statement]] = field(default_factory=list)

    def add(self, house: House, site: Site, *, played: bool) -> None:
        """Describe a house: whose it is, and where its share of the things is."""
        share = -(-(self.facts - self.count) // max(1, HOUSES - self.houses))
        things = house.told(share - 1, self.generator)
        statements = [link(site, HOME, needed=played), *self._lying(house, things, site, played)]
        order = self.generator.permutation(len(statements))
        for start in range(0, len(statements), TOGETHER):
            self.groups.append([statements[i] for i in order[start : start + TOGETHER]])
        self.houses += 1
        self.count += len(statements)

    def _lying(
        self, house: House, things: Sequence[tuple[str, str]], site: Site, played: bool
    ) -> Iterator[Statement]:
        """Where things are. No two wrong statements about a house name the same place."""
        right = {place for _, place in things}
        wrong: set[str] = set()
        for thing, place in things:
            options = [other for other in house.may_hold(thing) if other not in wrong]
            chosen = [options[int(self.generator.integers(len(options)))]] if options else []
            unmistakable = not right.intersection(chosen)
            wrong.update(chosen)
            yield placed(
                thing,
                [where(place), *map(where, chosen)],
                site,
                LIES,
                MOVED if unmistakable else "",
                played and (thing, place) in house.needed,
                self.generator,
            )


def _distractors(
    sites: Sequence[Site],
    houses: Iterator[House],
    avoided: Collection[str],
    generator: np.random.Generator,
) -> Iterator[Talk]:
    """Messages about further houses in turn, without end: their owners and some things.

    Args:
        sites: Names for the houses.
        houses: At least as many houses.
        avoided: Classes of things that are not named.
        generator: The only source of chance.
    """
    sentences = _sentences(sites, houses, avoided, generator)
    while True:
        texts = list(islice(sentences, IN_A_DISTRACTOR))
        yield Talk(" ".join(texts), tuple(map(Fact, texts)))


def _sentences(
    sites: Sequence[Site],
    houses: Iterator[House],
    avoided: Collection[str],
    generator: np.random.Generator,
) -> Iterator[str]:
    """The owner of each house and up to so many of its things, house after house, without end."""
    lists = []
    for site in sites:
        house = next(houses)
        told = house.told(len(house.contents), generator)
        kept = [pair for pair in told if kind(pair[0]) not in avoided]
        lists.append((site, min(len(kept), A_HOUSE), cycle(kept)))
    for site, count, things in cycle(lists):
        yield HOME.format(owner=site.owner, place=site.place)
        for thing, place in islice(things, count):
            yield LIES.format(place=site.place, subject=thing, value=where(place))
