"""The messages of stages 1 and 2 about an ALFWorld game: locations and procedures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import cycle, islice
from typing import Any

import numpy as np

from agemem_envs.tasks.alfworld.generator import APPLIANCE
from agemem_envs.tasks.base import Fact

NOISE = 4
"""Facts of stage 1 that are not needed."""
HERE = "In the house where you will work, "
METHODS = {
    "pick_and_place_simple": (
        "a thing is put somewhere like this: take it, go to the goal, open the goal if it is "
        "closed, then say: {put}."
    ),
    "pick_two_obj_and_place": (
        "you can carry only one thing at a time. Bring the first to the goal, say: {put}; then "
        "fetch the second."
    ),
    "look_at_obj_in_light": (
        "a thing is looked at in light like this: take it, carry it to the {lamp}{stand}, and say "
        "there: use {lamp}."
    ),
    "pick_clean_then_place_in_recep": (
        "things are cleaned at the {appliance}: carry the thing there and say: clean <thing> with "
        "{appliance}. Then bring it to the goal and say: {put}."
    ),
    "pick_heat_then_place_in_recep": (
        "things are heated at the {appliance}, which may stay closed: carry the thing there and "
        "say: heat <thing> with {appliance}. Then bring it to the goal and say: {put}."
    ),
    "pick_cool_then_place_in_recep": (
        "things are cooled at the {appliance}, which may stay closed: carry the thing there and "
        "say: cool <thing> with {appliance}. Then bring it to the goal and say: {put}."
    ),
}
"""How a task of each type is done, as a sentence without a beginning."""
OTHER_HOUSES = (
    "In my sister's house, the {thing} is always at the {place}.",
    "At the neighbours', the {thing} was found at the {place}.",
    "In a house that was sold last year, the {thing} lay at the {place}.",
    "My friend keeps the {thing} of his own flat at the {place}.",
    "In the holiday home, look for the {thing} at the {place}.",
)
"""The messages of stage 2."""
_TAKEN = re.compile(r"take (\w+ \d+) from (\w+ \d+)")


def make_stage_messages(
    task_type: str,
    target: str,
    reply: Mapping[str, Any],
    put: str,
    other_houses: Iterable[list[tuple[str, str]]],
    distractors: int,
    generator: np.random.Generator,
) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """Make the facts of stage 1, in random order, and the messages of stage 2.

    Args:
        task_type: One of ALFWorld's six.
        target: The class of the things to find, in lower case.
        reply: The simulator's reply to the start of the game.
        put: The command that puts ``{}`` into ``{}`` in this game.
        other_houses: For each message of stage 2, things with their receptacles, by class.
        distractors: Most messages of stage 2.
        generator: The only source of chance.
    """
    facts = _facts(task_type, target, reply, put, generator)
    talks = _distractors(target, other_houses, distractors, generator)
    return tuple(facts[index] for index in generator.permutation(len(facts))), talks


def method(task_type: str, put: str, lamp: str = "<lamp>", stand: str = "") -> str:
    """How a task is done, as a sentence without a beginning.

    Args:
        task_type: One of ALFWorld's six.
        put: The command that puts ``{}`` into ``{}`` in this game.
        lamp: The lamp's name.
        stand: Where it is, as a relative clause, or nothing.
    """
    return METHODS[task_type].format(
        put=put.format("<thing>", "<goal>"),
        appliance=f"{APPLIANCE.get(task_type, '').lower()} 1",
        lamp=lamp,
        stand=stand,
    )


def _facts(
    task_type: str,
    target: str,
    reply: Mapping[str, Any],
    put: str,
    generator: np.random.Generator,
) -> list[Fact]:
    """Where the needed things are and how the task is done; then where some others are."""
    contents: list[tuple[str, str]] = reply["contents"]
    places = dict(contents)
    wanted = 2 if task_type == "pick_two_obj_and_place" else 1
    taken = [thing for thing, _ in _TAKEN.findall("\n".join(reply["walkthrough"]))]
    of_kind = [thing for thing in places if _kind(thing) == target]
    needed = list(dict.fromkeys(thing for thing in taken if thing in places)) or of_kind
    closed = set(reply["openable"])
    lamp_kind = reply["toggle"]
    lamp = next((thing for thing in places if _kind(thing) == lamp_kind), f"{lamp_kind} 1")
    stand = f", which is {_located(places[lamp], closed)}" if lamp in places else ""
    how = HERE + method(task_type, put, lamp, stand)
    gold = [*(_place(thing, places[thing], closed) for thing in needed[:wanted]), how]
    others = [thing for thing in places if _kind(thing) not in (target, lamp_kind)]
    indices = generator.permutation(len(others))[:NOISE]
    noise = [_place(others[i], places[others[i]], closed) for i in sorted(indices)]
    return [*(Fact(text, text) for text in gold), *map(Fact, noise)]


def _distractors(
    target: str,
    other_houses: Iterable[list[tuple[str, str]]],
    count: int,
    generator: np.random.Generator,
) -> tuple[str, ...]:
    """Where things are in other houses; things of the target's kind where there are any."""
    texts: dict[str, None] = {}
    # zip asks for no house beyond the last form: drawing one would use the generator.
    for form, contents in zip(islice(cycle(OTHER_HOUSES), count), other_houses, strict=False):
        pairs = [pair for pair in contents if pair[0] == target] or contents
        if pairs:
            thing, place = pairs[int(generator.integers(len(pairs)))]
            texts[form.format(thing=thing, place=place)] = None
    return tuple(texts)


def _kind(thing: str) -> str:
    return thing.split()[0]


def _located(place: str, closed: set[str]) -> str:
    return f"in the {place} (closed at first)" if place in closed else f"on the {place}"


def _place(thing: str, place: str, closed: set[str]) -> str:
    return f"{HERE}the {thing} is {_located(place, closed)}."
