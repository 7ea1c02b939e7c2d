"""Subgoals in BabyAI, and the fewest actions that reach one."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import Enum

from agemem_envs.tasks.babyai.actions import Path, PrimitivePlan, admissible, interpret
from agemem_envs.tasks.babyai.world import Cell, GridWorld, Pose

MAX_POSES = 3000
"""Most poses that the search visits: more than a level has."""
_WALKS = ("turn left", "turn right", "move forward", "go to", "go through")
"""The actions that change only the pose of the player."""


class Interaction(Enum):
    """What the player does to the cell that it faces."""

    FACE = "face"
    PICK_UP = "pick up"
    DROP = "drop"
    OPEN = "open"
    TOGGLE = "toggle"


_ON_SIGHT = {
    Interaction.FACE: "go to {}",
    Interaction.PICK_UP: "pick up {}",
    Interaction.OPEN: "toggle and go through {}",
}
"""The actions that include the way to their object."""


@dataclass(frozen=True, slots=True)
class Subgoal:
    """An interaction with a cell."""

    interaction: Interaction
    cell: Cell


@dataclass(frozen=True, slots=True)
class Move:
    """An action, and the pose after it; None if the pose is not predictable."""

    action: str
    pose: Pose | None


def shortest_actions(
    world: GridWorld, subgoal: Subgoal, known: Container[Cell]
) -> tuple[Move, ...]:
    """Search the fewest actions that reach a subgoal.

    Args:
        world: The game.
        subgoal: What to reach.
        known: The known cells; the view of other cells is not predictable.

    Returns:
        The moves in order; empty if there are none.
    """
    queue: deque[tuple[GridWorld, tuple[Move, ...]]] = deque([(world, ())])
    reached = {world.pose}
    while queue and len(reached) < MAX_POSES:
        here, moves = queue.popleft()
        last = _last_action(here, subgoal)
        if last is not None:
            return (*moves, Move(last, None)) if last else moves
        for action, path in _steps(here):
            pose = here.pose_after(path)
            if pose not in reached:
                reached.add(pose)
                queue.append((here.imagine(pose, known), (*moves, Move(action, pose))))
    return ()


def _steps(world: GridWorld) -> Iterator[tuple[str, Path]]:
    for action, planned in admissible(world):
        if action.startswith(_WALKS):
            yield action, planned.path


def _last_action(world: GridWorld, subgoal: Subgoal) -> str | None:
    """The action that completes a subgoal from here; empty if none is needed, None if none can."""
    facing = world.front == subgoal.cell
    sight = next((s for s in world.sights if s.spot.cell == subgoal.cell), None)
    if subgoal.interaction is Interaction.FACE and sight is None:
        return "" if facing else None
    if subgoal.interaction in _ON_SIGHT:
        return _if_possible(world, _ON_SIGHT[subgoal.interaction].format(sight))
    return _if_possible(world, subgoal.interaction.value) if facing else None


def _if_possible(world: GridWorld, action: str) -> str | None:
    return action if isinstance(interpret(world, action), PrimitivePlan) else None
