"""A competent player that knows how a task is done, but neither the building nor the orders."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from agemem_envs.tasks.scienceworld.routes import deeds, room_of, way

_DOOR = re.compile(r"A door to the ([a-z ]+) \(")
_NOUN = re.compile(
    r"^\t(?:a substance called |an? )?(?!an? |substance called|the agent|air\b)([a-z][\w ]*)",
    re.MULTILINE,
)
"""A thing in a room, as looking around names it."""
_BOX = re.compile(r"\b(\w+) box\b")
_FOCUS = "focus on "
LOOK = "look around"
WAIT = "wait1"
WAITS = 4
"""How often it waits for a thing to change, as living things do."""
_UNKNOWN = "No known action matches"
_AMBIGUOUS = "Ambiguous request"


class Searcher:
    """Plays the gold path's deeds, but has to find each room of it first.

    It walks through doors that it has seen, looks around in each new room, and goes on with the
    deeds when it stands in the room where they are done. Rooms that it has seen it finds again by
    the shortest way. Where the order leaves a choice, it guesses.

    Args:
        path: The actions of an expert.
        opening: The first observation.
        guesses_right: Whether its guess of the order is right.
        generator: Decides the order in which it searches.
    """

    def __init__(
        self,
        path: Sequence[str],
        opening: str,
        guesses_right: bool,
        generator: np.random.Generator,
    ) -> None:
        self._here = room_of(opening)
        self._deeds = deeds(path, self._here)
        self._done = 0
        self._right = guesses_right
        self._generator = generator
        self._looks: dict[str, str] = {}
        self._doors: dict[str, list[str]] = {}
        self._asked = ""
        self._tries = 0
        self._look(opening)

    def see(self, action: str, observation: str) -> None:
        """Take in the reply to an action."""
        if action == LOOK:
            self._look(observation)
        elif action.startswith("go to "):
            if observation.startswith("You move to"):
                self._here = action.removeprefix("go to ")
        elif observation.startswith(_AMBIGUOUS):
            self._asked = "0"
            return
        elif self._waits(action) or (observation.startswith(_UNKNOWN) and self._may_retry):
            self._tries += 1  # things change their names: it looks, and tries again
            self._looks.pop(self._here, None)
        else:
            self._done += 1
            self._tries = 0
        self._asked = ""

    def _waits(self, action: str) -> bool:
        """Whether an action only passes time until a thing has the name that it is to have."""
        return bool(self._tries) and action == WAIT and self._deed != WAIT

    @property
    def _may_retry(self) -> bool:
        return self._tries <= (WAITS if self._deed.startswith(_FOCUS) else 0)

    @property
    def _deed(self) -> str:
        """The next thing to do; empty if everything is done."""
        return self._deeds[self._done][1] if self._done < len(self._deeds) else ""

    def _look(self, observation: str) -> None:
        self._looks[self._here] = observation
        doors = _DOOR.findall(observation)
        order = self._generator.permutation(len(doors))
        self._doors[self._here] = [doors[index] for index in order]

    def action(self) -> str | None:
        """The next action; None if it has done everything."""
        if self._asked:
            return self._asked
        if self._here not in self._looks:
            return LOOK
        if self._done >= len(self._deeds):
            return None
        room, deed = self._deeds[self._done]
        if room == self._here:
            return self._adapted(deed)
        if room not in self._looks:  # where it is, the player does not know: only which are left
            room = self._next_room()
        rooms = way(self._doors, self._here, room)
        return f"go to {rooms[0]}" if rooms else LOOK

    def _next_room(self) -> str:
        """The nearest room that it has not seen; an empty text if there is none."""
        ways = [
            way(self._doors, self._here, door)
            for doors in self._doors.values()
            for door in doors
            if door not in self._looks
        ]
        return min(ways, key=len)[-1] if ways else ""

    def _adapted(self, deed: str) -> str:
        """The deed as this player does it: by its guess, and with today's names of things."""
        if not self._right:
            deed = self._by_wrong_guess(deed)
        if self._tries and deed.startswith(_FOCUS):
            return self._renamed(deed.removeprefix(_FOCUS).partition(" in ")[0])
        return deed

    def _by_wrong_guess(self, deed: str) -> str:
        """Takes the other box, or focuses on another thing."""
        boxes = _BOX.findall(self._looks[self._here])
        named = _BOX.search(deed)
        if named is not None and len(boxes) == 2 and named[1] in boxes:
            other = boxes[1 - boxes.index(named[1])]
            return deed.replace(named[0], f"{other} box")
        if len(boxes) == 2 or not deed.startswith(_FOCUS) or "thermometer" in deed:
            return deed
        names = _NOUN.findall(self._looks[self._here])
        others = [name for name in names if name not in deed]
        return _FOCUS + others[0] if others else deed

    def _renamed(self, name: str) -> str:
        """Focuses on the thing in the room that has all words of a name, or waits for it.

        After some waiting it takes the one that has the most words of the name.
        """
        words = set(name.split())
        names = _NOUN.findall(self._looks[self._here])
        best = max(names, key=lambda n: len(words & set(n.split())), default=name)
        if words <= set(best.split()) or self._tries > WAITS:
            return _FOCUS + best
        return WAIT
