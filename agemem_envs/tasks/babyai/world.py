"""A BabyAI game: the player's view, the cells seen so far, and the primitive actions."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias

Game: TypeAlias = Any
"""minigrid's ``RoomGridLevel``, unwrapped; it is not fully annotated."""
Thing: TypeAlias = Any
"""minigrid's ``WorldObj``."""
Cell: TypeAlias = tuple[int, int]
"""Column and row in the grid."""
Pose: TypeAlias = tuple[int, int, int]
"""Column, row and direction."""

VIEW = 7
"""Side of the visible square; the player is in the middle of its nearest row."""
HEADINGS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""The step forward for each of minigrid's directions; the next one is to the right."""


class Primitive(IntEnum):
    """minigrid's own actions."""

    LEFT = 0
    RIGHT = 1
    FORWARD = 2
    PICKUP = 3
    DROP = 4
    TOGGLE = 5
    DONE = 6


class Spot(NamedTuple):
    """A visible cell.

    Attributes:
        ahead: Steps in front of the player, 0 to 6.
        right: Steps to the right, -3 to 3.
        cell: Its place in the grid.
        thing: The thing in the cell, or None.
    """

    ahead: int
    right: int
    cell: Cell
    thing: Thing


@dataclass(frozen=True, slots=True)
class Sight:
    """A visible object, named as the player may name it.

    Attributes:
        name: Colour, state of a door, and type: ``red closed door``.
        number: 1 for the first object with this name, in the order of the observation.
        spot: Where it is.
        thing: The object.
    """

    name: str
    number: int
    spot: Spot
    thing: Thing

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


def field_of_view(game: Game) -> list[Spot]:
    """The visible cells, row by row, the nearest row first.

    Equal to the mask of minigrid's ``gen_obs_grid``, and much faster.
    """
    cells, width, height = game.grid.grid, game.width, game.height
    x0, y0 = position(game)
    fx, fy = HEADINGS[game.agent_dir]
    spots: list[Spot] = []
    lit = 1 << VIEW // 2  # one bit a column
    for ahead in range(VIEW):
        x, y = x0 + fx * ahead + fy * (VIEW // 2), y0 + fy * ahead - fx * (VIEW // 2)
        things: list[Thing] = []
        inside = clear = 0
        for column in range(VIEW):
            if 0 <= x < width and 0 <= y < height:
                thing = cells[y * width + x]
                things.append(thing)
                inside |= 1 << column
                if thing is None or thing.see_behind():
                    clear |= 1 << column
            else:
                things.append(None)
            x, y = x - fy, y + fx
        lit, beyond = _spread(lit, clear)
        for column in range(VIEW):
            if lit & inside & 1 << column:
                right = column - VIEW // 2
                cell = (x0 + fx * ahead - fy * right, y0 + fy * ahead + fx * right)
                spots.append(Spot(ahead, right, cell, things[column]))
        lit = beyond
        if not lit:
            break
    return spots


@functools.cache
def _spread(lit: int, clear: int) -> tuple[int, int]:
    """The columns of a row that are lit at last, and those that they light in the next row.

    Light spreads as in minigrid's ``Grid.process_vis``: from every lit clear cell to its
    neighbours at the side and in the next row, in one pass to the right and one to the left.

    Args:
        lit: The columns that the previous row lights, one bit each.
        clear: The columns that can be seen through.
    """
    beyond = 0
    for column in range(VIEW - 1):
        if lit & clear & 1 << column:
            lit |= 2 << column
            beyond |= 3 << column
    for column in range(VIEW - 1, 0, -1):
        if lit & clear & 1 << column:
            lit |= 1 << column - 1
            beyond |= 3 << column - 1
    return lit, beyond


def name_of(thing: Thing) -> str:
    """Colour, state of a door, and type."""
    if thing.type == "door":
        return f"{thing.color} {door_state(thing)} door"
    return f"{thing.color} {thing.type}"


def door_state(door: Thing) -> str:
    """``open``, ``closed`` or ``locked``."""
    return "open" if door.is_open else "locked" if door.is_locked else "closed"


def name_sights(spots: list[Spot]) -> list[Sight]:
    """The visible objects, nearest first; at equal distance, straight ahead and left first."""
    occupied = [spot for spot in spots if spot.thing is not None and spot.thing.type != "wall"]
    occupied.sort(key=lambda spot: (spot.ahead + abs(spot.right), abs(spot.right), spot.right))
    sights: list[Sight] = []
    count: Counter[str] = Counter()
    for spot in occupied:
        if spot.thing is None or not (spot.ahead or spot.right):
            continue  # the player's own cell, if it stands in a doorway
        name = name_of(spot.thing)
        count[name] += 1
        sights.append(Sight(name, count[name], spot, spot.thing))
    return sights


def carries_key(game: Game, color: str) -> bool:
    """Whether the player carries the key of doors of this colour."""
    return is_key(game.carrying, color)


def is_key(thing: Thing, color: str) -> bool:
    """Whether a thing opens doors of a colour."""
    return thing is not None and thing.type == "key" and bool(thing.color == color)


def position(game: Game) -> Cell:
    """The player's cell."""
    x, y = game.agent_pos
    return int(x), int(y)


def front_of(pose: Pose) -> Cell:
    """The cell that a player with this pose faces."""
    x, y, heading = pose
    dx, dy = HEADINGS[heading]
    return x + dx, y + dy


def passable(thing: Thing) -> bool:
    """Whether the player can enter a cell that holds this thing."""
    return thing is None or bool(thing.can_overlap())


class GridWorld:
    """A game with its state and the cells that the player has seen.

    Attributes:
        game: minigrid's environment, unwrapped.
        seen: The cells seen at the start and after each action, not those seen on the way.
            Only the player changes the grid, so their content is known.
        done: Whether the game is over.
        success: Whether the mission is done.
        steps: The number of primitive actions so far.
        spots: The visible cells.
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.seen: set[Cell] = set()
        self.done = False
        self.success = False
        self.steps = 0
        self.spots: list[Spot] = []
        self._look()

    def carry_out(self, path: Iterable[Primitive]) -> None:
        """Carry out primitive actions until the game ends, then update the view."""
        for primitive in path:
            if self._play(primitive):
                break
        self._look()

    def carry_out_one(self, primitive: Primitive) -> bool:
        """Carry out one primitive action, even if the game has ended, and update the view.

        Returns:
            Whether the game says, after this action, that it has ended.
        """
        ended = self._play(primitive)
        self._look()
        return ended

    def _play(self, primitive: Primitive) -> bool:
        _, reward, terminated, _, _ = self.game.step(primitive)
        self.steps += 1
        if terminated and not self.done:
            self.done = True
            self.success = float(reward) > 0
        return bool(terminated)

    def pose_after(self, path: Iterable[Primitive]) -> Pose:
        """The pose after some turns and steps, if nothing else changes."""
        x, y, heading = self.pose
        for primitive in path:
            if primitive is Primitive.LEFT:
                heading = (heading + 3) % 4
            elif primitive is Primitive.RIGHT:
                heading = (heading + 1) % 4
            elif primitive is Primitive.FORWARD:
                after = front_of((x, y, heading))
                x, y = after if passable(self.at(after)) else (x, y)
        return x, y, heading

    def imagine(self, pose: Pose, known: Container[Cell]) -> GridWorld:
        """A copy of this world as seen from another pose. The copy shares the grid.

        Args:
            pose: The pose of the player in the copy.
            known: The cells that may be visible in the copy.
        """
        other = copy.copy(self)
        other.game = copy.copy(self.game)
        other.game.agent_pos, other.game.agent_dir = pose[:2], pose[2]
        other.spots = [spot for spot in field_of_view(other.game) if spot.cell in known]
        other.seen = self.seen.union(spot.cell for spot in other.spots)
        return other

    def _look(self) -> None:
        self.spots = field_of_view(self.game)
        self.seen.update(spot.cell for spot in self.spots)

    @property
    def sights(self) -> list[Sight]:
        """The visible objects, in the order of the observation."""
        return name_sights(self.spots)

    @property
    def pose(self) -> Pose:
        """The player's cell and direction."""
        return (*position(self.game), int(self.game.agent_dir))

    @property
    def front(self) -> Cell:
        """The cell that the player faces."""
        return front_of(self.pose)

    def at(self, cell: Cell) -> Thing:
        """The thing in a cell of the grid, or None."""
        return self.game.grid.grid[cell[1] * self.game.width + cell[0]]
