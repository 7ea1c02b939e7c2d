"""AgeMem-ALFWorld: household tasks in a text world."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agemem_envs.data import (
    ENVIRONMENT_VARIABLE,
    agentboard_rows,
    data_folder,
    reading,
    warn_embedded,
)
from agemem_envs.episode import DataSource
from agemem_envs.errors import (
    DataFormatError,
    DataNotFoundError,
    UnknownNameError,
    require_installed,
)
from agemem_envs.tasks.alfworld.agentboard import NOTHING, AgentBoardHouse, guide
from agemem_envs.tasks.alfworld.generator import SPLITS, TASK_TYPES, VERSION, goal_classes
from agemem_envs.tasks.alfworld.houses import House, kind
from agemem_envs.tasks.alfworld.knowledge import OTHER_HOUSES, make_stage_messages, method
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Outcome, Talk, TaskSpec
from agemem_envs.tasks.catalogue import CataloguedTask, GeneratedIds, ListedIds
from agemem_envs.tasks.dwellings import Messages, tell_dwellings
from agemem_envs.tasks.rules import AGENTBOARD, LIST_ACTIONS, NATIVE, is_agentboard, with_rules
from agemem_envs.util.sanitize import sendable
from agemem_envs.util.workers import Simulator

ALIASES = {"validation": "valid_seen", "test": "valid_unseen"}
FOLDER = "json_2.1.1"
GAME = "game.tw-pddl"
REMEDY = (
    "Run alfworld-download, or set $ALFWORLD_DATA (or "
    f"${ENVIRONMENT_VARIABLE}, to the folder above one named alfworld) to a folder with "
    f"{FOLDER}/valid_unseen and so on, or pass data=<that folder>."
)
CALL_TIMEOUT = 300.0
_MAX_COMMAND = 200
_SOLVABLE = re.compile(rb'"solvable":\s*(true|false|null)')
_TAIL = 65_536
_TAKE = re.compile(r"take (\w+ \d+) from (\w+ \d+)")
_PUT = re.compile(r"(?:put|move) (.+?) (?:in/on|into|onto|in|on|to) (.+)")
DISTRACTORS = len(OTHER_HOUSES)
OWNED = "You are in the house of the {owner} family. {goal} How it is done: {method}"

ACTIONS = (
    "go to <place>, open <place>, close <place>, take <thing> from <place>, {put}, "
    "clean|heat|cool <thing> with <place>, slice <thing> with <knife>, use <lamp>, "
    "examine <thing or place>, inventory, look"
)


@dataclass(frozen=True, slots=True)
class Game:
    """A game to play.

    Attributes:
        task_type: One of ALFWorld's six.
        target: The class of the things to find, in lower case; empty if generated.
        path: The game's file; None if generated.
        number: The number of a generated game.
    """

    task_type: str
    target: str = ""
    path: Path | None = None
    number: int = 0


class ALFWorldTask(CataloguedTask):
    """ALFWorld (Shridhar et al. 2021): household tasks in TextWorld, from ALFRED's scenes.

    - Task: one of six types: put a thing, two things, or a cleaned, heated or cooled thing
      somewhere, or look at a thing under a lamp.
    - Actions: ALFWorld's commands, one an answer: "go to shelf 1", "take mug 1 from shelf
      1", "heat mug 1 with microwave 1" and so on. Games of 0.4.2 say "move X to Y", older
      ones "put X in/on Y"; both forms work in both.
    - Observation: the simulator's text; "Nothing happens." after an impossible command.
    - Success: the goal holds (``won``, never ``done``). Progress and score: 1 on success.
    - Stage 1 tells the places of the needed things, the steps of the task type, and the places
      of other things; stage 2 places of things in other houses.
    - With ``facts``: stage 1 tells who lives where, and what is where, for this house and for
      those of other games of the split. The needed statements are whose house it is and where
      the things are that the walkthrough takes, with the lamp that it uses. Each house's other
      things of these classes are left out, and things that are in two receptacles. A wrong
      statement names a receptacle of the house that could hold the thing and holds none of
      its class. Stage 2 tells the same of further houses. The query names the owner, and
      tells the steps of the task type. The expert's number of actions is the walkthrough's.
    - Splits: ``train`` (3,553 games), ``valid_seen`` (140; also ``validation``),
      ``valid_unseen`` (134; also ``test``). Task ids are the games' paths in the split.
    - Data source: ``data`` argument, ``$ALFWORLD_DATA``, ``$AGEMEM_DATA/alfworld``,
      ``alfworld-download``'s cache; else unlimited games from
      :mod:`~agemem_envs.tasks.alfworld.generator`. ALFWorld and ALFRED: MIT.
    - Expert: the game's walkthrough (generated games have one), or TextWorld's planner if there
      is none or after a departure from it. Explorer: ALFWorld's handcoded expert, which
      searches; its error after "move", by which it fails two-object tasks, is corrected.
    - Left out, as in ALFWorld: games with movable receptacles, sliced objects or no solution.

    Args:
        split: See above.
        data: ``auto``, ``embedded``, or a folder with the splits.
        facts: The least number of statements in stage 1, about several houses; 0 for a few
            about this house alone.
        updates: How many of these statements change, if ``facts`` is set.
        distractors: Messages of stage 2; without ``facts`` at most so many.
        fast: Whether to memoise TextWorld's slow pure functions, which changes no text.
        rules: ``native``, or ``agentboard``: AgentBoard's help command, replies and progress
            (:mod:`~agemem_envs.tasks.alfworld.agentboard`).

    Raises:
        UnknownNameError: The split or the rules are unknown.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data holds no playable game.
        ConfigurationError: A number is negative, or the rules do not fit the other arguments.
        MissingDependencyError: alfworld is not installed.
    """

    name = "alfworld"
    interactive = True
    default_task_rounds = 45
    default_task_actions = 30

    def __init__(
        self,
        split: str = "valid_unseen",
        data: str | os.PathLike[str] = "auto",
        fast: bool = True,
        facts: int = 0,
        updates: int = 0,
        distractors: int = DISTRACTORS,
        rules: str = NATIVE,
    ) -> None:
        self._amounts = Amounts(facts, updates, distractors)
        self._by_agentboard = is_agentboard(rules, facts)
        self.variant = with_rules(self._amounts.differing(DISTRACTORS), rules)
        self._subgoals = _subgoals() if self._by_agentboard else {}
        self._board: AgentBoardHouse | None = None
        split = ALIASES.get(split, split)
        if split not in SPLITS:
            raise UnknownNameError("split", split, (*SPLITS, *ALIASES))
        require_installed("alfworld", "textworld", "psutil", extra="alfworld")
        self._split = split
        self._listed: ListedIds | None = None
        self._folder = _split_folder(os.fspath(data), split)
        if self._folder is None:
            self.source = DataSource(self.name, "embedded", split, VERSION, "alfworld_games")
        else:
            ids, version = _games(self._folder)
            self.source = DataSource(self.name, "file", split, version, f"{FOLDER}/{split}")
            self._listed = ListedIds(ids, str(self.source))
        self._generated = GeneratedIds(f"{{kind}}/{split}/", TASK_TYPES, str(self.source))
        self.catalogue = self._listed or self._generated
        self._simulator = Simulator(
            "agemem_envs.tasks.alfworld.simulator:AlfworldSimulator",
            {"fast": fast},
            timeout=CALL_TIMEOUT,
            max_megabytes=800,
        )
        self._admissible: Sequence[str] = ()

    def _game(self, task_id: str) -> Game:
        if self._folder is None or self._listed is None:
            task_type, number = self._generated.parse(task_id)
            return Game(task_type, number=number)
        self._listed.check(task_id)
        task_type, target = task_id.split("/")[0].split("-")[:2]
        return Game(task_type, target.lower(), path=self._folder / task_id / GAME)

    # -- playing one -------------------------------------------------------------------

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin a game."""
        game = self._game(task_id)
        self._simulator.begin()
        reply = self._start(game)
        room, _, goal = reply["observation"].partition("Your task is to: ")
        self._admissible = reply["admissible"]
        self._put = "put {} in/on {}" if reply["puts"] else "move {} to {}"
        messages = self._messages(task_id, reply, generator) if with_stage_messages else Messages()
        put = self._put.format("<thing>", "<place>")
        goal = _sentence(goal)
        if messages.owner:
            how = _sentence(method(game.task_type, self._put))
            goal = OWNED.format(owner=messages.owner, goal=goal, method=how)
        kinds = (reply["target"], reply["toggle"])
        spec = TaskSpec(
            id=task_id,
            query=f"{goal} Answer with one action at a time: {ACTIONS.format(put=put)}.",
            knowledge=messages.knowledge,
            distractors=messages.distractors,
            key_items=tuple(filter(None, (messages.owner, *kinds))),
            reference="",
            source=self.source,
            category=game.task_type,
            opening=room.partition("=-")[2].strip(),
            expert_actions=len(self._walkthrough(reply)) if self._amounts.facts else None,
        )
        if not self._by_agentboard:
            return spec
        patterns = self._subgoals.get(task_id, ())
        self._board = AgentBoardHouse(spec.opening, self._admissible, patterns)
        return guide(put).applied(spec, goal)

    def _messages(
        self, task_id: str, reply: dict[str, Any], generator: np.random.Generator
    ) -> Messages:
        """The messages of stages 1 and 2."""
        game = self._game(task_id)
        if self._amounts.facts:
            played = self._house(game, self._walkthrough(reply))
            houses = self._houses(task_id, generator)
            return tell_dwellings(played, houses, self._amounts, generator)
        knowledge, distractors = make_stage_messages(
            game.task_type,
            game.target or reply["target"],
            reply,
            self._put,
            self._other_houses(task_id, generator),
            self._amounts.distractors,
            generator,
        )
        return Messages("", tuple(map(Talk.of, knowledge)), tuple(map(Talk, distractors)))

    def _walkthrough(self, reply: dict[str, Any]) -> list[str]:
        """The game's walkthrough, or the planner's if it has none."""
        return list(reply["walkthrough"] or self._simulator.call("plan"))

    def _start(self, game: Game) -> dict[str, Any]:
        if game.path is None:
            method, arguments = "start_generated", (game.task_type, self._split, game.number)
            return dict(self._simulator.call(method, *arguments))
        return dict(
            self._simulator.call("start_file", str(game.path), game.task_type, _parameters(game))
        )

    def step(self, action: str) -> Outcome:
        """Carry out a command."""
        command = self._command(action)
        if self._board is not None and command == LIST_ACTIONS:
            return self._board.help()
        reply = self._simulator.call("step", command)
        observation, won = reply["observation"], reply["won"]
        self._admissible = reply["admissible"]
        if self._board is not None:
            return self._board.after(command, observation, won, self._admissible)
        refused = observation.startswith(NOTHING)
        return Outcome(observation, float(won), won, won, float(won), refused)

    def _command(self, action: str) -> str:
        """Convert an action to the simulator's spelling; other text is passed unchanged."""
        plain = " ".join(action[:_MAX_COMMAND].lower().split()).rstrip(".!")
        put = _PUT.fullmatch(plain)
        if plain not in self._admissible and put is not None:
            plain = self._put.format(*put.groups())
        return sendable(plain)

    def admissible_actions(self) -> Sequence[str]:
        """ALFWorld's admissible commands."""
        return self._admissible

    def expert_action(self) -> str | None:
        """The walkthrough's or the planner's next command."""
        action: str | None = self._simulator.call("expert")
        return action

    def explorer_action(self) -> str | None:
        """The handcoded expert's next command."""
        action: str | None = self._simulator.call("explore")
        return action

    def close(self) -> None:
        """Release the simulator. Calling it again has no effect."""
        self._simulator.close()

    # -- other games -------------------------------------------------------------------

    def _other_houses(
        self, task_id: str, generator: np.random.Generator
    ) -> Iterator[list[tuple[str, str]]]:
        """Things with their receptacles in drawn games; nothing for this game itself."""
        while True:
            other = self.sample_id(generator)
            yield self._glimpse(self._game(other)) if other != task_id else []

    def _houses(self, task_id: str, generator: np.random.Generator) -> Iterator[House]:
        """The houses of other games in random order, without end."""
        while True:
            other = self.sample_id(generator)
            if other != task_id:
                yield self._house(self._game(other), ())

    def _house(self, game: Game, walkthrough: Sequence[str]) -> House:
        """The house of a game.

        Args:
            game: The game.
            walkthrough: The commands of the expert; empty for a house that is not played, where
                the first things of the right classes stand for the needed ones.
        """
        if game.path is None:
            arguments = (game.task_type, self._split, game.number)
            survey = dict(self._simulator.call("survey_generated", *arguments))
        else:
            survey = dict(self._simulator.call("survey_file", str(game.path)))
            survey |= goal_classes(_parameters(game))
        contents = [(thing, place) for thing, place in survey["contents"]]
        wanted = 2 if game.task_type == "pick_two_obj_and_place" else 1
        taken = [pair for command in walkthrough for pair in _TAKE.findall(command)]
        found = [pair for pair in (*taken, *contents) if kind(pair[0]) == survey["target"]]
        lit = [pair for pair in contents if f"use {pair[0]}" in walkthrough]
        lamps = [*lit, *(pair for pair in contents if kind(pair[0]) == survey["toggle"])]
        return House(
            contents=contents,
            places=survey["places"],
            fits=frozenset(survey["fits"]),
            goal=survey["goal"],
            needed=[*list(dict.fromkeys(found))[:wanted], *lamps[:1]],
        )

    def _glimpse(self, game: Game) -> list[tuple[str, str]]:
        if game.path is None:
            return list(
                self._simulator.call("glimpse_generated", game.task_type, self._split, game.number)
            )
        return list(self._simulator.call("glimpse_file", str(game.path)))


def _subgoals() -> dict[str, tuple[str, ...]]:
    """AgentBoard's subgoals of each game, if its list is found."""
    folder = data_folder(AGENTBOARD)
    if folder is None or not (folder / "alfworld_test.jsonl").is_file():
        return {}
    rows, _ = agentboard_rows(folder, "alfworld")
    subgoals = {}
    for row in rows:
        with reading(row.where):
            subgoals[str(row.additional_info["description"])] = row.subgoals
    return subgoals


def _sentence(goal: str) -> str:
    text = goal.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _parameters(game: Game) -> dict[str, str]:
    """ALFRED's parameters, from the name of the game's folder."""
    assert game.path is not None
    parts = game.path.parent.parent.name.split("-")
    _, target, movable, goal, *_ = parts
    light = game.task_type == "look_at_obj_in_light"
    return {
        "object_target": target,
        "parent_target": "" if light else goal,
        "toggle_target": goal if light else "",
        "mrecep_target": "" if movable == "None" else movable,
    }


def _split_folder(data: str, split: str) -> Path | None:
    """Find the folder of a split's games; None for generated games.

    Raises:
        DataNotFoundError: The requested data, or a part of it, does not exist.
    """
    if data == "embedded":
        return None
    roots: list[Path] = []
    if data != "auto":
        roots = [Path(data)]
    elif os.environ.get("ALFWORLD_DATA"):
        roots = [Path(os.environ["ALFWORLD_DATA"])]
    else:
        folder = data_folder("alfworld")
        cache = Path("~/.cache/alfworld").expanduser()
        roots = [folder] if folder is not None else [cache] if (cache / FOLDER).is_dir() else []
    if not roots:
        warn_embedded("ALFWorld", REMEDY)
        return None
    for games in (roots[0] / FOLDER / split, roots[0] / split):
        if games.is_dir():
            return games
    raise DataNotFoundError(f"no ALFWorld games at {roots[0] / FOLDER / split}. {REMEDY}")


@functools.lru_cache(maxsize=8)
def _games(folder: Path) -> tuple[tuple[str, ...], str]:
    """List the ids of a folder's games, sorted, with a digest of their paths and sizes.

    Raises:
        DataFormatError: The folder holds no playable game.
    """
    digest = hashlib.sha256()
    ids = []
    for path in sorted(folder.glob(f"*/*/{GAME}")):
        task_id = path.parent.relative_to(folder).as_posix()
        task_type = task_id.split("-")[0]
        if "Sliced" in task_id or task_type not in TASK_TYPES or task_id.count("-") < 4:
            continue
        if not _is_solvable(path):
            continue
        ids.append(task_id)
        digest.update(f"{task_id} {path.stat().st_size}\n".encode())
    if not ids:
        raise DataFormatError(f"{folder} holds no playable game: expected <task>/<trial>/{GAME}")
    return tuple(ids), digest.hexdigest()[:12]


def _is_solvable(path: Path) -> bool:
    """Read ALFWorld's mark at the end of the file, without parsing the whole file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        marks = _SOLVABLE.findall(file.read())
    return not marks or marks[-1] == b"true"
