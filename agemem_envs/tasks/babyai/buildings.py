"""The inside of a BabyAI game's building, and what can be told about it.

Places are relative to the entrance, where the player starts: steps ahead or behind, and to the
left or right, as the player faces at the start.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from agemem_envs.tasks.babyai.actions import PrimitivePlan, interpret
from agemem_envs.tasks.babyai.expert import GridExpert
from agemem_envs.tasks.babyai.generator import make_game
from agemem_envs.tasks.babyai.knowledge import COLORS, Survey, plain
from agemem_envs.tasks.babyai.mission import kind_of, named, objects_of, parts
from agemem_envs.tasks.babyai.routes import obstacles
from agemem_envs.tasks.babyai.world import Cell, GridWorld
from agemem_envs.tasks.sites import Site, placed
from agemem_envs.tasks.telling import Statement

LIES = "At {place}, the {subject} is {value}, seen from the entrance."
MOVED = "What I said was {wrong} at {place}, seen from the entrance, is {value} now."
LEADS = "At {place}, the {subject} leads through {value}."
COLOURED = "At {place}, the {subject} is {value}."
KEPT_BUILDINGS = 1024
"""Surveyed buildings in memory, about 20 kB each."""
LONGEST = 100
"""Actions after which a game counts as impossible."""


@dataclass(frozen=True, slots=True)
class Lying:
    """That a thing is at a place."""

    name: str
    place: str


@dataclass(frozen=True, slots=True)
class Way:
    """That the way to a thing leads through some doors."""

    name: str
    doors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Door:
    """That the door at a place has a colour."""

    place: str
    color: str


Told: TypeAlias = Lying | Way | Door


@dataclass(frozen=True, slots=True)
class Building:
    """What can be told about the building of a game.

    Attributes:
        names: The things of the mission, as its words name them.
        needed: What the mission needs: where its things are, the keys to the locks on the way
            and whatever blocks it, and the ways there.
        others: What else can be told.
        doors: All doors, as ways name them.
        free: The places where nothing is.
    """

    names: tuple[str, ...]
    needed: tuple[Told, ...]
    others: tuple[Told, ...]
    doors: tuple[str, ...]
    free: tuple[str, ...]

    def statements(
        self, site: Site, most: int, needed: bool, generator: np.random.Generator
    ) -> list[Statement]:
        """What is needed, then something else in random order. No two name the same free place."""
        order = generator.permutation(len(self.others))[: max(0, most - len(self.needed))]
        told = [*self.needed, *(self.others[index] for index in order)]
        free = iter([self.free[index] for index in generator.permutation(len(self.free))])
        statements = []
        for number, fact in enumerate(told):
            subject, form, moved = _forms(fact)
            if isinstance(fact, Lying):
                values = [fact.place, *([place] if (place := next(free, "")) else [])]
            elif isinstance(fact, Way):
                values = self._ways(fact)
            else:
                values = [fact.color, *(color for color in COLORS if color != fact.color)]
            own = needed and number < len(self.needed)
            statements.append(placed(subject, values, site, form, moved, own, generator))
        return statements

    def _ways(self, way: Way) -> list[str]:
        """A way, and others that lead through another door at last."""
        *before, _ = way.doors
        ends = [way.doors[-1], *(door for door in self.doors if door not in way.doors)]
        return [", then ".join([*before, end]) for end in ends]


def _forms(fact: Told) -> tuple[str, str, str]:
    """The subject of a statement, its form, and the form of its correction by the value."""
    if isinstance(fact, Lying):
        return fact.name, LIES, MOVED
    if isinstance(fact, Way):
        return f"way to the {fact.name}", LEADS, ""
    return f"door {fact.place}", COLOURED, ""


@functools.lru_cache(KEPT_BUILDINGS)
def survey(level: str, seed: int) -> Building:
    """The building of a game.

    Args:
        level: minigrid's id.
        seed: The game's seed.
    """
    world = GridWorld(make_game(level, seed))
    chart = Survey(world)
    needed = _needed(world, chart)
    names = set(needed.values())
    count = Counter(map(plain, chart.things.values()))
    others = {
        cell: plain(thing)
        for cell, thing in chart.things.items()
        if count[plain(thing)] == 1 and plain(thing) not in names and thing.type != "door"
    }
    doors = [cell for cell in chart.things if chart.is_door(cell)]
    beyond = [Door(chart.place(cell), chart.things[cell].color) for cell in doors]
    cells = [(x, y) for x in range(world.game.width) for y in range(world.game.height)]
    free = [cell for cell in cells if world.at(cell) is None and cell != world.pose[:2]]
    return Building(
        names=named(world.game.instrs),
        needed=tuple(fact for cell, name in needed.items() for fact in _about(chart, cell, name)),
        others=(*(f for cell, name in others.items() for f in _about(chart, cell, name)), *beyond),
        doors=tuple(_door(chart, cell) for cell in doors),
        free=tuple(chart.place(cell) for cell in free),
    )


def _needed(world: GridWorld, chart: Survey) -> dict[Cell, str]:
    """The cells that the mission needs, with what is in them."""
    found: dict[Cell, str] = {}

    def need(cell: Cell, name: str, *, opens: bool = False) -> None:
        if cell in found:
            return
        found[cell] = name
        shut = obstacles(world, chart.way(cell)[:-1])
        for place in [*shut, cell] if opens else shut:
            if not chart.is_door(place):
                need(place, plain(chart.things[place]))
            elif chart.is_locked(place):
                color = chart.things[place].color
                key = chart.key(color)
                if key is not None:
                    need(key, f"{color} key")

    for part in parts(world.game.instrs):
        for cell in filter(None, map(chart.nearest, objects_of(part))):
            need(cell, plain(chart.things[cell]), opens=kind_of(part) == "OpenInstr")
    return found


def _about(chart: Survey, cell: Cell, name: str) -> list[Told]:
    """Where a thing is, and the way there if it leads through doors."""
    around = plain(chart.things[cell])
    place = chart.place(cell)
    doors = tuple(_door(chart, step) for step in chart.way(cell)[:-1] if chart.is_door(step))
    lying = Lying(name, place if around == name else f"inside the {around} {place}")
    return [lying, Way(name, doors)] if doors else [lying]


def _door(chart: Survey, cell: Cell) -> str:
    state = "locked " if chart.is_locked(cell) else ""
    return f"the {state}{chart.things[cell].color} door {chart.place(cell)}"


@functools.lru_cache(KEPT_BUILDINGS)
def expert_actions(level: str, seed: int) -> int | None:
    """The number of actions of the expert that knows the whole grid; None if it fails.

    Args:
        level: minigrid's id.
        seed: The game's seed.
    """
    world = GridWorld(make_game(level, seed))
    expert = GridExpert(world, informed=True)
    for count in range(1, LONGEST + 1):
        answer = interpret(world, expert.action() or "")
        if not isinstance(answer, PrimitivePlan):
            return None
        world.carry_out(answer.path)
        if world.done:
            return count if world.success else None
    return None
