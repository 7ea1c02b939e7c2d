"""The messages of stages 1 and 2 about a ScienceWorld task: locations and procedures."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from agemem_envs.similarity import topic_words
from agemem_envs.tasks.base import Fact
from agemem_envs.tasks.scienceworld.routes import MOVE, room_of
from agemem_envs.tasks.scienceworld.simulator import ROOMS

NOISE = 4
"""Facts of stage 1 that are not needed."""
STEPS_A_FACT = 15
"""Actions of the gold path in one fact."""
METHOD_FACTS = 4
"""Most facts about how the task is done."""
PLACE_FACTS = 3
"""Most facts about where needed things are."""
SHORT = 3
"""Letters of a word that is too short to be a key item."""
KEY_ITEMS = 3
"""Most key items."""
_COMMON = frozenset("done find first focus like move take task then thing will your".split())
"""Words of a goal that name nothing."""
OTHER_BUILDINGS = (
    "In the laboratory across the street, the {thing} is in the {room}.",
    "At the old school, they keep the {thing} in the {room}.",
    "In the museum's copy of this building, the {thing} stands in the {room}.",
    "A colleague abroad found the {thing} in the {room} of his institute.",
    "In last year's building, one went to the {room} for the {thing}.",
)
"""The messages of stage 2."""
_OBJECT = re.compile(
    r"(?:pick up|focus on|activate|move|pour|use|mix|connect|read) (.+?)(?: (?:to|on|into) .*)?"
)
_IDLE = re.compile(r"look around")
_PARTS = re.compile(r"\b(?:air|anode|cathode|door|drain|inventory|terminal|tap)\b")
"""Parts of other things, which nobody looks for."""
_SURFACES = frozenset({"bed", "chair", "counter", "couch", "desk", "stove", "table"})


class Place(NamedTuple):
    """Where a thing is at the start.

    Attributes:
        thing: Its name.
        container: What it is in or on; empty if it lies in the room itself.
        room: The room.
    """

    thing: str
    container: str
    room: str

    @property
    def is_dull(self) -> bool:
        """Whether nobody would ask where it is."""
        return self.thing in ROOMS or bool(_PARTS.search(f"{self.thing} {self.container}"))

    def __str__(self) -> str:
        room = "outside" if self.room == "outside" else f"in the {self.room}"
        if not self.container:
            return f"In the building where you will work, the {self.thing} is {room}."
        inside = "on" if self.container in _SURFACES else "in"
        held = f"{inside} the {self.container} {room}"
        return f"In the building where you will work, the {self.thing} is {held}."


def make_stage_messages(
    task: str, reply: Mapping[str, Any], count: int, generator: np.random.Generator
) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """Make the facts of stage 1, in random order, and the messages of stage 2.

    Args:
        task: The task's name.
        reply: The simulator's reply to ``start``, with gold path and places.
        count: Most messages of stage 2.
        generator: The only source of chance.
    """
    gold: list[str] = reply["gold"]
    places = [place for place in map(Place._make, reply["places"]) if not place.is_dull]
    needed = _needed(gold, places, room_of(reply["observation"]))[:PLACE_FACTS]
    names = {place.thing for place in needed}
    others = [place for place in places if place.thing not in names]
    noise = [others[index] for index in sorted(generator.permutation(len(others))[:NOISE])]
    texts = [*map(str, needed), *_method(task, gold)]
    facts = [Fact(text, text) for text in texts]
    facts += [Fact(text) for text in dict.fromkeys(map(str, noise)) if text not in texts]
    distractors = _distractors(needed or noise, generator)[:count]
    return tuple(facts[index] for index in generator.permutation(len(facts))), distractors


def _needed(gold: Sequence[str], places: Sequence[Place], room: str) -> list[Place]:
    """Where the things are that the gold path handles, in the path's order.

    Names repeat, so a thing counts only if it is in the room where the path is then.

    Args:
        gold: The path.
        places: Of all things at the start.
        room: Where the path begins.
    """
    needed: dict[str, Place] = {}
    for action in gold:
        move, handling = MOVE.fullmatch(action), _OBJECT.fullmatch(action)
        if move is not None:
            room = move[1]
        elif handling is not None:
            name, _, container = handling[1].partition(" in ")
            here = [p for p in places if p.thing == name and p.room == room]
            fitting = [p for p in here if p.container == container] or here
            if fitting and container != "inventory":
                needed.setdefault(name, fitting[0])
    return list(needed.values())


def _method(task: str, gold: Sequence[str]) -> list[str]:
    """How the task is done: the gold path without looking around, repetitions counted."""
    steps: list[str] = []
    for action, group in itertools.groupby(a for a in gold if not _IDLE.fullmatch(a)):
        times = sum(1 for _ in group)
        steps.append(action if times == 1 else f"{action} ({times} times)")
    parts = [steps[i : i + STEPS_A_FACT] for i in range(0, len(steps), STEPS_A_FACT)]
    kind = task.replace("-", " ")
    texts = []
    for number, part in enumerate(parts[:METHOD_FACTS]):
        is_last = number == len(parts) - 1
        how = "is done like this" if is_last and not number else "begins like this"
        if number:
            how = "ends like this" if is_last else f"goes on like this (part {number + 1})"
        texts.append(f"The experiment that awaits you ({kind}) {how}: {'; '.join(part)}.")
    if len(parts) > METHOD_FACTS:
        rest = sum(map(len, parts[METHOD_FACTS:]))
        texts[-1] = f"{texts[-1]} Some {rest} more steps follow."
    return texts


def _distractors(things: Sequence[Place], generator: np.random.Generator) -> tuple[str, ...]:
    """Where the same things are in other buildings, never in the room where they are here."""
    texts = []
    for index, form in enumerate(OTHER_BUILDINGS):
        if things:
            thing = things[index % len(things)]
            rooms = [room for room in ROOMS if room not in (thing.room, "outside")]
            room = rooms[int(generator.integers(len(rooms)))]
            texts.append(form.format(thing=thing.thing, room=room))
    return tuple(texts)


def key_items(goal: str, facts: Sequence[str], distractors: Sequence[str]) -> tuple[str, ...]:
    """The words of a goal that some fact holds and no distractor does, in the goal's order.

    Args:
        goal: Without the list of actions.
        facts: The statements of stage 1.
        distractors: The messages of stage 2.
    """
    told = topic_words(" ".join(facts)) - topic_words(" ".join(distractors))
    words = re.findall(r"[^\W_]+", goal.lower())
    found = (word for word in words if len(word) > SHORT and word in told and word not in _COMMON)
    return tuple(dict.fromkeys(found))[:KEY_ITEMS]
