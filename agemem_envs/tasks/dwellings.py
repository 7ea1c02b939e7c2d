"""The messages about several dwellings, of which one is played: what is where in each is told.

Each dwelling has an owner and a place. The goal names the owner, the statements name the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Protocol

import numpy as np

from agemem_envs.errors import ConfigurationError
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Fact, Talk
from agemem_envs.tasks.sites import Site, draw_sites, link
from agemem_envs.tasks.telling import Statement, both_stages, tell

USUAL = 5
"""Dwellings that stage 1 is about, if they hold enough facts."""
MOST = 11
"""Most dwellings that stage 1 is about."""
SITES = 12
"""Dwellings of both stages."""
TOGETHER = 4
"""Statements about a dwelling that are told one after another."""
A_TURN = 14
"""Most facts of a dwelling that stage 2 tells before it goes on to the next one."""
HOME = "The {owner} family lives at {place}."


class Dwelling(Protocol):
    """What can be told about a dwelling."""

    def statements(
        self, site: Site, most: int, needed: bool, generator: np.random.Generator
    ) -> list[Statement]:
        """The statements that its task needs, then others in random order.

        Args:
            site: Its name.
            most: The most statements, unless more are needed.
            needed: Whether its task is played.
            generator: The only source of chance.
        """


@dataclass(frozen=True, slots=True)
class Messages:
    """What stages 1 and 2 say about several dwellings.

    Attributes:
        owner: Whose dwelling is played; empty if that is not said.
        knowledge: The messages of stage 1.
        distractors: The messages of stage 2.
    """

    owner: str = ""
    knowledge: tuple[Talk, ...] = ()
    distractors: tuple[Talk, ...] = ()


def tell_dwellings(
    played: Dwelling,
    others: Iterator[Dwelling],
    amounts: Amounts,
    generator: np.random.Generator,
    together: int = 15,
) -> Messages:
    """Make the messages about the dwelling that is played and about others.

    Args:
        played: The dwelling that is played.
        others: Other dwellings, without end.
        amounts: How much is told.
        generator: The only source of chance.
        together: Statements in a message of stage 2.

    Raises:
        ConfigurationError: The dwellings hold fewer facts.
    """
    sites = draw_sites(SITES, generator)
    groups: list[list[Statement]] = []
    count = index = 0
    while index < USUAL or count < amounts.facts:
        if index == MOST:
            raise ConfigurationError(
                f"facts={amounts.facts} is more than {MOST} dwellings hold: ask for fewer"
            )
        share = -(-(amounts.facts - count) // max(1, USUAL - index))
        dwelling = next(others) if index else played
        statements = _described(dwelling, sites[index], share, not index, generator)
        order = generator.permutation(len(statements))
        for start in range(0, len(statements), TOGETHER):
            groups.append([statements[i] for i in order[start : start + TOGETHER]])
        count, index = count + len(statements), index + 1
    told = tell(groups, amounts.updates, generator)
    knowledge, late = _early_links(told.knowledge, told.late, sites[:index], generator)
    talks = list(islice(_passing(sites[index:], others, together, generator), amounts.distractors))
    return Messages(sites[0].owner, *both_stages(knowledge, talks, late, generator))


def _described(
    dwelling: Dwelling, site: Site, most: int, needed: bool, generator: np.random.Generator
) -> list[Statement]:
    """Whose it is, and what can be told about it."""
    return [link(site, HOME, needed), *dwelling.statements(site, most - 1, needed, generator)]


def _early_links(
    knowledge: Sequence[Talk],
    late: Sequence[Talk],
    sites: Sequence[Site],
    generator: np.random.Generator,
) -> tuple[list[Talk], list[Talk]]:
    """Move corrections that name an owner to stage 1: stage 2 names none that a goal may name."""
    early, rest = list(knowledge), list(late)
    for talk in late:
        owner = next((site.owner for site in sites if site.owner in talk.text), None)
        if owner is not None:
            first = next(index for index, told in enumerate(early) if owner in told.text)
            early.insert(int(generator.integers(first + 1, len(early) + 1)), talk)
            rest.remove(talk)
    return early, rest


def _passing(
    sites: Sequence[Site],
    dwellings: Iterator[Dwelling],
    together: int,
    generator: np.random.Generator,
) -> Iterator[Talk]:
    """Messages about further dwellings, without end.

    Args:
        sites: Names for the dwellings.
        dwellings: At least as many dwellings.
        together: Statements in a message.
        generator: The only source of chance.
    """
    told = []
    for site in sites:
        statements = next(dwellings).statements(site, SITES * A_TURN, False, generator)
        order = generator.permutation(len(statements))
        texts = [statements[i].text for i in order]
        home = HOME.format(owner=site.owner, place=site.place)
        told.append((home, min(A_TURN, len(texts)), cycle(texts)))
    sentences = chain.from_iterable(
        [home, *islice(texts, count)] for home, count, texts in cycle(told)
    )
    while True:
        batch = list(islice(sentences, together))
        yield Talk(" ".join(batch), tuple(map(Fact, batch)))
