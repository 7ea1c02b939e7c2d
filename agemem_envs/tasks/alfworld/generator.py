"""Generated ALFWorld games: the embedded data of AgeMem-ALFWorld.

A game is a room with receptacles and objects, and one of ALFWorld's six tasks. Domain,
grammar, goals, and the places that fit an object come from the ``alfworld`` package; the rooms
are defined here. It runs in a simulator's process, because it imports that package.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "1"
TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
SPLITS = ("train", "valid_seen", "valid_unseen")
LAMP = "DeskLamp"
LAMP_STANDS_ON = ("Desk", "SideTable")
ABILITY = {
    "pick_clean_then_place_in_recep": "Cleanable",
    "pick_heat_then_place_in_recep": "Heatable",
    "pick_cool_then_place_in_recep": "Coolable",
}
"""The property that the target of a task type must have."""
APPLIANCE = {
    "pick_clean_then_place_in_recep": "SinkBasin",
    "pick_heat_then_place_in_recep": "Microwave",
    "pick_cool_then_place_in_recep": "Fridge",
}
"""The appliance of a task type; never the place where the target must end."""


@dataclass(frozen=True, slots=True)
class Room:
    """A kind of room.

    Attributes:
        receptacles: The fewest and most instances of each class.
        objects: The classes of objects, with up to two instances each.
    """

    receptacles: Mapping[str, tuple[int, int]]
    objects: tuple[str, ...]


ROOMS = {
    "Kitchen": Room(
        {
            "Cabinet": (8, 16), "Drawer": (5, 10), "CounterTop": (2, 3), "DiningTable": (0, 1),
            "Fridge": (1, 1), "Microwave": (1, 1), "SinkBasin": (1, 1), "StoveBurner": (2, 4),
            "GarbageCan": (1, 1), "Toaster": (1, 1), "CoffeeMachine": (1, 1), "Shelf": (0, 3),
        },
        tuple(
            "Apple Bread Bowl ButterKnife Cup DishSponge Egg Fork Knife Ladle Lettuce Mug Pan "
            "PepperShaker Plate Pot Potato SaltShaker SoapBottle Spatula Spoon Tomato".split()
        ),
    ),
    "Bedroom": Room(
        {
            "Bed": (1, 1), "Desk": (1, 2), "Drawer": (6, 12), "Shelf": (4, 8),
            "SideTable": (1, 2), "GarbageCan": (1, 1), "Safe": (0, 1), "LaundryHamper": (1, 1),
        },
        tuple(
            "AlarmClock BaseballBat BasketBall Book Bowl CD CellPhone CreditCard KeyChain Laptop "
            "Mug Pen Pencil Pillow".split()
        ),
    ),
    "LivingRoom": Room(
        {
            "ArmChair": (1, 3), "CoffeeTable": (1, 2), "Drawer": (4, 10), "Dresser": (0, 1),
            "GarbageCan": (1, 1), "Safe": (0, 1), "Shelf": (3, 7), "SideTable": (1, 3),
            "Sofa": (1, 2), "Cabinet": (4, 10),
        },
        tuple(
            "Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl Statue "
            "TissueBox Vase WateringCan".split()
        ),
    ),
    "Bathroom": Room(
        {
            "Cabinet": (4, 9), "CounterTop": (1, 2), "SinkBasin": (1, 2), "Toilet": (1, 1),
            "GarbageCan": (1, 1), "Drawer": (3, 8), "Shelf": (2, 4), "SideTable": (0, 1),
            "ToiletPaperHanger": (1, 1), "BathtubBasin": (1, 1),
        },
        tuple(
            "Candle Cloth DishSponge SoapBar SoapBottle SprayBottle ToiletPaper TissueBox".split()
        ),
    ),
}  # fmt: skip
ROOMS_OF = {
    "pick_and_place_simple": ("Kitchen", "LivingRoom", "Bathroom", "Bedroom"),
    "pick_two_obj_and_place": ("Kitchen", "LivingRoom", "Bathroom", "Bedroom"),
    "look_at_obj_in_light": ("LivingRoom", "Bedroom"),
    "pick_clean_then_place_in_recep": ("Kitchen", "Bathroom"),
    "pick_heat_then_place_in_recep": ("Kitchen",),
    "pick_cool_then_place_in_recep": ("Kitchen",),
}
"""The rooms of each task type, as in ALFRED."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An instance: its id in the problem, its class, and the index of its receptacle."""

    id: str
    kind: str
    where: int


def generate(task_type: str, split: str, number: int) -> dict[str, Any]:
    """Generate a game in the format of ALFWorld's ``game.tw-pddl``, with its ``pddl_params``.

    Args:
        task_type: One of ``TASK_TYPES``.
        split: One of ``SPLITS``; a number gives another game in each.
        number: The number of the game, from 0.
    """
    import alfworld.gen.constants as constants
    from alfworld.gen.goal_library import gdict
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    rng = np.random.default_rng((SPLITS.index(split), TASK_TYPES.index(task_type), number))
    fits: Mapping[str, Any] = constants.VAL_RECEPTACLE_OBJECTS
    names = _Names(rng)
    room = ROOMS[_pick(rng, ROOMS_OF[task_type])]
    receptacles = [
        (names.new(kind), kind)
        for kind, (fewest, most) in room.receptacles.items()
        for _ in range(int(rng.integers(fewest, most + 1)))
    ]
    kinds = sorted({kind for _, kind in receptacles})
    target, goal = _pick(rng, list(_goals(task_type, room, kinds, constants)))
    objects = _furnish(rng, names, task_type, room, receptacles, fits, target, goal)
    slots = {"obj": target, "recep": goal, "toggle": LAMP, "mrecep": ""}
    library = gdict[task_type]
    said = {slot: text.lower() for slot, text in slots.items()}
    task = _pick(rng, library["templates"]).format(**said)
    return {
        "pddl_domain": Path(ALFRED_PDDL_PATH).read_text(encoding="utf-8"),
        "grammar": Path(ALFRED_TWL2_PATH).read_text(encoding="utf-8").replace("UNKNOWN GOAL", task),
        "pddl_problem": _problem(rng, receptacles, objects, constants)
        + library["pddl"].format(**slots).replace("#", "-"),
        "solvable": True,
        "walkthrough": None,
        "pddl_params": {
            "object_target": target,
            "parent_target": goal,
            "toggle_target": LAMP if task_type == "look_at_obj_in_light" else "",
            "mrecep_target": "",
            "object_sliced": False,
        },
    }


def goal_classes(params: Mapping[str, Any]) -> dict[str, str]:
    """The classes that a task names, in lower case; empty where it names none.

    Args:
        params: The game's ``pddl_params``.

    Returns:
        ``target``: of the things to find; ``toggle``: of the lamp; ``goal``: of the receptacle
        where the thing must end.
    """
    slots = {"target": "object_target", "toggle": "toggle_target", "goal": "parent_target"}
    return {name: str(params.get(slot, "")).lower() for name, slot in slots.items()}


def _goals(
    task_type: str, room: Room, kinds: list[str], constants: Any
) -> Iterator[tuple[str, str]]:
    """The (object, receptacle) classes of possible tasks; the receptacle is empty for light."""
    ability = ABILITY.get(task_type)
    for target in room.objects:
        if ability and target not in constants.VAL_ACTION_OBJECTS[ability]:
            continue
        homes = [kind for kind in kinds if target in constants.VAL_RECEPTACLE_OBJECTS.get(kind, ())]
        if task_type == "look_at_obj_in_light":
            if homes:
                yield target, ""
            continue
        for goal in homes:
            if goal != APPLIANCE.get(task_type) and len(homes) > 1:
                yield target, goal


def _furnish(
    rng: np.random.Generator,
    names: _Names,
    task_type: str,
    room: Room,
    receptacles: list[tuple[str, str]],
    fits: Mapping[str, Any],
    target: str,
    goal: str,
) -> list[Placed]:
    """Put things where they fit; no target is in the goal at the start."""

    def put(kind: str, avoid: str = "") -> None:
        free = [
            index
            for index, (_, home) in enumerate(receptacles)
            if kind in fits.get(home, ()) and home != avoid
        ]
        if free:
            objects.append(Placed(names.new(kind), kind, _pick(rng, free)))

    objects: list[Placed] = []
    fewest = 2 if task_type == "pick_two_obj_and_place" else 1
    for _ in range(int(rng.integers(fewest, fewest + 2))):
        put(target, avoid=goal)
    for kind in room.objects:
        if kind != target:
            for _ in range(int(rng.integers(0, 3))):
                put(kind)
    if task_type == "look_at_obj_in_light":
        stands = [i for i, (_, kind) in enumerate(receptacles) if kind in LAMP_STANDS_ON]
        objects.append(Placed(names.new(LAMP), LAMP, _pick(rng, stands)))
    return objects


def _problem(
    rng: np.random.Generator,
    receptacles: list[tuple[str, str]],
    objects: list[Placed],
    constants: Any,
) -> str:
    """The problem in PDDL, up to its goal."""
    places = [
        _mangle(f"loc|{index}|{rng.integers(-9, 10)}|{rng.integers(4)}|{_pick(rng, (0, 30, 60))}")
        for index in range(len(receptacles) + 1)
    ]
    kinds = sorted({kind for _, kind in receptacles})
    # The domain's actions name these types whether or not the room has them.
    receptacle_types = sorted({*kinds, *APPLIANCE.values()})
    object_types = sorted({*(thing.kind for thing in objects), "Knife", "ButterKnife"})
    lines = ["(define (problem generated)", "(:domain alfred)", "(:objects", "agent1 - agent"]
    lines += [f"{kind}Type - otype" for kind in object_types]
    lines += [f"{kind}Type - rtype" for kind in receptacle_types]
    lines += [f"{thing.id} - object" for thing in objects]
    lines += [f"{name} - receptacle" for name, _ in receptacles]
    lines += [f"{place} - location" for place in places]
    lines += [")", "(:init", f"(atLocation agent1 {places[-1]})"]
    for (name, kind), place in zip(receptacles, places, strict=False):
        lines += [f"(receptacleType {name} {kind}Type)", f"(receptacleAtLocation {name} {place})"]
        if kind in constants.OPENABLE_CLASS_SET:
            lines.append(f"(openable {name})")
    lines += [
        f"(canContain {home}Type {kind}Type)"
        for home in kinds
        for kind in object_types
        if kind in constants.VAL_RECEPTACLE_OBJECTS.get(home, ())
    ]
    for thing in objects:
        lines += [
            f"(objectType {thing.id} {thing.kind}Type)",
            f"(inReceptacle {thing.id} {receptacles[thing.where][0]})",
            f"(objectAtLocation {thing.id} {places[thing.where]})",
            *(f"({quality} {thing.id})" for quality in _qualities(thing.kind, constants)),
        ]
    return "\n".join([*lines, ")"])


def _qualities(kind: str, constants: Any) -> Iterator[str]:
    if kind == LAMP:
        yield "toggleable"
        return
    yield "pickupable"
    if kind in constants.MOVABLE_RECEPTACLES_SET:
        yield "isReceptacleObject"
    for ability in ("Cleanable", "Heatable", "Coolable", "Sliceable"):
        if kind in constants.VAL_ACTION_OBJECTS[ability]:
            yield ability.lower()


def walkthrough(
    task_type: str,
    params: Mapping[str, Any],
    contents: Sequence[tuple[str, str]],
    places: Sequence[str],
    openable: Collection[str],
) -> list[str]:
    """Commands that win a generated game, with its simulator's names.

    Args:
        task_type: One of ``TASK_TYPES``.
        params: The game's ``pddl_params``.
        contents: All things with their receptacles.
        places: All receptacles.
        openable: The receptacles that are closed at first.
    """

    def go(place: str) -> None:
        if not commands or here[-1] != place:
            commands.append(f"go to {place}")
            here.append(place)

    def reach_into(place: str) -> None:
        go(place)
        if place in openable and f"open {place}" not in commands:
            commands.append(f"open {place}")

    def first(kind: str) -> str:
        return min(place for place in places if _is_a(place, kind))

    commands: list[str] = []
    here: list[str] = []
    target, goal_kind = params["object_target"], params["parent_target"]
    wanted = 2 if task_type == "pick_two_obj_and_place" else 1
    away = [
        pair
        for pair in contents
        if _is_a(pair[0], target) and not (goal_kind and _is_a(pair[1], goal_kind))
    ]
    for thing, place in away[:wanted]:
        reach_into(place)
        commands.append(f"take {thing} from {place}")
        if task_type == "look_at_obj_in_light":
            lamp, stand = next(pair for pair in contents if _is_a(pair[0], LAMP))
            go(stand)
            commands.append(f"use {lamp}")
            continue
        if task_type in APPLIANCE:
            appliance = first(APPLIANCE[task_type])
            go(appliance)
            verb = {"Cleanable": "clean", "Heatable": "heat", "Coolable": "cool"}[
                ABILITY[task_type]
            ]
            commands.append(f"{verb} {thing} with {appliance}")
        goal = first(goal_kind)
        reach_into(goal)
        commands.append(f"move {thing} to {goal}")
    return commands


def _is_a(name: str, kind: str) -> bool:
    """Whether ``cabinet 3`` is a ``Cabinet``."""
    return name.split()[0] == kind.lower()


class _Names:
    """Makes distinct ids in ALFRED's form: a class and coordinates."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def new(self, kind: str) -> str:
        while True:
            at = "|".join(f"{value:+06.2f}" for value in self._rng.uniform(-4, 4, 3))
            # The grammar names a basin after the sink or tub that it belongs to.
            basin = kind.endswith("Basin")
            name = _mangle(f"{kind.removesuffix('Basin')}|{at}|{kind}" if basin else f"{kind}|{at}")
            if name not in self._taken:
                self._taken.add(name)
                return name


def _mangle(text: str) -> str:
    """Convert ALFRED's id to a PDDL name, as ALFWorld does."""
    for mark, word in (("-", "minus"), ("|", "bar"), ("+", "plus"), (".", "dot")):
        text = text.replace(mark, f"_{word}_")
    return text


def _pick(rng: np.random.Generator, options: Any) -> Any:
    return options[int(rng.integers(len(options)))]
