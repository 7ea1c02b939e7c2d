"""AgeMem-BabyAI: BabyAI's levels, in AgentBoard's words and actions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from agemem_envs.data import agentboard_folder, agentboard_rows
from agemem_envs.episode import DataSource
from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    UnknownNameError,
)
from agemem_envs.tasks.babyai.actions import FORMS, Refusal, admissible, interpret
from agemem_envs.tasks.babyai.expert import GridExpert
from agemem_envs.tasks.babyai.generator import FLAWED, RENAMED, level_ids, level_name, make_game
from agemem_envs.tasks.babyai.knowledge import make_stage_messages
from agemem_envs.tasks.babyai.text import render_view
from agemem_envs.tasks.babyai.world import GridWorld
from agemem_envs.tasks.base import Outcome, Task, TaskSpec
from agemem_envs.tasks.catalogue import ListedIds, finite_count
from agemem_envs.util.sanitize import natural_number

SEEDS: Mapping[str, range] = {
    "train": range(1_000_000_000, 2_000_000_000),
    "validation": range(2_000_000_000, 3_000_000_000),
    "test": range(3_000_000_000, 4_000_000_000),
}
"""The seeds of each split of our own, disjoint, and apart from AgentBoard's."""
AGENTBOARD = "agentboard"
AGENTBOARD_SEEDS = range(1234, 1238)
"""The seeds of a level's rows in AgentBoard's list, in their order."""
QUERY = "{mission}. Actions: {forms}. Name an object as you see it, with its number."
OVER = "The game is over."
DONE = " Your mission is done."
FAILED = " That was a mistake that cannot be undone: your mission has failed."


@dataclass(frozen=True, slots=True)
class _Entry:
    """A task: a level and the seed of its game."""

    level: str
    seed: int
    difficulty: str = ""

    @property
    def id(self) -> str:
        return f"{self.level}:{self.seed}"


class BabyAITask(Task):
    """BabyAI (Chevalier-Boisvert et al. 2019) on minigrid, as AgentBoard plays it.

    - Task: a mission in a grid of rooms: go to, open, pick up or put next to each other
      coloured doors, balls, boxes and keys, alone or several in order.
    - Actions: those of :data:`~agemem_envs.tasks.babyai.actions.FORMS`, on objects that are
      visible, carried out along the shortest way over cells that were seen. minigrid's
      primitives (``left``, ``right``, ``forward``, ``pickup``, ``drop``, ``toggle``,
      ``done``) are accepted too. Case, spacing and final dots do not matter.
    - Observation: what an action did, then AgentBoard's sentences of the 7 x 7 view: the
      visible objects with their number and distance, nearest first; the wall or box ahead;
      what is carried. ``agemem_envs.tasks.babyai.text.describe`` renders it.
    - Success: the mission is done, with minigrid's reward above 0. Progress and score: 1 on
      success, else 0.
    - Splits: train, validation and test, a thousand million seeds each and disjoint, with
      the levels drawn uniformly (94 of minigrid's 96: of two debugging levels most missions
      cannot be done, see ``FLAWED``); and agentboard, 112 tasks, 28 levels x 4 seeds, of
      which three are such ones. ``auto`` is agentboard where its list is found, else test.
      Task ids are ``<minigrid's id>:<seed>``. About one drawn game in a thousand cannot
      be done either, say because a key lies behind its own lock.
    - Knowledge: the places of the mission's objects (of several alike, the nearest), the
      doors on the way, locks and their keys, what blocks the way, how such a mission is
      done; the rest are other objects' places and the building's size. Distractors: places
      in other buildings.
    - Experts: :class:`~agemem_envs.tasks.babyai.expert.GridExpert`, which plans with the whole
      grid, or as the explorer with what the replies have shown so far.
    - Data source: minigrid (MIT); AgentBoard's list (GPL-2.0), which is not shipped.
    - Departures: minigrid's step limit is lifted, since it counts primitive steps; the
      number of actions is the environment's. An action that cannot be carried out is told
      so and changes nothing. AgentBoard's GoToObjS6 is minigrid's GoToObjS4 of today.

    Args:
        split: ``auto``, ``train``, ``validation``, ``test`` or ``agentboard``.
        data: ``auto`` for ``$AGEMEM_DATA/agentboard``, or that folder.

    Raises:
        UnknownNameError: There is no such split.
        DataNotFoundError: AgentBoard's list was asked for and is not there.
        DataFormatError: It is there in another schema.
        MissingDependencyError: minigrid is not installed.
    """

    name = "babyai"
    interactive = True
    default_task_rounds = 45
    default_task_actions = 30

    def __init__(self, split: str = "auto", data: str | os.PathLike[str] = "auto") -> None:
        known = ("auto", AGENTBOARD, *SEEDS)
        if split not in known:
            raise UnknownNameError("split", split, known)
        levels = level_ids()
        self._levels = [level for level in levels if level not in FLAWED]
        self._entries: dict[str, _Entry] = {}
        self._listed: ListedIds | None = None
        self._seeds = range(0)
        self._world: GridWorld | None = None
        self._experts: dict[bool, GridExpert] = {}
        folder = agentboard_folder(self.name, split, os.fspath(data))
        if folder is not None:
            rows, version = agentboard_rows(folder, self.name)
            self._entries = {entry.id: entry for entry in _entries(rows, levels)}
            self.source = DataSource(self.name, "file", AGENTBOARD, version, "babyai_test.jsonl")
            self._listed = ListedIds(tuple(self._entries), str(self.source))
        else:
            split = "test" if split == "auto" else split
            self._seeds = SEEDS[split]
            version = metadata.version("minigrid")
            self.source = DataSource(self.name, "embedded", split, version, "minigrid")

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """AgentBoard's tasks in a seeded order, or as many drawn ones as are asked for."""
        if self._listed is not None:
            return self._listed.choose(count, seed)
        size = finite_count(count, self.name)
        if seed < 0:
            raise ConfigurationError(f"seed must not be negative, got {seed}")
        generator = np.random.default_rng(seed)
        chosen: dict[str, None] = {}
        while len(chosen) < size:
            chosen[self.sample_id(generator)] = None
        return list(chosen)

    def sample_id(self, generator: np.random.Generator) -> str:
        """Any of AgentBoard's tasks, or any level with any seed of the split."""
        if self._listed is not None:
            return self._listed.sample(generator)
        level = self._levels[int(generator.integers(len(self._levels)))]
        return _Entry(level, self._seeds[int(generator.integers(len(self._seeds)))]).id

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin the game that a task id names."""
        entry = self._entry(task_id)
        self._world = world = GridWorld(make_game(entry.level, entry.seed))
        self._experts = {}
        knowledge, distractors = (
            make_stage_messages(world, generator) if with_stage_messages else ((), ())
        )
        mission = world.game.mission
        return TaskSpec(
            id=entry.id,
            query=QUERY.format(mission=mission[:1].upper() + mission[1:], forms=", ".join(FORMS)),
            knowledge=knowledge,
            distractors=distractors,
            reference="",
            source=self.source,
            category=level_name(entry.level),
            difficulty=entry.difficulty,
            opening=render_view(world.game, world.spots),
        )

    def step(self, action: str) -> Outcome:
        """Carry out an action, or say why it cannot be."""
        world = self._playing()
        if world.done:
            return self._outcome(OVER)
        answer = interpret(world, action)
        if isinstance(answer, Refusal):
            return self._outcome(answer.reason)
        world.carry_out(answer.path)
        reply = answer.reply
        if world.done:
            reply += DONE if world.success else FAILED
        return self._outcome(reply)

    def admissible_actions(self) -> Sequence[str]:
        """The actions that can be carried out now, sorted."""
        world = self._playing()
        return [] if world.done else sorted(text for text, _ in admissible(world))

    def expert_action(self) -> str | None:
        """The next action of a player who knows the whole grid."""
        return self._expert(informed=True).action()

    def explorer_action(self) -> str | None:
        """The next action of a player who knows what was seen so far."""
        return self._expert(informed=False).action()

    def close(self) -> None:
        """Forget the game."""
        self._world = None
        self._experts = {}

    def _expert(self, *, informed: bool) -> GridExpert:
        if informed not in self._experts:
            self._experts[informed] = GridExpert(self._playing(), informed)
        return self._experts[informed]

    def _playing(self) -> GridWorld:
        if self._world is None:
            raise ConfigurationError("no game is under way: call reset() first")
        return self._world

    def _outcome(self, reply: str) -> Outcome:
        world = self._playing()
        value = float(world.success)
        return Outcome(
            observation=f"{reply} {render_view(world.game, world.spots)}",
            progress=value,
            success=world.success,
            done=world.done,
            score=value,
        )

    def _entry(self, task_id: str) -> _Entry:
        """The level and seed of a task id.

        Raises:
            UnknownNameError: It is not of this split.
        """
        if self._listed is not None:
            self._listed.check(task_id)
            return self._entries[task_id]
        level, _, digits = task_id.rpartition(":")
        seed = natural_number(digits)
        if level not in self._levels or seed is None or seed not in self._seeds:
            where = f"{self._seeds.start} <= seed < {self._seeds.stop}"
            raise UnknownNameError("task id", task_id, [f"<level>:<seed>, {where}"])
        return _Entry(level, seed)


def _entries(rows: Sequence[Mapping[str, object]], levels: Sequence[str]) -> list[_Entry]:
    """AgentBoard's rows as tasks: the k-th row of a level has its k-th seed."""
    entries: list[_Entry] = []
    counts: dict[str, int] = {}
    for row in rows:
        info = row["additional_info"]
        name = str(info.get("subtask")) if isinstance(info, Mapping) else ""
        level = RENAMED.get(name, name)
        index = counts.get(level, 0)
        if level not in levels or index >= len(AGENTBOARD_SEEDS):
            raise DataFormatError(f"AgentBoard's list has a row {index + 1} of level {name!r}")
        counts[level] = index + 1
        entries.append(_Entry(level, AGENTBOARD_SEEDS[index], str(row.get("difficulty", ""))))
    return entries
