"""The memory style: stages 1 and 2 tell where things are in several buildings, and their orders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agemem_envs.errors import SimulatorError
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Talk
from agemem_envs.tasks.scienceworld.knowledge import Place
from agemem_envs.tasks.scienceworld.orders import Order, Values, find_order, where
from agemem_envs.tasks.scienceworld.routes import deeds, room_of
from agemem_envs.tasks.scienceworld.simulator import ROOMS
from agemem_envs.tasks.sites import Site, draw_sites, link
from agemem_envs.tasks.telling import Statement, both_stages, tell

BUILDINGS = 5
"""Buildings of stage 1, one of which is the task's."""
OTHERS = 7
"""Buildings of stage 2."""
MOST_NEEDED = 5
"""Most statements that a task needs."""
A_DISTRACTOR = 10
"""Statements about places in one message of stage 2."""
LINK = "{owner}'s team works at {place}."
PLACED = "At {place}, the {thing} is {where}."
MOVED = "What I said was {wrong} at {place} is {value}."
_FURNITURE = frozenset(
    "bathtub;bed;bee hive;blast furnace;book shelf;chair;closet;couch;counter;cupboard;desk;"
    "drawer;fire pit;fountain;freezer;fridge;ground;large cupboard;mattress;oven;paint closet;"
    "paint cupboard;plant;sink;soil;stove;table;toilet;ultra low temperature freezer;water;"
    "wood".split(";")
)
"""What nobody looks for unless the task needs it."""
_SURFACES = frozenset({"bed", "chair", "counter", "couch", "desk", "stove", "table"})


@dataclass(frozen=True, slots=True)
class Told:
    """A task as the memory style tells it.

    Attributes:
        goal: The goal, without what stage 1 tells.
        knowledge: The messages of stage 1.
        distractors: The messages of stage 2.
        key_items: The owner, and the goal's things whose places stage 1 tells.
        luck: The probability that a competent player guesses what the goal leaves out.
    """

    goal: str
    knowledge: tuple[Talk, ...]
    distractors: tuple[Talk, ...]
    key_items: tuple[str, ...]
    luck: float


def tell_task(
    reply: Mapping[str, Any],
    amounts: Amounts,
    generator: np.random.Generator,
) -> Told:
    """Tell a task.

    Args:
        reply: The simulator's reply to ``start``, with the path and all places.
        amounts: How much is told.
        generator: The only source of chance.

    Raises:
        SimulatorError: The goal is of no known kind.
    """
    task = _task_of(reply, generator)
    sites = draw_sites(BUILDINGS + OTHERS, generator)
    statements = _statements_of(task, sites, amounts.facts, generator)
    told = tell([[statement] for statement in statements], amounts.updates, generator)
    talks = _distractors(task, sites[BUILDINGS:], amounts.distractors, generator)
    knowledge, stage2 = both_stages(told.knowledge, talks, told.late, generator)
    goal = task.order.goal.format(**task.values)
    return Told(
        f"You work for {sites[0].owner}'s team, in its building. {goal}",
        knowledge,
        stage2,
        (sites[0].owner, *_named(task, goal, " ".join(talk.text for talk in knowledge))),
        task.order.luck,
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """What the messages are made of.

    Attributes:
        order: The kind of the goal.
        values: Its values.
        start: The first room.
        handled: The places of things that the path handles.
        others: Other places, in random order.
    """

    order: Order
    values: Values
    start: str
    handled: list[Place]
    others: list[Place]

    @property
    def needed(self) -> list[Place]:
        """The places that a player has to know: the first room it sees."""
        hidden = (place for place in self.handled if place.room != self.start)
        return list(hidden)[: MOST_NEEDED - 1 - len(self.order.details)]

    @property
    def places(self) -> list[Place]:
        """The places that may be told, the needed ones first."""
        return [*self.needed, *self.others]


def _task_of(reply: Mapping[str, Any], generator: np.random.Generator) -> _Task:
    goal, path = " ".join(reply["goal"].split()), list(reply["gold"])
    found = find_order(goal)
    if found is None:
        raise SimulatorError(f"ScienceWorld has a goal of an unknown kind: {goal!r}")
    order, values = found
    places = [place for place in map(Place._make, reply["places"]) if not place.is_dull]
    values = _completed(order, values, places)
    start = room_of(reply["observation"])
    handled = _handled(order, values, path, places, start)
    return _Task(order, values, start, handled, _others(order, path, places, handled, generator))


def _statements_of(
    task: _Task, sites: Sequence[Site], facts: int, generator: np.random.Generator
) -> list[Statement]:
    """The statements of stage 1 about all buildings; the first is the task's."""
    own, details = sites[0], task.order.details
    statements = [link_of(own, needed=True)]
    for detail in details:  # what is in the first room, the player sees
        hidden = task.values[detail.varies[0]] != where(task.start)
        statements.append(detail.statement(task.values, own.place, hidden, generator))
    each = max(-(-facts // BUILDINGS) - 1 - len(details), len(task.needed))
    pairs = [(place.thing, _where(place)) for place in task.places[:each]]
    statements += _placed(own, pairs, len(task.needed), generator)
    for site in sites[1:BUILDINGS]:
        statements += _other_building(task, site, len(pairs), generator)
    return statements


def _named(task: _Task, goal: str, told: str) -> list[str]:
    """The names of the goal's things that stage 1 holds."""
    named = [place.thing for place in task.handled if _holds(goal, place.thing)]
    named += [f"{task.values['colour']} box"] if "colour" in task.values else []
    return [name for name in dict.fromkeys(named) if _holds(told, name)]


def link_of(site: Site, needed: bool) -> Statement:
    """The statement where a team works.

    It never changes, so that stage 2 does not name the owner whom the goal names.
    """
    return replace(link(site, LINK, needed), topic="")


def _holds(text: str, name: str) -> bool:
    """Whether a text holds a name as whole words."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


def _completed(order: Order, values: Values, places: Sequence[Place]) -> Values:
    """The values, with the room of the boxes, which not every goal says."""
    if not order.has_boxes or "boxes" in values:
        return values
    rooms = [place.room for place in places if place.thing == f"{values['a']} box"]
    return values | {"boxes": where(rooms[0])}


def _handled(
    order: Order, values: Values, path: Sequence[str], places: Sequence[Place], start: str
) -> list[Place]:
    """Where the things are that the path handles, in the path's order, each once.

    Names repeat, so a thing counts only if it is in the room where the path is then. A thing that
    is only focused on may be the answer, and does not count. Furniture counts only in a room in
    which the path handles nothing else.
    """
    boxes = {f"{values[name]} box" for name in ("a", "b") if name in values}
    found: dict[str, Place] = {}
    for room, deed in deeds(path, start):
        here = [p for p in places if p.room == room and p.thing not in boxes]
        if not order.tells_things:
            here = [place for place in here if place.thing.endswith(" box")]
        if not deed.startswith("focus on "):
            for place in sorted(here, key=lambda place: deed.find(place.thing)):
                if _holds(deed, place.thing) and not _holds(deed, f"{place.thing} in inventory"):
                    found.setdefault(place.thing, place)
    rooms = {place.room for place in found.values() if place.thing not in _FURNITURE}
    return [p for p in found.values() if p.thing not in _FURNITURE or p.room not in rooms]


def _others(
    order: Order,
    path: Sequence[str],
    places: Sequence[Place],
    handled: Sequence[Place],
    generator: np.random.Generator,
) -> list[Place]:
    """Other places, in random order: of things that occur once and that the path does not name."""
    counts = Counter(place.thing for place in places)
    names = {place.thing for place in handled}
    focused = set(" ".join(deed for deed in path if deed.startswith("focus on ")).split())
    others = [
        place
        for place in places
        if place.thing not in names | _FURNITURE
        and counts[place.thing] == 1
        and not place.thing[-1].isdigit()
        and not focused & set(place.thing.split())
        and not place.thing.endswith(" box")
        and (order.tells_things or place.room != "outside")
    ]
    return [others[index] for index in generator.permutation(len(others))]


def _where(place: Place) -> str:
    if not place.container:
        return where(place.room)
    inside = "on" if place.container in _SURFACES else "in"
    return f"{inside} the {place.container} {where(place.room)}"


def _placed(
    site: Site, pairs: Sequence[tuple[str, str]], needed: int, generator: np.random.Generator
) -> list[Statement]:
    """The statements where things are.

    A wrong statement names another room. It can be corrected by the room alone if nothing else
    is ever said to be there.

    Args:
        site: The building.
        pairs: Things and places; the needed ones come first.
        needed: How many are needed.
        generator: Draws the wrong rooms.
    """
    rights = {place for _, place in pairs}
    wrongs: set[str] = set()
    statements = []
    for number, (thing, right) in enumerate(pairs):
        text = PLACED.format(place=site.place, thing=thing, where=right)
        rooms = [where(room) for room in ROOMS if not right.endswith(where(room))]
        fresh = [room for room in rooms if room not in rights | wrongs]
        choices = fresh or [room for room in rooms if room in rights]
        wrong = choices[int(generator.integers(len(choices)))] if choices else ""
        wrongs.update([wrong])
        statement = Statement(text, number < needed)
        if wrong:
            statement = replace(
                statement,
                topic=f"the {thing} at {site.place}",
                wrong=PLACED.format(place=site.place, thing=thing, where=wrong),
                moved=MOVED.format(wrong=wrong, place=site.place, value=right) if fresh else "",
            )
        statements.append(statement)
    return statements


def _drawn_places(
    task: _Task, things: Sequence[str], generator: np.random.Generator
) -> list[tuple[str, str]]:
    """Things of another building with places: a room, or a container as this building has it."""
    held = sorted({(place.room, _where(place)) for place in task.others if place.container})
    pairs = []
    for thing in things:
        room = ROOMS[int(generator.integers(len(ROOMS)))]
        spots = (spot for within, spot in held if within == room and f" {thing} " not in spot)
        choices = [where(room), *spots]
        pairs.append((thing, choices[int(generator.integers(len(choices)))]))
    return pairs


def _other_building(
    task: _Task, site: Site, count: int, generator: np.random.Generator
) -> list[Statement]:
    """The same kinds of statements about another building, and the same things."""
    drawn = task.order.drawn(task.values, generator)
    statements = [link_of(site, needed=False)]
    statements += [d.statement(drawn, site.place, False, generator) for d in task.order.details]
    things = [place.thing for place in task.places[:count]]
    return statements + _placed(site, _drawn_places(task, things, generator), 0, generator)


def _distractors(
    task: _Task, sites: Sequence[Site], count: int, generator: np.random.Generator
) -> list[Talk]:
    """Messages about other buildings, each about one of them; they take turns."""
    total, fixed = len(task.places), 1 + len(task.order.details)
    buildings = [_other_building(task, site, total, generator) for site in sites]
    talks = []
    for number in range(count):
        statements = buildings[number % len(buildings)]
        first = number // len(buildings) * A_DISTRACTOR % max(1, total)
        rest = statements[fixed + first :] + statements[fixed : fixed + first]
        chosen = statements[:fixed] + rest[:A_DISTRACTOR]
        talks.append(Talk(" ".join(statement.text for statement in chosen)))
    return talks
