"""Ways through a BabyAI grid, which may include closed doors and obstacles."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterator
from itertools import count

from agemem_envs.tasks.babyai.world import (
    HEADINGS,
    Cell,
    GridWorld,
    carries_key,
    door_state,
    passable,
    position,
)

STEP_COST = 1
DOOR_COST = 2
"""Cost of opening a door that needs no further subgoal."""
SUBGOAL_COST = 12
"""Cost of fetching a key, or of moving a thing out of the way: about their steps."""


def route(
    world: GridWorld,
    accept: Callable[[Cell], bool],
    known: Container[Cell],
    *,
    keys: Container[str] = (),
    avoid: Container[Cell] = (),
    free: bool = False,
    start: Cell | None = None,
) -> tuple[Cell, ...] | None:
    """Find the cheapest way to a cell.

    Args:
        world: The game.
        accept: Whether a cell is a goal, whatever it holds.
        known: The cells that the way may cross.
        keys: Colours of the locked doors whose key can be fetched.
        avoid: Cells that the way must not cross.
        free: Whether the way may cross only cells that can be entered as they are.
        start: The first cell, by default the player's.

    Returns:
        The cells to enter, the goal last; the goal alone if the way starts there; None if
        there is no way.
    """
    start = position(world.game) if start is None else start
    origin: dict[Cell, Cell] = {}
    for cell in _settled(world, start, origin, known, keys, avoid, free):
        if accept(cell):
            return _trace(origin, cell)
    return None


def routes(
    world: GridWorld, known: Container[Cell], *, keys: Container[str] = ()
) -> dict[Cell, tuple[Cell, ...]]:
    """Find the cheapest way from the player to each cell that has one, like :func:`route`."""
    origin: dict[Cell, Cell] = {}
    settled = _settled(world, position(world.game), origin, known, keys)
    return {cell: _trace(origin, cell) for cell in settled}


def _settled(
    world: GridWorld,
    start: Cell,
    origin: dict[Cell, Cell],
    known: Container[Cell],
    keys: Container[str],
    avoid: Container[Cell] = (),
    free: bool = False,
) -> Iterator[Cell]:
    """The cells by their cost, each once its way is in ``origin``; see :func:`route`."""
    heading = int(world.game.agent_dir)
    best = {start: 0}
    tie = count()
    heap = [(0, next(tie), start)]
    while heap:
        cost, _, cell = heapq.heappop(heap)
        if cost > best[cell]:
            continue
        yield cell
        if cell not in known or (cell != start and cell in avoid):
            continue
        toll = 0 if cell == start else _toll(world, cell, keys, free)
        if toll is None:
            continue
        for turn in (0, 3, 1, 2):  # straight on before left, right and back
            dx, dy = HEADINGS[(heading + turn) % 4]
            after = (cell[0] + dx, cell[1] + dy)
            total = cost + STEP_COST + toll
            if _inside(world, after) and total < best.get(after, 1 << 30):
                best[after] = total
                origin[after] = cell
                heapq.heappush(heap, (total, next(tie), after))


def obstacles(world: GridWorld, way: tuple[Cell, ...]) -> list[Cell]:
    """The cells of a way that cannot be entered as they are."""
    return [cell for cell in way if not passable(world.at(cell))]


def neighbours(cell: Cell) -> list[Cell]:
    """The four cells beside a cell."""
    return [(cell[0] + dx, cell[1] + dy) for dx, dy in HEADINGS]


def _toll(world: GridWorld, cell: Cell, keys: Container[str], free: bool) -> int | None:
    """The cost of making a cell passable; None if that is impossible."""
    thing = world.at(cell)
    if passable(thing):
        return 0
    if free or thing.type == "wall":
        return None
    if thing.type != "door":
        return SUBGOAL_COST
    if door_state(thing) == "closed" or carries_key(world.game, thing.color):
        return DOOR_COST
    return SUBGOAL_COST if thing.color in keys else None


def _inside(world: GridWorld, cell: Cell) -> bool:
    return bool(0 <= cell[0] < world.game.width and 0 <= cell[1] < world.game.height)


def _trace(origin: dict[Cell, Cell], cell: Cell) -> tuple[Cell, ...]:
    way = [cell]
    while cell in origin:
        cell = origin[cell]
        way.append(cell)
    way.reverse()
    return tuple(way[1:] or way)
