"""The fewest actions that carry out one errand in BabyAI."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum

from agemem_envs.tasks.babyai.actions import Path, Plan, admissible, plan
from agemem_envs.tasks.babyai.world import Cell, Pose, World

MAX_POSES = 3000
"""Poses looked at before the search gives up: more than a level has."""
_WALKS = ("turn left", "turn right", "move forward", "go to", "go through")
"""The actions that change nothing but where the player is."""


class Deed(Enum):
    """What is done to the cell that the player faces."""

    FACE = "face"
    PICK_UP = "pick up"
    DROP = "drop"
    OPEN = "open"
    TOGGLE = "toggle"


_ON_SIGHT = {
    Deed.FACE: "go to {}",
    Deed.PICK_UP: "pick up {}",
    Deed.OPEN: "toggle and go through {}",
}
"""The actions that walk to their object themselves."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A deed, and the cell that it is done to."""

    deed: Deed
    cell: Cell


@dataclass(frozen=True, slots=True)
class Move:
    """An action, and where it brings the player; None if that cannot be foretold."""

    action: str
    pose: Pose | None


def shortest(world: World, errand: Errand, known: Container[Cell]) -> tuple[Move, ...]:
    """The fewest actions after which an errand is done; empty if there are none.

    Args:
        world: The game.
        errand: What to do.
        known: The cells that are known: what is seen elsewhere cannot be foretold.
    """
    queue: deque[tuple[World, tuple[Move, ...]]] = deque([(world, ())])
    reached = {world.pose}
    while queue and len(reached) < MAX_POSES:
        here, moves = queue.popleft()
        last = _last_action(here, errand)
        if last is not None:
            return (*moves, Move(last, None)) if last else moves
        for action, path in _steps(here):
            pose = here.pose_after(path)
            if pose not in reached:
                reached.add(pose)
                queue.append((here.imagine(pose, known), (*moves, Move(action, pose))))
    return ()


def _steps(world: World) -> Iterator[tuple[str, Path]]:
    for action, planned in admissible(world):
        if action.startswith(_WALKS):
            yield action, planned.path


def _last_action(world: World, errand: Errand) -> str | None:
    """The action that ends an errand here, empty if none is needed; None if it must go on."""
    facing = world.front == errand.cell
    sight = next((s for s in world.sights if s.spot.cell == errand.cell), None)
    if errand.deed is Deed.FACE and sight is None:
        return "" if facing else None
    if errand.deed in _ON_SIGHT:
        return _if_possible(world, _ON_SIGHT[errand.deed].format(sight))
    return _if_possible(world, errand.deed.value) if facing else None


def _if_possible(world: World, action: str) -> str | None:
    return action if isinstance(plan(world, action), Plan) else None
