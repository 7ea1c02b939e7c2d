"""AgeMem-BabyAI: BabyAI's levels, in AgentBoard's words and actions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

import numpy as np

from agemem_envs.data import (
    AgentBoardRow,
    agentboard_folder,
    agentboard_rows,
    agentboard_split,
)
from agemem_envs.episode import DataSource, Episode
from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    UnknownNameError,
)
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.babyai.actions import FORMS, Refusal, admissible, interpret
from agemem_envs.tasks.babyai.agentboard import AgentBoardGame, Subgoals, goal_of, guide
from agemem_envs.tasks.babyai.buildings import expert_actions, survey
from agemem_envs.tasks.babyai.expert import GridExpert
from agemem_envs.tasks.babyai.generator import (
    FLAWED,
    LARGE,
    RENAMED,
    level_ids,
    level_name,
    make_game,
)
from agemem_envs.tasks.babyai.knowledge import DISTRACTORS, make_stage_messages, rules
from agemem_envs.tasks.babyai.mission import named, parts
from agemem_envs.tasks.babyai.text import render_view
from agemem_envs.tasks.babyai.world import GridWorld
from agemem_envs.tasks.base import Outcome, Talk, Task, TaskSpec
from agemem_envs.tasks.catalogue import ListedIds, finite_count
from agemem_envs.tasks.dwellings import Dwelling, Messages, tell_dwellings
from agemem_envs.tasks.rules import AGENTBOARD, NATIVE, is_agentboard, with_rules
from agemem_envs.util.sanitize import natural_number

SEEDS: Mapping[str, range] = {
    "train": range(1_000_000_000, 2_000_000_000),
    "validation": range(2_000_000_000, 3_000_000_000),
    "test": range(3_000_000_000, 4_000_000_000),
}
"""The seeds of our splits: disjoint, and different from AgentBoard's."""
ALL = "all"
LEVELS = (ALL, "large")
"""The sets of levels."""
AGENTBOARD_SEEDS = range(1234, 1238)
"""The seeds of a level's rows in AgentBoard's list, in order."""
QUERY = "{mission}. Actions: {forms}. Name an object as you see it, with its number."
OWNED = (
    "You are at the entrance of the {owner} family's home. {mission}. Places you were told are "
    "seen from the entrance, in the direction that you face now. {rules} Answer with one action "
    "at a time: {forms}. Name an object as you see it, with its number."
)
IN_A_DISTRACTOR = 9
"""Statements in a message of stage 2."""
OVER = "The game is over."
DONE = " Your mission is done."
FAILED = " That was a mistake that cannot be undone: your mission has failed."


@dataclass(frozen=True, slots=True)
class _Entry:
    """A task: a level and the seed of its game."""

    level: str
    seed: int
    difficulty: str = ""
    subgoals: Subgoals = ()

    @property
    def id(self) -> str:
        return f"{self.level}:{self.seed}"


class BabyAITask(Task):
    """BabyAI (Chevalier-Boisvert et al. 2019) on minigrid, as AgentBoard plays it.

    - Task: a mission in a grid of rooms: go to, open, pick up or put next to each other
      coloured doors, balls, boxes and keys; one instruction or several in order.
    - Actions: those of :data:`~agemem_envs.tasks.babyai.actions.FORMS`, on visible
      objects, carried out along the shortest way over cells that were seen. minigrid's
      primitives (``left``, ``right``, ``forward``, ``pickup``, ``drop``, ``toggle``,
      ``done``) are accepted too. Case, spacing and final dots do not matter.
    - Observation: the effect of the action, then AgentBoard's sentences of the 7 x 7 view: the
      visible objects with their number and distance, nearest first; the wall or box ahead;
      the carried thing. ``agemem_envs.tasks.babyai.text.describe`` renders it.
    - Success: the mission is done, with minigrid's reward above 0. Progress and score: 1 on
      success, else 0.
    - Splits: train, validation and test, disjoint, 1e9 seeds each, with uniformly drawn
      levels (94 of minigrid's 96; in two debugging levels most missions are impossible, see
      ``FLAWED``); and agentboard, 112 tasks, 28 levels x 4 seeds, three of them from a flawed
      level. ``auto`` is agentboard if its list is found, else test. Task ids are
      ``<minigrid's id>:<seed>``. About one drawn game in a thousand is impossible too, for
      instance because a key lies behind its own lock.
    - Knowledge: the places of the mission's objects (the nearest, if several match), the
      doors on the way, locks and their keys, obstacles, and the rules of the mission; as
      noise, the places of other objects and the size of the building. Distractors: places
      in other buildings.
    - With ``facts``: stage 1 tells who lives where, and what is where, for this building and
      for those of other games of the split. The needed statements are whose building it is, and
      for the mission's objects (the nearest, if several match), the keys of locks on the way and
      whatever blocks it, the place of each and the doors on the way to it. Other objects are
      told if no other of their colour and type is in the building; also the colours of doors.
      A wrong statement names a place where nothing is, another door or another colour. Stage 2
      tells the same of further buildings. The query names the owner and tells the rules. The
      expert's number of actions is that of the informed expert.
    - With ``levels="large"``: the levels of :data:`~agemem_envs.tasks.babyai.generator.LARGE`,
      mazes in which knowing the places saves actions. AgentBoard's list has few games of them,
      so that ``auto`` is then test, whether or not the list is found.
    - Experts: :class:`~agemem_envs.tasks.babyai.expert.GridExpert`, which plans with the whole
      grid, or as the explorer with the cells seen so far.
    - Data source: minigrid (MIT); AgentBoard's list (GPL-2.0), which is not shipped.
    - Departures: minigrid's step limit, which counts primitive steps, is lifted; the
      environment limits the actions. The reply to an impossible action says so, and nothing
      changes. AgentBoard's GoToObjS6 is GoToObjS4 in today's minigrid.

    Args:
        split: ``auto``, ``train``, ``validation``, ``test`` or ``agentboard``.
        data: ``auto`` for ``$AGEMEM_DATA/agentboard``, or that folder.
        facts: The least number of statements in stage 1, about several buildings; 0 for a few
            about this building alone.
        updates: How many of these statements change, if ``facts`` is set.
        distractors: Messages of stage 2.
        levels: ``all`` or ``large``.
        rules: ``native``, or ``agentboard``: AgentBoard's actions, replies, progress and success
            (:mod:`~agemem_envs.tasks.babyai.agentboard`), for its list of tasks.

    Raises:
        ConfigurationError: A number is negative, or the rules do not fit the other arguments.
        UnknownNameError: The split, the set of levels or the rules are unknown.
        DataNotFoundError: AgentBoard's list is needed and does not exist.
        DataFormatError: The list does not follow its schema.
        MissingDependencyError: minigrid is not installed.
    """

    name = "babyai"
    interactive = True
    default_task_rounds = 45
    default_task_actions = 30

    def __init__(
        self,
        split: str = "auto",
        data: str | os.PathLike[str] = "auto",
        facts: int = 0,
        updates: int = 0,
        distractors: int = DISTRACTORS,
        levels: str = ALL,
        rules: str = NATIVE,
    ) -> None:
        splits = ("auto", AGENTBOARD, *SEEDS)
        if split not in splits:
            raise UnknownNameError("split", split, splits)
        if levels not in LEVELS:
            raise UnknownNameError("set of levels", levels, LEVELS)
        self._amounts = Amounts(facts, updates, distractors)
        self._by_agentboard = is_agentboard(rules, facts)
        chosen = f"levels={levels}" if levels != ALL else ""
        variant = ", ".join(filter(None, (self._amounts.differing(DISTRACTORS), chosen)))
        self.variant = with_rules(variant, rules)
        if self._by_agentboard:
            split = agentboard_split(split)
        if levels != ALL and split == "auto":
            split = "test"
        known = level_ids()
        self._levels = [n for n in known if n not in FLAWED and (levels == ALL or n in LARGE)]
        self._entries: dict[str, _Entry] = {}
        self._listed: ListedIds | None = None
        self._seeds = range(0)
        self.world: GridWorld | None = None
        """The present game; None before the first reset."""
        self._board: AgentBoardGame | None = None
        self._experts: dict[bool, GridExpert] = {}
        folder = agentboard_folder(self.name, split, os.fspath(data))
        if folder is not None:
            rows, version = agentboard_rows(folder, self.name)
            entries = _entries(rows, known)
            played = known if levels == ALL else self._levels
            self._entries = {entry.id: entry for entry in entries if entry.level in played}
            self.source = DataSource(self.name, "file", AGENTBOARD, version, "babyai_test.jsonl")
            self._listed = ListedIds(tuple(self._entries), str(self.source))
        else:
            split = "test" if split == "auto" else split
            self._seeds = SEEDS[split]
            version = metadata.version("minigrid")
            self.source = DataSource(self.name, "embedded", split, version, "minigrid")

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """Choose AgentBoard's tasks in a seeded order, or draw ``count`` tasks."""
        if self._listed is not None:
            return self._listed.choose(count, seed)
        size = finite_count(count, self.name)
        if seed < 0:
            raise ConfigurationError(f"seed must not be negative, got {seed}")
        generator = np.random.default_rng(seed)
        ids: dict[str, None] = {}
        while len(ids) < size:
            ids[self.sample_id(generator)] = None
        return list(ids)

    def sample_id(self, generator: np.random.Generator) -> str:
        """Draw one of AgentBoard's tasks, or a level and a seed of the split."""
        if self._listed is not None:
            return self._listed.sample(generator)
        level = self._levels[int(generator.integers(len(self._levels)))]
        return _Entry(level, self._seeds[int(generator.integers(len(self._seeds)))]).id

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin the game that a task id names."""
        entry = self._entry(task_id)
        self.world = world = GridWorld(make_game(entry.level, entry.seed))
        self._experts = {}
        messages = self._messages(entry, world, generator) if with_stage_messages else Messages()
        instructions = parts(world.game.instrs)
        mission = world.game.mission[:1].upper() + world.game.mission[1:]
        form = OWNED if messages.owner else QUERY
        known = self._amounts.facts > 0
        spec = TaskSpec(
            id=entry.id,
            query=form.format(
                owner=messages.owner,
                mission=mission,
                rules=rules(instructions),
                forms=", ".join(FORMS),
            ),
            knowledge=messages.knowledge,
            distractors=messages.distractors,
            key_items=tuple(filter(None, (messages.owner, *named(world.game.instrs)))),
            reference="",
            source=self.source,
            category=level_name(entry.level),
            difficulty=entry.difficulty,
            opening=render_view(world.game, world.spots),
            expert_actions=expert_actions(entry.level, entry.seed) if known else None,
        )
        if not self._by_agentboard:
            return spec
        self._board = AgentBoardGame(world, entry.subgoals)
        return guide().applied(spec, goal_of(world.game.mission))

    def _messages(
        self, entry: _Entry, world: GridWorld, generator: np.random.Generator
    ) -> Messages:
        """The messages of stages 1 and 2."""
        if self._amounts.facts:
            played = survey(entry.level, entry.seed)
            others = self._other_buildings(entry, generator)
            return tell_dwellings(played, others, self._amounts, generator, IN_A_DISTRACTOR)
        knowledge, distractors = make_stage_messages(world, self._amounts.distractors, generator)
        return Messages("", tuple(map(Talk.of, knowledge)), tuple(map(Talk, distractors)))

    def _other_buildings(self, entry: _Entry, generator: np.random.Generator) -> Iterator[Dwelling]:
        """The buildings of other games in random order, without end."""
        while True:
            other = self._entry(self.sample_id(generator))
            if other != entry:
                yield survey(other.level, other.seed)

    def step(self, action: str) -> Outcome:
        """Carry out an action, or reply why it is impossible."""
        world = self._playing()
        if self._board is not None:
            return self._board.step(action)
        if world.done:
            return self._outcome(OVER)
        answer = interpret(world, action)
        if isinstance(answer, Refusal):
            return self._outcome(answer.reason, refused=True)
        world.carry_out(answer.path)
        reply = answer.reply
        if world.done:
            reply += DONE if world.success else FAILED
        return self._outcome(reply)

    def admissible_actions(self) -> Sequence[str]:
        """The possible actions, sorted."""
        world = self._playing()
        if self._board is not None:
            return sorted(self._board.menu.paths)
        return [] if world.done else sorted(text for text, _ in admissible(world))

    def expert_action(self) -> str | None:
        """The next action of a player that knows the whole grid."""
        return self._possible(self._expert(informed=True).action())

    def explorer_action(self) -> str | None:
        """The next action of a player that knows the cells seen so far."""
        return self._possible(self._expert(informed=False).action())

    def _possible(self, action: str | None) -> str | None:
        """An action in the words of the rules."""
        if action is None or self._board is None:
            return action
        return self._board.possible(action, interpret(self._playing(), action))

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """Minigrid's own success, beside AgentBoard's."""
        if self._board is None:
            return {}
        return {"native_success": float(self._playing().success)}

    def close(self) -> None:
        """Drop the game."""
        self.world = None
        self._board = None
        self._experts = {}

    def _expert(self, *, informed: bool) -> GridExpert:
        if informed not in self._experts:
            self._experts[informed] = GridExpert(self._playing(), informed)
        return self._experts[informed]

    def _playing(self) -> GridWorld:
        if self.world is None:
            raise ConfigurationError("no game has begun: call reset() first")
        return self.world

    def _outcome(self, reply: str, refused: bool = False) -> Outcome:
        world = self._playing()
        value = float(world.success)
        return Outcome(
            observation=f"{reply} {render_view(world.game, world.spots)}",
            progress=value,
            success=world.success,
            done=world.done,
            score=value,
            refused=refused,
        )

    def _entry(self, task_id: str) -> _Entry:
        """Parse a task id.

        Raises:
            UnknownNameError: The split has no task with this id.
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


def _entries(rows: Sequence[AgentBoardRow], levels: Sequence[str]) -> list[_Entry]:
    """AgentBoard's rows as tasks: the k-th row of a level has its k-th seed."""
    entries: list[_Entry] = []
    counts: dict[str, int] = {}
    for row in rows:
        name = str(row.additional_info.get("subtask"))
        level = RENAMED.get(name, name)
        index = counts.get(level, 0)
        if level not in levels or index >= len(AGENTBOARD_SEEDS):
            raise DataFormatError(
                f"{row.where}: unexpected row {index + 1} of the level {name[:80]!r}"
            )
        counts[level] = index + 1
        entries.append(_Entry(level, AGENTBOARD_SEEDS[index], row.difficulty, _subgoals(row)))
    return entries


def _subgoals(row: AgentBoardRow) -> Subgoals:
    """The alternative lists of a row's patterns.

    Raises:
        DataFormatError: They are empty, or not of equal length.
    """
    lists = (row.subgoals,) if row.subgoals_1 is None else (row.subgoals, row.subgoals_1)
    if not row.subgoals or len(set(map(len, lists))) != 1:
        raise DataFormatError(f"{row.where}: the lists of subgoals are empty, or differ in length")
    return lists
