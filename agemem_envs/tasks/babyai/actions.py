"""AgentBoard's actions for BabyAI, translated to primitive actions on the grid."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from agemem_envs.tasks.babyai.world import (
    Cell,
    GridWorld,
    Pose,
    Primitive,
    Sight,
    Thing,
    carries_key,
    door_state,
    front_of,
    name_of,
    passable,
)
from agemem_envs.util.sanitize import sendable

FORMS = (
    "go to <object> <number>",
    "pick up <object> <number>",
    "go through <open door> <number>",
    "toggle and go through <shut door> <number>",
    "drop",
    "toggle",
    "turn left",
    "turn right",
    "move forward",
)
"""The forms of actions; objects are named as in the observation."""
MAX_ECHO = 80
"""Characters of an unknown action that the reply quotes."""

_TARGETED = re.compile(
    r"(go to|pick ?up|toggle and go through|go through) (?:the |a )?([a-z ]+?)(?: (\d{1,4}))?"
)
_NO_WAY = "You know no free way to the {sight}."
Path: TypeAlias = tuple[Primitive, ...]


@dataclass(frozen=True, slots=True)
class PrimitivePlan:
    """The primitive actions that carry out an action.

    Attributes:
        path: The primitive actions, at least one.
        reply: The effect, as a sentence.
    """

    path: Path
    reply: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why an action cannot be carried out now, as a sentence."""

    reason: str


class Paths:
    """Shortest paths from the player over free cells that were seen.

    Args:
        world: The game.
        targets: The cells to face. The search ends when it has a path to each, or has visited
            all cells.
    """

    def __init__(self, world: GridWorld, targets: Iterable[Cell]) -> None:
        self._origin: dict[Pose, tuple[Pose, Primitive] | None] = {}
        self._facing: dict[Cell, Pose] = {}
        seen, at, origin = world.seen, world.at, self._origin
        missing = set(targets)
        start = world.pose
        origin[start] = None
        queue = deque([start])
        while queue and missing:
            pose = queue.popleft()
            x, y, heading = pose
            front = front_of(pose)
            if front in missing:
                missing.remove(front)
                self._facing[front] = pose
            if front in seen and passable(at(front)) and (*front, heading) not in origin:
                origin[*front, heading] = (pose, Primitive.FORWARD)
                queue.append((*front, heading))
            for turn, change in ((Primitive.LEFT, 3), (Primitive.RIGHT, 1)):
                turned = (x, y, (heading + change) % 4)
                if turned not in origin:
                    origin[turned] = (pose, turn)
                    queue.append(turned)

    def to_face(self, cell: Cell) -> Path | None:
        """The primitives after which the player faces a cell; None if there is no path."""
        pose = self._facing.get(cell)
        return None if pose is None else path_to(pose, self._origin)


def path_to(pose: Pose, origin: Mapping[Pose, tuple[Pose, Primitive] | None]) -> Path:
    """The primitives that lead to a pose.

    Args:
        pose: The last pose.
        origin: The pose before each pose, and the primitive between them. The first pose has none.
    """
    path: list[Primitive] = []
    while (step := origin.get(pose)) is not None:
        pose, primitive = step
        path.append(primitive)
    return tuple(reversed(path))


Interpretation: TypeAlias = PrimitivePlan | Refusal


def interpret(world: GridWorld, text: str) -> Interpretation:
    """Translate a player's action in the present state. Takes any text."""
    words = " ".join(text.split()).strip(" .!").lower()
    if words in _SIMPLE:
        return _SIMPLE[words](world)
    match = _TARGETED.fullmatch(words)
    if match is None:
        return Refusal(f'"{_printable(text)}" is not an action. Actions are: {", ".join(FORMS)}.')
    verb, name, number = match.groups()
    sight = _find(world, name, int(number or 1))
    if sight is None:
        return Refusal(f"You see no {_printable(name)} {number or 1} here.")
    return _TARGETS["pick up" if verb.startswith("pick") else verb](
        world, sight, Paths(world, [sight.spot.cell])
    )


def admissible(world: GridWorld) -> Iterator[tuple[str, PrimitivePlan]]:
    """The actions that are possible now, each with its plan."""
    for words in LISTED:
        answer = _SIMPLE[words](world)
        if isinstance(answer, PrimitivePlan):
            yield words, answer
    sights = world.sights
    paths = Paths(world, [sight.spot.cell for sight in sights])
    for sight in sights:
        for verb, make in _TARGETS.items():
            answer = make(world, sight, paths)
            if isinstance(answer, PrimitivePlan):
                yield f"{verb} {sight}", answer


def _printable(text: str) -> str:
    short = " ".join(text.split())
    short = short[:MAX_ECHO] + ("..." if len(short) > MAX_ECHO else "")
    return sendable(short)


def _find(world: GridWorld, name: str, number: int) -> Sight | None:
    """The visible object with this name; the state of a door may be left out."""
    sights = world.sights
    exact = [sight for sight in sights if sight.name == name]
    loose = [sight for sight in sights if f"{sight.thing.color} {sight.thing.type}" == name]
    matches = exact or loose
    return matches[number - 1] if 0 < number <= len(matches) else None


# -- actions on a visible object -----------------------------------------------------------


def _go_to(world: GridWorld, sight: Sight, paths: Paths) -> Interpretation:
    path = paths.to_face(sight.spot.cell)
    if path is None:
        return Refusal(_NO_WAY.format(sight=sight))
    # The game checks its mission after a step only, so a player that is there already waits.
    return PrimitivePlan(path or (Primitive.DONE,), f"You went to the {sight}.")


def _pick_up(world: GridWorld, sight: Sight, paths: Paths) -> Interpretation:
    carried = world.game.carrying
    if not sight.thing.can_pickup():
        return Refusal(f"The {sight} cannot be picked up.")
    if carried is not None:
        return Refusal(f"You are carrying a {name_of(carried)} already: drop it first.")
    path = paths.to_face(sight.spot.cell)
    if path is None:
        return Refusal(_NO_WAY.format(sight=sight))
    return PrimitivePlan((*path, Primitive.PICKUP), f"You picked up the {sight.name}.")


def _go_through(world: GridWorld, sight: Sight, paths: Paths) -> Interpretation:
    if sight.thing.type != "door":
        return Refusal(f"The {sight} is not a door.")
    if door_state(sight.thing) != "open":
        return Refusal(f'The {sight} is shut: "toggle and go through" it.')
    path = paths.to_face(sight.spot.cell)
    if path is None:
        return Refusal(_NO_WAY.format(sight=sight))
    return PrimitivePlan((*path, *_THROUGH), f"You went through the {sight}.")


def _toggle_and_go_through(world: GridWorld, sight: Sight, paths: Paths) -> Interpretation:
    if sight.thing.type != "door":
        return Refusal(f"The {sight} is not a door.")
    if door_state(sight.thing) == "open":
        return Refusal(f'The {sight} is open: "go through" it.')
    if not _opens(world, sight.thing):
        return Refusal(f"The {sight} is locked, and you do not carry a {sight.thing.color} key.")
    path = paths.to_face(sight.spot.cell)
    if path is None:
        return Refusal(_NO_WAY.format(sight=sight))
    return PrimitivePlan(
        (*path, Primitive.TOGGLE, *_THROUGH),
        f"You opened the {sight.thing.color} door and went through it.",
    )


_THROUGH = (Primitive.FORWARD, Primitive.FORWARD)
"""Into the doorway and beyond it; an object behind the door stops the player in it."""
_TARGETS: dict[str, Callable[[GridWorld, Sight, Paths], Interpretation]] = {
    "go to": _go_to,
    "pick up": _pick_up,
    "go through": _go_through,
    "toggle and go through": _toggle_and_go_through,
}


def _opens(world: GridWorld, door: Thing) -> bool:
    """Whether the player can open a closed or locked door now."""
    return door_state(door) != "locked" or carries_key(world.game, door.color)


# -- actions on the cell in front ----------------------------------------------------------


def _turn_left(world: GridWorld) -> Interpretation:
    return PrimitivePlan((Primitive.LEFT,), "You turned left.")


def _turn_right(world: GridWorld) -> Interpretation:
    return PrimitivePlan((Primitive.RIGHT,), "You turned right.")


def _forward(world: GridWorld) -> Interpretation:
    thing = world.at(world.front)
    if not passable(thing):
        return Refusal(f"A {_seen_as(thing)} is in your way.")
    return PrimitivePlan((Primitive.FORWARD,), "You moved forward.")


def _pick_up_front(world: GridWorld) -> Interpretation:
    thing, carried = world.at(world.front), world.game.carrying
    if carried is not None:
        return Refusal(f"You are carrying a {name_of(carried)} already: drop it first.")
    if thing is None or not thing.can_pickup():
        return Refusal("Nothing that can be picked up is right in front of you.")
    return PrimitivePlan((Primitive.PICKUP,), f"You picked up the {name_of(thing)}.")


def _drop(world: GridWorld) -> Interpretation:
    thing, carried = world.at(world.front), world.game.carrying
    if carried is None:
        return Refusal("You are not carrying anything.")
    if thing is not None:
        return Refusal(f"The place in front of you is taken by a {_seen_as(thing)}.")
    return PrimitivePlan((Primitive.DROP,), f"You dropped the {name_of(carried)}.")


def _toggle(world: GridWorld) -> Interpretation:
    thing = world.at(world.front)
    if thing is None or thing.type not in ("door", "box"):
        return Refusal("Nothing that can be opened or closed is right in front of you.")
    if thing.type == "box":
        return PrimitivePlan(
            (Primitive.TOGGLE,), f"You opened the {name_of(thing)}, which is used up."
        )
    if not _opens(world, thing):
        return Refusal(f"The {thing.color} door is locked, and you do not carry its key.")
    verb = "closed" if door_state(thing) == "open" else "opened"
    return PrimitivePlan((Primitive.TOGGLE,), f"You {verb} the {thing.color} door.")


def _wait(world: GridWorld) -> Interpretation:
    return PrimitivePlan((Primitive.DONE,), "You did nothing.")


def _seen_as(thing: Thing) -> str:
    return "wall" if thing.type == "wall" else name_of(thing)


_SIMPLE: dict[str, Callable[[GridWorld], Interpretation]] = {
    "drop": _drop,
    "toggle": _toggle,
    "turn left": _turn_left,
    "left": _turn_left,
    "turn right": _turn_right,
    "right": _turn_right,
    "move forward": _forward,
    "forward": _forward,
    "pickup": _pick_up_front,
    "pick up": _pick_up_front,
    "done": _wait,
}
LISTED = ("drop", "move forward", "toggle", "turn left", "turn right")
"""The actions without an object that a player is shown; the others are synonyms."""
