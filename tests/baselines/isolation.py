"""Many memory systems at once: none may know what another was told.

    python -m tests.baselines.isolation NUMBER NAME [NAME ...]

plays one story into each named system, all at once in threads, and prints what each recalls
and holds as JSON. Run in several processes with different numbers, it shows whether systems of
different episodes share anything.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from agemem.baselines.gateway import Gateway
from agemem.baselines.scripted.model import complete
from tests.baselines.apart import make_any
from tests.baselines.facts import canary

PARTS = 3
Told = dict[str, list[str]]
"""What each system recalls and holds, by name."""


def play(number: int, names: Sequence[str]) -> Told:
    """Tell story ``number`` to a new system of each name, in parallel."""
    gateway = Gateway(complete)

    def one(name: str) -> list[str]:
        system = make_any(name, gateway)
        try:
            system.reset()
            for part in range(PARTS):
                system.observe(canary(number, part))
            return [*system.recall("Which canary sings which song?", 10), *system.memories()]
        finally:
            system.close()

    try:
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(one, names), strict=True))
    finally:
        gateway.close()


def strangers(told: Told, number: int, stories: int) -> list[str]:
    """Every text in which another of the stories shows."""
    others = [f"oom{other}" for other in range(stories) if other != number]
    return [text for texts in told.values() for text in texts if any(o in text for o in others)]


if __name__ == "__main__":
    print(json.dumps(play(int(sys.argv[1]), sys.argv[2:])))
