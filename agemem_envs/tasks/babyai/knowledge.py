"""The messages of stages 1 and 2 about a BabyAI game: places of things, and obstacles.

Places are relative to the start: steps ahead or behind, and to the left or right, as the player
faces at the start.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from agemem_envs.tasks.babyai.mission import kind_of, objects_of, parts
from agemem_envs.tasks.babyai.routes import obstacles, route, routes
from agemem_envs.tasks.babyai.world import HEADINGS, Cell, GridWorld, Thing, door_state, is_key
from agemem_envs.tasks.base import Fact

MAX_NEEDED = 8
MAX_NOISE = 4
DISTRACTORS = 5
"""Messages of stage 2."""
COLORS = ("blue", "green", "grey", "purple", "red", "yellow")
KINDS = ("ball", "box", "key")
ANYTHING = {"OpenInstr": "a door"}
"""What the rules are about, if no thing is named and it is not just a thing."""
RULES = {
    "GoToInstr": "Going to {thing} is done by standing next to it and facing it.",
    "OpenInstr": "Opening {thing} is done by facing it and toggling it; one that stands open "
    "already must be closed first.",
    "PickupInstr": "Picking up {thing} needs empty hands: whatever is carried must be dropped "
    "aside before.",
    "PutNextInstr": "Putting {thing} next to another thing is done by dropping it on an empty "
    "place that touches the other side by side, not diagonally.",
}
"""The rules of each kind of instruction."""
START = "As you stand at the start"


def make_stage_messages(
    world: GridWorld, distractors: int, generator: np.random.Generator
) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """Make the facts of stage 1, in random order, and the messages of stage 2.

    Args:
        world: The game at its start.
        distractors: The messages of stage 2.
        generator: The only source of chance.
    """
    survey = Survey(world)
    facts = [Fact(text, gold=text) for text in survey.needed()]
    facts += [Fact(text) for text in survey.noise(generator)]
    order = generator.permutation(len(facts))
    return tuple(facts[i] for i in order), tuple(
        _distractors(survey.wanted(), distractors, generator)
    )


class Survey:
    """The map of a game at its start.

    Args:
        world: The game.

    Attributes:
        things: The cells that hold a thing, walls excluded.
    """

    def __init__(self, world: GridWorld) -> None:
        self._world = world
        self._x, self._y, self._heading = world.pose
        width, height = world.game.width, world.game.height
        cells = [(x, y) for x in range(width) for y in range(height)]
        self._all = frozenset(cells)
        self.things = {
            cell: world.at(cell)
            for cell in cells
            if world.at(cell) is not None and world.at(cell).type != "wall"
        }
        self._keys = frozenset(
            thing.color
            for outer in self.things.values()
            for thing in (outer, outer.contains)
            if thing is not None and thing.type == "key"
        )
        self._mentioned: set[Cell] = set()

    def needed(self) -> list[str]:
        """The facts that a player needs: rules, places of things, locks and obstacles."""
        instructions = parts(self._world.game.instrs)
        places: list[str] = []
        hindrances: list[str] = []
        for instruction in instructions:
            meant = [cell for cell in map(self.nearest, objects_of(instruction)) if cell]
            self._mentioned.update(meant)
            places.append(" ".join(map(self._place_and_way, meant)))
            opens = kind_of(instruction) == "OpenInstr"
            for cell in meant:
                hindrances += self._hindrances(cell, frozenset(), opens=opens)
        texts = [self._rules(instructions), *places, *hindrances]
        return list(dict.fromkeys(text for text in texts if text))[:MAX_NEEDED]

    def noise(self, generator: np.random.Generator) -> list[str]:
        """True facts that nobody needs: about other things, and about the building."""
        wanted = set(self.wanted())
        others = [
            f"{START}, there is a {plain(thing)} {self.place(cell)}."
            for cell, thing in self.things.items()
            if cell not in self._mentioned and plain(thing) not in wanted
        ]
        indices = generator.permutation(len(others))[: MAX_NOISE - 1]
        return [others[i] for i in indices] + self._building()[: max(1, MAX_NOISE - len(indices))]

    def wanted(self) -> list[str]:
        """The distinct names of the things in the mission."""
        groups = (group for part in parts(self._world.game.instrs) for group in objects_of(part))
        return list(dict.fromkeys(plain(thing) for group in groups for thing in group))

    # -- sentences ---------------------------------------------------------------------

    def _rules(self, instructions: Sequence[Any]) -> str:
        rules: dict[str, str] = {}
        for part in instructions:
            things = objects_of(part)[0]
            cell = self.nearest(things)
            thing = self.things[cell] if cell else things[0]  # or it is carried
            rules[kind_of(part)] = RULES[kind_of(part)].format(thing=f"the {plain(thing)}")
        return " ".join(rules.values())

    def _place_and_way(self, cell: Cell) -> str:
        text = f"{START}, your {plain(self.things[cell])} is {self.place(cell)}."
        doors = [c for c in self.way(cell)[:-1] if self.is_door(c)]
        if doors:
            named = [f"the {plain(self.things[c])} ({self.place(c)})" for c in doors]
            text += f" The way to it leads through {', then '.join(named)}."
        return text

    def _hindrances(
        self, cell: Cell, seen: frozenset[Cell], *, opens: bool = False
    ) -> Iterator[str]:
        """The obstacles on the way to a cell: locks with their keys, and things in the way.

        Args:
            cell: The cell that the player wants to face.
            seen: Doors whose locks are already described.
            opens: Whether the cell holds a door that must be opened.
        """
        shut = obstacles(self._world, self.way(cell)[:-1])
        for door in filter(self.is_locked, [*shut, cell] if opens else shut):
            if door not in seen:
                yield from self._lock(door, seen | {door})
        for place in shut:
            if not self.is_door(place) and place not in self._mentioned:
                self._mentioned.add(place)
                yield (
                    f"{START}, a {plain(self.things[place])} {self.place(place)} blocks the "
                    "way: pick it up and drop it aside."
                )

    def _lock(self, door: Cell, seen: frozenset[Cell]) -> Iterator[str]:
        self._mentioned.add(door)
        color = self.things[door].color
        name = f"{START}, the {color} door {self.place(door)} is locked"
        key = self.key(color)
        if key is None:
            yield f"{name}, and there is no key to it."
            return
        self._mentioned.add(key)
        if is_key(self.things[key], color):
            yield f"{name}; the {color} key that opens it is {self.place(key)}."
        else:
            box = plain(self.things[key])
            yield (
                f"{name}; the {color} key that opens it is inside the {box} {self.place(key)}: "
                "toggle the box to get at it."
            )
        yield from self._hindrances(key, seen)

    def _building(self) -> list[str]:
        doors = [thing for cell, thing in self.things.items() if self.is_door(cell)]
        ajar = sum(door_state(door) == "open" for door in doors)
        loose = len(self.things) - len(doors)
        return [
            f"The whole building has {_count(len(doors), 'door')}.",
            f"The outer walls enclose {self._world.game.width} by {self._world.game.height} "
            "places, the walls included.",
            f"At the start, {_count(loose, 'thing')} can be found lying about, counting all rooms.",
            f"In all, {_count(ajar, 'door')} will stand open at the start.",
        ]

    # -- the map -----------------------------------------------------------------------

    def place(self, cell: Cell) -> str:
        """The place of a cell relative to the start."""
        dx, dy = cell[0] - self._x, cell[1] - self._y
        fx, fy = HEADINGS[self._heading]
        return offset(dx * fx + dy * fy, dy * fx - dx * fy)

    def way(self, cell: Cell) -> tuple[Cell, ...]:
        """The cells from the start to a cell; empty if there is no way."""
        return self._ways.get(cell, ())

    def key(self, color: str) -> Cell | None:
        """The cell of the closest key of a colour, or of a box with one; None if there is none."""
        loose = [c for c, thing in self.things.items() if is_key(thing, color)]
        boxed = [c for c, thing in self.things.items() if is_key(thing.contains, color)]
        return self.closest(loose or boxed)

    def closest(self, cells: Sequence[Cell]) -> Cell | None:
        """The cell with the cheapest way to it, or the first one if none has a way."""
        wanted = frozenset(cells)
        way = route(self._world, wanted.__contains__, self._all, keys=self._keys)
        return way[-1] if way else next(iter(cells), None)

    def nearest(self, things: Sequence[Thing]) -> Cell | None:
        """The cell of the nearest of some objects; None if it is carried."""
        meant = {id(thing) for thing in things}
        return self.closest([c for c, thing in self.things.items() if id(thing) in meant])

    @functools.cached_property
    def _ways(self) -> dict[Cell, tuple[Cell, ...]]:
        return routes(self._world, self._all, keys=self._keys)

    def is_door(self, cell: Cell) -> bool:
        """Whether a cell holds a door."""
        return bool(self.things[cell].type == "door") if cell in self.things else False

    def is_locked(self, cell: Cell) -> bool:
        """Whether a cell holds a locked door."""
        return self.is_door(cell) and door_state(self.things[cell]) == "locked"


def offset(ahead: int, right: int) -> str:
    """Write a place relative to the start, in steps."""
    words = []
    if ahead:
        words.append(f"{_count(abs(ahead), 'step')} {'ahead' if ahead > 0 else 'behind'}")
    if right:
        side = "right" if right > 0 else "left"
        words.append(f"{_count(abs(right), 'step')} to the {side}")
    return " and ".join(words) or "right where you stand"


def _distractors(wanted: Sequence[str], count: int, generator: np.random.Generator) -> list[str]:
    """Facts about other buildings; the first ones name things of this mission."""
    texts: dict[str, None] = {}
    names = list(wanted[:2])
    while len(texts) < count:
        color, other = (COLORS[i] for i in generator.integers(len(COLORS), size=2))
        name = names.pop(0) if names else f"{color} {KINDS[generator.integers(len(KINDS))]}"
        ahead, right = (int(n) for n in generator.integers(-9, 10, size=2))
        behind = f", behind the {other} door" if generator.random() < 0.5 else ""
        place = f"{offset(ahead, right)} from its start{behind}"
        texts[f"In another building, the {name} is {place}."] = None
    return list(texts)


def plain(thing: Thing) -> str:
    """Colour and type."""
    return f"{thing.color} {thing.type}"


def rules(instructions: Sequence[Any]) -> str:
    """The rules of each kind of instruction in a mission, without naming its things."""
    kinds = dict.fromkeys(map(kind_of, instructions))
    return " ".join(RULES[kind].format(thing=ANYTHING.get(kind, "a thing")) for kind in kinds)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}" + ("" if number == 1 else "s")
