"""AgentBoard's rules of BabyAI: its list of actions, its replies, and its progress.

An action is a key of the present list, and stands for a path of primitive actions. The path ends
early at the first primitive action that changes nothing in view. Written after the behaviour of
AgentBoard (Ma et al. 2024), and tested against recordings of it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from agemem_envs.tasks.babyai.actions import Interpretation, Path, PrimitivePlan, path_to
from agemem_envs.tasks.babyai.text import objects_seen, surroundings
from agemem_envs.tasks.babyai.world import (
    HEADINGS,
    VIEW,
    Cell,
    GridWorld,
    Pose,
    Primitive,
    Spot,
    Thing,
    door_state,
    front_of,
    is_key,
    name_of,
    name_sights,
)
from agemem_envs.tasks.base import Outcome
from agemem_envs.tasks.rules import Guide, read_example, scored

Subgoals: TypeAlias = Sequence[Sequence[str]]
"""Alternative lists of patterns, of equal length."""

LIST_ACTIONS = "check available actions"
HELP = "check"
"""A text that contains this word lists the actions."""
LISTED = "You can take the following actions: {actions}"
UNKNOWN = "The action is not recognized. Please check valid actions."
UNCHANGED = "No change in state."
BARRIER = "There is a barrier in front of you, you can't move forward."
OCCUPIED = "You cannot drop the object, as there is already an object in front of you."
EMPTY_HANDS = "You cannot drop the object, as you are not carrying anything."
NO_PATH = "You cannot {action}, as there is no path leading to it."
SHUT = "You cannot {action}, as it is closed. You should toggle it first."
NO_KEY = "You cannot {action}, as you are not carrying a key."
WRONG_KEY = (
    "You cannot {action}, as the color of the key you are carrying does not match the color of "
    "door."
)
COMPLETED = "\n The task is completed."
NOTHING_SEEN = "You cannot see any objects within sight."
ENOUGH = 0.5
"""The game's end counts only with more progress than this."""

INSTRUCTION = """\
You are in a building of rooms, with doors, keys, balls and boxes, and have a mission. You see \
what is in front of you. Your actions are:
- turn left, turn right
- move forward
- go to <object> <number>
- pickup <object> <number>
- drop: puts what you carry on the place in front of you
- go through <open door> <number>
- toggle and go through <closed or locked door> <number>: a locked one needs the key of its colour
- toggle: opens the door right in front of you
Name an object as you see it, with its number. Actions that are not in the list of valid actions \
are refused."""

_PRIMITIVES = {
    Primitive.LEFT: "turn left",
    Primitive.RIGHT: "turn right",
    Primitive.FORWARD: "move forward",
    Primitive.TOGGLE: "toggle",
    Primitive.DROP: "drop",
}

PORTABLE = ("key", "ball", "box")
SOLID = ("wall", *PORTABLE)
"""Types of things that block a path. Doors do not: a path may lead through a closed one."""


@dataclass(slots=True)
class Menu:
    """What the player can do now.

    Attributes:
        paths: The primitive actions of each action, in the order in which they are listed.
        refusals: The replies to some actions that are not possible.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)


class AgentBoardGame:
    """A game of BabyAI under AgentBoard's rules.

    Args:
        world: The game, at its start.
        subgoals: The task's patterns: one list, or alternative lists of equal length. None of
            them may be empty.
    """

    def __init__(self, world: GridWorld, subgoals: Subgoals) -> None:
        self._world = world
        self._left = [list(patterns) for patterns in subgoals]
        self._count = len(self._left[0])
        self._found = 0
        self._done = False
        self.menu = make_menu(world)
        """The present actions."""

    @property
    def progress(self) -> float:
        """The fraction of the patterns that were found."""
        return self._found / self._count

    def step(self, text: str) -> Outcome:
        """Carry out an action. Any text is accepted."""
        action = text.lower().strip()
        if HELP in action:
            return self._outcome(LISTED.format(actions=", ".join(self.menu.paths)))
        if not action:
            return self._outcome(UNCHANGED, refused=True)
        if action not in self.menu.paths:
            return self._outcome(self.menu.refusals.get(action, UNKNOWN), refused=True)
        path = self.menu.paths[action]
        if not path:
            return self._outcome(UNCHANGED)
        return self._outcome(self._after(self._carry_out(path)))

    def possible(self, action: str, plan: Interpretation) -> str | None:
        """A possible action that begins an action of the native rules; None if there is none.

        Args:
            action: The action in the words of the native rules.
            plan: Its plan by these rules.
        """
        if not isinstance(plan, PrimitivePlan):
            return None
        same = action.replace("pick up", "pickup")
        if self.menu.paths.get(same):
            return same
        first = plan.path[0]
        if first is Primitive.PICKUP:
            return next((a for a, p in self.menu.paths.items() if p == (first,)), None)
        return _PRIMITIVES.get(first)

    def _carry_out(self, path: Path) -> bool:
        """Carry out a path. Return whether its last primitive action ended the game."""
        for primitive in path:
            before = picture(self._world)
            ended = self._world.carry_out_one(primitive)
            if picture(self._world) == before:
                break
        return ended

    def _after(self, ended: bool) -> str:
        """Update the progress after an action, and describe the view."""
        observation = describe(self._world) + (COMPLETED if ended else "")
        self._credit(observation)
        self._done = ended and self.progress > ENOUGH
        if not self._done and self.progress == 1.0:
            self._done = True
            observation += COMPLETED
        self.menu = make_menu(self._world)
        return observation

    def _credit(self, observation: str) -> None:
        """Credit the first pattern that holds, if any."""
        for index in range(len(self._left[0])):
            if any(matches(observation, patterns[index]) for patterns in self._left):
                self._found += 1
                for patterns in self._left:
                    del patterns[index]
                return

    def _outcome(self, observation: str, refused: bool = False) -> Outcome:
        return scored(observation, self.progress, self._done, refused=refused)


def guide() -> Guide:
    """The prompt."""
    return Guide(INSTRUCTION, read_example("agemem_envs.tasks.babyai"), inventory=True)


def goal_of(mission: str) -> str:
    """AgentBoard's words for a mission: it leaves out the order of the parts."""
    return mission.replace("then", "and").replace("after you", "and")


def matches(observation: str, pattern: str) -> bool:
    """Whether a pattern holds in an observation.

    Args:
        observation: A text.
        pattern: Pieces between ``**``, or between ``*`` if there is no ``**``. It holds if all
            pieces are in one sentence, in any order.
    """
    stripped = pattern.strip()
    pieces = [piece.strip(".") for piece in stripped.split("**" if "**" in stripped else "*")]
    return any(all(p in sentence for p in pieces) for sentence in observation.split("."))


def picture(world: GridWorld) -> tuple[object, ...]:
    """What the player sees, as minigrid's image holds it: the carried thing is in its own cell."""
    cells = (
        (spot.ahead, spot.right, None if spot.thing is None else spot.thing.encode())
        for spot in world.spots
        if spot.ahead or spot.right
    )
    carried = world.game.carrying
    return (None if carried is None else carried.encode(), *cells)


def describe(world: GridWorld) -> str:
    """Describe the view in AgentBoard's sentences."""
    spots = world.spots
    sees = any(spot.thing is not None and (spot.ahead or spot.right) for spot in spots)
    return (objects_seen(spots) if sees else NOTHING_SEEN) + surroundings(world.game, spots)


# -- the list of actions -------------------------------------------------------------------


def make_menu(world: GridWorld) -> Menu:
    """List the actions that are possible now, and the reasons why some others are not."""
    menu = Menu({"turn left": (Primitive.LEFT,), "turn right": (Primitive.RIGHT,)})
    barrier = next((s for s in _ahead(world) if s.thing.type in ("wall", "box")), None)
    if barrier is None or barrier.ahead > 1:
        menu.paths["move forward"] = (Primitive.FORWARD,)
    else:
        menu.refusals["move forward"] = BARRIER
    things = [sight.spot for sight in name_sights(world.spots)]
    search = _Search(world)
    ways = {spot.cell: search.to_face(spot.cell) for spot in things}
    if world.game.carrying is None:
        portable = [spot for spot in things if spot.thing.type in PORTABLE]
        _offer(menu, "pickup", portable, ways, (Primitive.PICKUP,))
        menu.refusals["drop"] = EMPTY_HANDS
    elif any(spot.ahead == 1 and spot.thing.type in SOLID for spot in _ahead(world)):
        menu.refusals["drop"] = OCCUPIED
    else:
        menu.paths["drop"] = (Primitive.DROP,)
    _offer_doors(menu, world, [s for s in things if s.thing.type == "door"], search)
    _offer(menu, "go to", things, ways, ())
    menu.paths[LIST_ACTIONS] = ()
    return menu


def _ahead(world: GridWorld) -> Iterator[Spot]:
    """The things straight ahead, nearest first."""
    return (s for s in world.spots if s.right == 0 and s.ahead and s.thing is not None)


def _offer(
    menu: Menu, verb: str, things: list[Spot], ways: dict[Cell, Path | None], last: Path
) -> None:
    """Offer an action for each thing. Numbers count only the things with a path."""
    count: Counter[str] = Counter()
    for spot in things:
        name, way = f"{verb} {name_of(spot.thing)}", ways[spot.cell]
        numbered = f"{name} {count[name] + 1}"
        if way is None:
            menu.refusals[numbered] = NO_PATH.format(action=numbered)
        else:
            menu.paths[numbered] = (*way, *last)
            count[name] += 1


def _offer_doors(menu: Menu, world: GridWorld, doors: list[Spot], search: _Search) -> None:
    count: dict[str, int] = {}
    for spot in doors:
        name = name_of(spot.thing)
        count[name] = count.get(name, 0) + 1
        through, opening = f"go through {name} {count[name]}", f"toggle and go through {name}"
        if door_state(spot.thing) == "open":
            way = search.to_enter(spot.cell)
            if way is None:
                menu.refusals[through] = NO_PATH.format(action=through)
            else:
                menu.paths[through] = way
            continue
        refusal = _lock(world.game.carrying, spot.thing)
        if refusal:
            action = f"{opening} {count[name]}"
            menu.refusals[action] = refusal.format(action=action)
            continue
        way = search.to_face(spot.cell)
        if way is None:  # AgentBoard prints all counts here, not the door's number
            action = f"{opening} {count}"
            menu.refusals[f"{opening} {count[name]}"] = NO_PATH.format(action=action)
        else:
            menu.paths[f"{opening} {count[name]}"] = (*way, Primitive.TOGGLE, Primitive.FORWARD)
        if way == ():
            menu.paths["toggle"] = (Primitive.TOGGLE,)
        if door_state(spot.thing) == "closed":
            menu.refusals[through] = SHUT.format(action=through)


def _lock(carried: Thing, door: Thing) -> str:
    """The reply if a lock keeps the player from opening a door; empty if none does."""
    if door_state(door) != "locked" or is_key(carried, door.color):
        return ""
    return WRONG_KEY if carried is not None and carried.type == "key" else NO_KEY


class _Search:
    """AgentBoard's search for paths: over the square of the view, seen or not, and doors.

    Args:
        world: The game.
    """

    def __init__(self, world: GridWorld) -> None:
        self._start = world.pose
        self._columns, self._rows = view_ranges(world.pose)
        self._solid = {
            spot.cell
            for spot in world.spots
            if spot.thing is not None and spot.thing.type in SOLID and (spot.ahead or spot.right)
        }

    def to_face(self, cell: Cell) -> Path | None:
        """The path after which the player faces a cell; None if there is none."""
        return self._path(lambda pose: front_of(pose) == cell)

    def to_enter(self, cell: Cell) -> Path | None:
        """The path into a cell; None if there is none."""
        return self._path(lambda pose: pose[:2] == cell)

    def _path(self, arrived: Callable[[Pose], bool]) -> Path | None:
        origin: dict[Pose, tuple[Pose, Primitive]] = {}
        visited: set[Pose] = set()
        queue = deque([self._start])
        while queue:
            pose = queue.popleft()
            visited.add(pose)
            if arrived(pose):
                return path_to(pose, origin)
            for primitive, after in _neighbours(pose):
                if after not in visited and self._is_free(after[:2]):
                    queue.append(after)
                    origin[after] = (pose, primitive)
        return None

    def _is_free(self, cell: Cell) -> bool:
        return cell[0] in self._columns and cell[1] in self._rows and cell not in self._solid


def view_ranges(pose: Pose) -> tuple[range, range]:
    """The columns and rows of the view's square, as AgentBoard computes them.

    On an axis that it counts downwards, one cell beyond the square belongs to them.
    """
    x, y, heading = pose
    forward, right = HEADINGS[heading], HEADINGS[(heading + 1) % 4]
    ranges = []
    for here, ahead, aside in zip((x, y), forward, right, strict=True):
        far = here + ahead * (VIEW - 1) - aside * (VIEW // 2)
        near = far + VIEW * (aside - ahead)
        ranges.append(range(near, far + 1) if near < far else range(far, near))
    return ranges[0], ranges[1]


def _neighbours(pose: Pose) -> tuple[tuple[Primitive, Pose], ...]:
    x, y, heading = pose
    return (
        (Primitive.FORWARD, (*front_of(pose), heading)),
        (Primitive.LEFT, (x, y, (heading + 3) % 4)),
        (Primitive.RIGHT, (x, y, (heading + 1) % 4)),
    )
