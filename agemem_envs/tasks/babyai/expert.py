"""A player of BabyAI that plans with the whole grid, or with the cells seen so far.

For each subgoal it reads the state of the game again: the next instruction, the cheapest way
to its object, and the first obstacle on that way (a closed door, a missing key, a thing in the
way). So it can continue from any state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Any

from agemem_envs.tasks.babyai.mission import kind_of, next_part
from agemem_envs.tasks.babyai.routes import neighbours, obstacles, route
from agemem_envs.tasks.babyai.subgoals import Interaction, Move, Subgoal, shortest_actions
from agemem_envs.tasks.babyai.world import (
    Cell,
    GridWorld,
    Pose,
    carries_key,
    door_state,
    is_key,
    position,
)

PORTABLE = ("key", "ball", "box")
RING: tuple[Cell, ...] = ((-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0))
"""Offsets from a cell to the eight cells around it, in order."""


class GridExpert:
    """Plans one subgoal after the other.

    Args:
        world: The game.
        informed: Whether it knows the whole grid, or only the cells seen so far.
    """

    def __init__(self, world: GridWorld, informed: bool) -> None:
        self._world = world
        self._informed = informed
        self._everything = frozenset(
            (x, y) for x in range(world.game.width) for y in range(world.game.height)
        )
        self._agenda: list[Move] = []
        self._course: tuple[Pose, int] | None = None

    def action(self) -> str | None:
        """The next action; None if it has none."""
        if not self._agenda or not self._is_on_course():
            subgoal = self.subgoal()
            self._agenda = (
                list(shortest_actions(self._world, subgoal, self._known)) if subgoal else []
            )
        if not self._agenda:
            return None
        move = self._agenda.pop(0)
        self._course = (move.pose, len(self._world.seen)) if move.pose else None
        return move.action

    def _is_on_course(self) -> bool:
        """Whether the last move had the planned result, and showed no new cells."""
        if self._course is None:
            return False
        pose, seen = self._course
        return pose == self._world.pose and (self._informed or seen == len(self._world.seen))

    @property
    def _known(self) -> Set[Cell]:
        return self._everything if self._informed else self._world.seen

    def subgoal(self) -> Subgoal | None:
        """The next subgoal of the mission; None if there is none."""
        instruction = next_part(self._world.game.instrs)
        subgoal = self._carry_out(instruction)
        if subgoal is None and not self._informed:
            subgoal = self._explore()
        return subgoal or self._open_a_box()

    # -- the four kinds of instruction -------------------------------------------------

    def _carry_out(self, instruction: Any) -> Subgoal | None:
        kind = kind_of(instruction)
        if kind == "PutNextInstr":
            return self._put_next(instruction)
        things = instruction.desc.obj_set
        if kind == "OpenInstr":
            return self._open(things)
        if kind == "PickupInstr":
            return self._reach(Interaction.PICK_UP, self._cells(things)) or self._release(things)
        return self._reach(Interaction.FACE, self._cells(things)) or self._release(things)

    def _open(self, doors: Iterable[Any]) -> Subgoal | None:
        subgoal = self._reach(Interaction.OPEN, self._cells(doors))
        if subgoal is not None and subgoal.interaction is Interaction.OPEN:
            door = self._world.at(subgoal.cell)
            if door_state(door) == "open":  # the mission counts only the opening
                return Subgoal(Interaction.TOGGLE, subgoal.cell)
            if door_state(door) == "locked" and not carries_key(self._world.game, door.color):
                return self._fetch_key(door.color, frozenset({subgoal.cell}))
        return subgoal

    def _put_next(self, instruction: Any) -> Subgoal | None:
        """Carry one thing to another. First clear the way, which needs empty hands."""
        movable = instruction.desc_move.obj_set
        places = self._places_beside(instruction.desc_fixed.obj_set)
        if any(self._world.game.carrying is thing for thing in movable):
            return next(
                filter(None, (self._reach(Interaction.DROP, cells) for cells in places)), None
            )
        nearest = self._way_to(frozenset(self._cells(movable)))
        if nearest is None or not any(places):
            return None
        ahead = next(
            filter(None, (self._way_to(cells, nearest[-1]) for cells in places if cells)), ()
        )
        for cell in obstacles(self._world, ahead):
            if needs_hands(self._world.at(cell)):
                subgoal = self._clear(cell, frozenset(), frozenset(ahead))
                if subgoal is not None:
                    return subgoal
        return self._reach(Interaction.PICK_UP, nearest[-1:], leave=frozenset(ahead))

    def _places_beside(self, things: Iterable[Any]) -> tuple[frozenset[Cell], frozenset[Cell]]:
        """The cells beside some things: the empty ones, and those that can be cleared."""
        cells = [place for cell in self._cells(things) for place in neighbours(cell)]
        known = [place for place in cells if place in self._known]
        at = self._world.at
        return (
            frozenset(place for place in known if at(place) is None),
            frozenset(place for place in known if getattr(at(place), "type", "wall") in PORTABLE),
        )

    def _way_to(self, cells: frozenset[Cell], start: Cell | None = None) -> tuple[Cell, ...] | None:
        keys = self._keys_in_reach()
        return route(self._world, cells.__contains__, self._known, keys=keys, start=start)

    def _release(self, things: Iterable[Any]) -> Subgoal | None:
        """If the player carries the wanted thing, put it down, to go to it or to pick it up."""
        held = any(self._world.game.carrying is thing for thing in things)
        return self._put_down() if held else None

    # -- what an instruction needs -----------------------------------------------------

    def _reach(
        self,
        interaction: Interaction,
        cells: Iterable[Cell],
        avoid: frozenset[Cell] = frozenset(),
        leave: frozenset[Cell] = frozenset(),
    ) -> Subgoal | None:
        """The interaction with the nearest of the cells, or a subgoal that must precede it.

        Args:
            interaction: What to do.
            cells: The cells to choose from.
            avoid: Cells not to cross.
            leave: Cells where nothing may be put down.
        """
        wanted = frozenset(cells)
        return self._approach(interaction, wanted.__contains__, avoid, leave) if wanted else None

    def _approach(
        self,
        interaction: Interaction,
        accept: Callable[[Cell], bool],
        avoid: frozenset[Cell] = frozenset(),
        leave: frozenset[Cell] = frozenset(),
    ) -> Subgoal | None:
        """Like :meth:`_reach`, with a predicate for the cells."""
        while True:
            way = route(self._world, accept, self._known, keys=self._keys_in_reach(), avoid=avoid)
            if way is None:
                return None
            leave |= set(way)
            blocked = obstacles(self._world, way[:-1])
            if not blocked:
                break
            subgoal = self._clear(blocked[0], avoid, leave)
            if subgoal is not None:
                return subgoal
            avoid |= {blocked[0]}
        goal = way[-1]
        if interaction is Interaction.PICK_UP and self._world.game.carrying is not None:
            return self._put_down(leave)
        if interaction is Interaction.DROP and self._world.at(goal) is not None:
            return self._clear(goal, avoid, leave)
        return Subgoal(interaction, goal)

    def _clear(
        self, cell: Cell, avoid: frozenset[Cell], leave: frozenset[Cell] = frozenset()
    ) -> Subgoal | None:
        """Open the door in a cell, or move the thing in it out of the way."""
        thing = self._world.at(cell)
        if thing.type != "door":
            full = self._informed and thing.contains is not None  # a box with a key
            return self._reach(
                Interaction.TOGGLE if full else Interaction.PICK_UP, {cell}, avoid, leave
            )
        if door_state(thing) == "closed" or carries_key(self._world.game, thing.color):
            return self._reach(Interaction.OPEN, {cell}, avoid, leave)
        return self._fetch_key(thing.color, avoid | {cell}, leave)

    def _fetch_key(
        self, color: str, avoid: frozenset[Cell], leave: frozenset[Cell] = frozenset()
    ) -> Subgoal | None:
        keys = [c for c in self._things() if is_key(self._world.at(c), color)]
        if keys:
            return self._reach(Interaction.PICK_UP, keys, avoid, leave)
        return self._reach(Interaction.TOGGLE, self._boxes_with(color), avoid, leave)

    def _put_down(self, leave: frozenset[Cell] = frozenset()) -> Subgoal | None:
        """Drop the carried thing at the nearest cell, if possible where it blocks no way.

        Args:
            leave: Cells that will be crossed next.
        """
        empty = frozenset(filter(self._is_empty, self._known))
        aside = frozenset(filter(self._out_of_the_way, empty))
        here = position(self._world.game)
        free = self._world.at(here) is None and not empty.isdisjoint(neighbours(here))
        behind = frozenset({here} if free else ())
        for cells in (aside - leave, empty - leave, behind, empty):
            way = route(self._world, cells.__contains__, self._known, free=True)
            if way is not None:
                return Subgoal(Interaction.DROP, way[-1])
        return None

    def _explore(self) -> Subgoal | None:
        known = self._known
        return self._approach(Interaction.FACE, lambda cell: cell not in known)

    def _open_a_box(self) -> Subgoal | None:
        """The last resort when all cells were seen: a key may be in a box."""
        carried = self._world.game.carrying
        if carried is not None and carried.type == "box":
            return self._put_down()
        boxes = [cell for cell in self._things() if self._world.at(cell).type == "box"]
        return self._reach(Interaction.TOGGLE, boxes)

    # -- what it knows -----------------------------------------------------------------

    def _things(self) -> list[Cell]:
        """The known cells that hold a thing, walls excluded."""
        at = self._world.at
        return sorted(c for c in self._known if getattr(at(c), "type", "wall") != "wall")

    def _cells(self, things: Iterable[Any]) -> list[Cell]:
        """The known cells of some objects."""
        wanted = {id(thing) for thing in things}
        return [cell for cell in self._things() if id(self._world.at(cell)) in wanted]

    def _keys_in_reach(self) -> frozenset[str]:
        """The colours of the keys whose places it knows."""
        things = [self._world.at(cell) for cell in self._things()]
        inside = [thing.contains for thing in things if self._informed and thing.type == "box"]
        return frozenset(t.color for t in (*things, *inside) if t is not None and t.type == "key")

    def _boxes_with(self, color: str) -> list[Cell]:
        at = self._world.at
        return [
            cell
            for cell in self._things()
            if self._informed and at(cell).type == "box" and is_key(at(cell).contains, color)
        ]

    def _is_empty(self, cell: Cell) -> bool:
        return self._world.at(cell) is None and cell != position(self._world.game)

    def _out_of_the_way(self, cell: Cell) -> bool:
        """Whether a thing in a cell would block no way around it."""
        at, known = self._world.at, self._known
        beside = neighbours(cell)
        if any(getattr(at(place), "type", "") == "door" for place in beside):
            return False
        ring = [(cell[0] + dx, cell[1] + dy) for dx, dy in RING]
        open_ = [place in known and at(place) is None for place in ring]
        if sum(a != b for a, b in zip(open_, open_[1:] + open_[:1], strict=True)) > 2:
            return False
        things = [p for p in beside if getattr(at(p), "type", "wall") != "wall"]
        return all(any(at(n) is None for n in neighbours(p) if n != cell) for p in things)


def needs_hands(thing: Any) -> bool:
    """Whether clearing a cell needs empty hands: to fetch a key, or to move a thing."""
    return thing.type != "door" or door_state(thing) == "locked"
