"""Ways through the building, and the gold path without what is not needed on the way."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

PASSAGES: Mapping[str, tuple[str, ...]] = {
    "art studio": ("hallway",),
    "bathroom": ("kitchen",),
    "bedroom": ("hallway",),
    "foundry": ("outside",),
    "greenhouse": ("hallway", "outside"),
    "hallway": ("art studio", "bedroom", "greenhouse", "kitchen", "living room", "workshop"),
    "kitchen": ("bathroom", "hallway", "outside"),
    "living room": ("hallway",),
    "outside": ("foundry", "greenhouse", "kitchen"),
    "workshop": ("hallway",),
}
"""The rooms that each room has a door to."""
MOVE = re.compile(r"go to (.+)")
_ROOM = re.compile(r"(?:This room is called the |This outside location is called the )([^.]+)\.")
_IDLE = re.compile(r"look around|open door to .+")


def room_of(observation: str) -> str:
    """The room that a look around describes; empty if the text is no such description."""
    match = _ROOM.search(observation)
    return match[1] if match else ""


def way(passages: Mapping[str, Iterable[str]], start: str, end: str) -> list[str]:
    """The rooms on a shortest way, without its start.

    Args:
        passages: The doors of each room, as far as they are known.
        start: The first room.
        end: The last room. If no way is known, the result is empty.
    """
    came_from = {start: start}
    queue = deque([start])
    while queue and end not in came_from:
        room = queue.popleft()
        for following in passages.get(room, ()):
            if following not in came_from:
                came_from[following] = room
                queue.append(following)
    rooms: list[str] = []
    while end in came_from and end != start:
        rooms.insert(0, end)
        end = came_from[end]
    return rooms


def deeds(path: Sequence[str], room: str) -> list[tuple[str, str]]:
    """The actions that are neither moves nor idle, each with the room where it is done.

    Args:
        path: All actions.
        room: Where the path begins.
    """
    found = []
    for action in path:
        move = MOVE.fullmatch(action)
        if move is not None:
            room = move[1]
        elif not _IDLE.fullmatch(action):
            found.append((room, action))
    return found


def shorter_versions(path: Sequence[str], room: str) -> list[list[str]]:
    """The path by shortest ways, and the path without idle actions: the shortest first.

    Args:
        path: The gold path.
        room: Where it begins.
    """
    direct: list[str] = []
    for place, action in deeds(path, room):
        direct += [f"go to {following}" for following in way(PASSAGES, room, place)]
        direct.append(action)
        room = place
    return [direct, [action for action in path if not _IDLE.fullmatch(action)]]
