"""The inside of an ALFWorld house, and what can be told about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from agemem_envs.tasks.sites import Site, placed
from agemem_envs.tasks.telling import Statement

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

    def statements(
        self, site: Site, most: int, needed: bool, generator: np.random.Generator
    ) -> list[Statement]:
        """Where things are: the needed ones, then others in random order.

        No two wrong statements name the same receptacle.
        """
        things = self._told(most, generator)
        right = {place for _, place in things}
        wrong: set[str] = set()
        statements = []
        for thing, place in things:
            options = [other for other in self._may_hold(thing) if other not in wrong]
            chosen = [options[int(generator.integers(len(options)))]] if options else []
            wrong.update(chosen)
            statements.append(
                placed(
                    thing,
                    [where(place), *map(where, chosen)],
                    site,
                    LIES,
                    "" if right.intersection(chosen) else MOVED,
                    needed and (thing, place) in self.needed,
                    generator,
                )
            )
        return statements

    def _told(self, most: int, generator: np.random.Generator) -> list[tuple[str, str]]:
        """The things that are told, the needed ones first.

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
        order = generator.permutation(len(others))[: max(0, most - len(self.needed))]
        return [*self.needed, *(others[index] for index in order)]

    def _may_hold(self, thing: str) -> list[str]:
        """Receptacles without a thing of this class, of which one may think that they hold it."""
        taken = {place for other, place in self.contents if kind(other) == kind(thing)}
        return [
            place
            for place in self.places
            if place not in taken
            and kind(place) != self.goal
            and (kind(place), kind(thing)) in self.fits
        ]


def kind(name: str) -> str:
    """The class of a numbered thing or receptacle."""
    return name.split()[0]


def where(place: str) -> str:
    """A receptacle with its preposition."""
    return f"{'in' if kind(place) in _HOLLOW else 'on'} the {place}"
