"""ALFWorld's simulator, TextWorld; a worker process hosts this module's class.

Three of TextWorld's pure functions are memoised, a translation that only its planner needs is
delayed until the planner is called, and garbage is collected less often. None of this changes an
observation or a command (a test replays games with and without it).
"""

from __future__ import annotations

import copy
import functools
import gc
import os
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agemem_envs.data import read_text, reading
from agemem_envs.errors import AgeMemError, DataFormatError
from agemem_envs.tasks.alfworld.expressions import evaluate
from agemem_envs.tasks.alfworld.generator import generate, goal_classes, walkthrough
from agemem_envs.util.records import parse_json

MEMOISED_TEXTS = 8192
MEMOISED_HOUSES = 512
"""Surveyed games in memory, about 20 kB each."""
MEMOISED_GAMES = 8
"""Translated games in memory, about 5 MB each; a group of rollouts plays the same game."""
EXPLORER_STEPS = 1000
"""Steps after which the handcoded expert gives up; the environment ends long before."""
Reply = dict[str, Any]
_INSTANCE = re.compile(r"\w+?_bar_\w+")
_HELD = re.compile(r"\(inreceptacle (\w+_bar_\w+) (\w+_bar_\w+)\)")
_STANDING = re.compile(r"\(receptacleatlocation (\w+_bar_\w+) ")
_FITS = re.compile(r"\(cancontain (\w+)type (\w+)type\)")
_IN_RECEPTACLE = re.compile(r"\(inReceptacle ([A-Za-z]+)_bar_\S+ ([A-Za-z]+)_bar_[^\s)]+\)")


class AlfworldSimulator:
    """Simulates one game of ALFWorld at a time, in this process.

    Args:
        fast: Whether to apply the optimisations; False to test that they change nothing.
    """

    def __init__(self, fast: bool = True) -> None:
        # Importing alfworld creates this folder, by default in the home directory; it stays empty.
        os.environ["ALFWORLD_DATA"] = tempfile.mkdtemp()
        import textworld
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.envs.pddl import PddlEnv

        self._refused: list[DataFormatError] = []
        _run_no_code(self._refused)
        if fast:
            _memoise()
            # A translation makes a million objects and keeps most. Scanning the libraries'
            # own objects at each collection takes a third of its time.
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
        infos = textworld.EnvInfos(
            won=True, admissible_commands=True, facts=True, command_templates=True
        )
        self._pddl: Any = PddlEnv(infos)
        if fast:
            self._pddl.downward_lib = _LazyPlanner(self._pddl.downward_lib)
        self._env: Any = AlfredDemangler(self._pddl, shuffle=False)
        self._explorer: Any = None

    def start_file(self, path: str, task_type: str, params: Reply) -> Reply:
        """Begin the game of a ``game.tw-pddl`` file."""
        try:
            return self._start(_game(path), task_type, params)
        except AgeMemError:
            raise
        except Exception as error:  # TextWorld asserts, and raises any exception
            raise DataFormatError(f"{path} cannot be played: {error!r}"[:400]) from error

    def start_generated(self, task_type: str, split: str, number: int) -> Reply:
        """Begin a game of :mod:`agemem_envs.tasks.alfworld.generator`."""
        game = generate(task_type, split, number)
        reply = self._start(game, task_type, game["pddl_params"])
        places = sorted({fact[1] for fact in self._facts() if fact[0] == "receptacleatlocation"})
        self._walkthrough = reply["walkthrough"] = walkthrough(
            task_type, game["pddl_params"], reply["contents"], places, reply["openable"]
        )
        return reply

    def _start(self, game: Reply, task_type: str, params: Reply) -> Reply:
        self._env.load(game)
        self._state = self._env.reset()
        self._check()
        self._last_command = ""
        self._played: list[str] = []
        self._walkthrough = list(game.get("walkthrough") or ())
        self._explorer = _explorer(task_type, params)
        if self._explorer is not None:
            random.seed(0)  # for the handcoded expert, the only user of it in this process
            self._explorer.observe(self._state["feedback"])
        return {
            **self._reply(),
            "walkthrough": self._walkthrough,
            "contents": self._contents(),
            **goal_classes(params),
            "puts": any(
                form.startswith("put {o} in/on") for form in self._state["command_templates"]
            ),
            "openable": sorted({fact[1] for fact in self._facts() if fact[0] == "openable"}),
        }

    def step(self, command: str) -> Reply:
        """Carry out a command; an inadmissible one changes nothing."""
        self._state, _, _ = self._env.step(command)
        self._check()
        self._last_command = command
        self._played.append(command)
        return self._reply()

    def _check(self) -> None:
        """Raise what an expression was refused for: TextWorld itself goes on after any error."""
        if self._refused:
            error = self._refused[0]
            self._refused.clear()
            raise error

    def _reply(self) -> Reply:
        return {
            "observation": str(self._state["feedback"]),
            "admissible": list(self._state["admissible_commands"]),
            "won": bool(self._state["won"]),
        }

    def glimpse_file(self, path: str) -> list[tuple[str, str]]:
        """The classes of a game's things and of their receptacles, without starting the game."""
        return _classes(_problem(path))

    def glimpse_generated(self, task_type: str, split: str, number: int) -> list[tuple[str, str]]:
        """Like :meth:`glimpse_file`, for a generated game."""
        return _classes(generate(task_type, split, number)["pddl_problem"])

    def survey_file(self, path: str) -> Reply:
        """The numbered things and receptacles of a game, without starting it.

        Returns:
            ``contents``: pairs of a thing and its receptacle; ``places``: the receptacles;
            ``fits``: pairs of a class of receptacles and a class of things that it may hold.
        """
        return _survey_file(path)

    def survey_generated(self, task_type: str, split: str, number: int) -> Reply:
        """Like :meth:`survey_file`, for a generated game; also its ``target`` and so on."""
        return _survey_generated(task_type, split, number)

    def plan(self) -> list[str]:
        """The planner's commands from the present state to the goal; empty if it finds none."""
        return list(self._pddl._pddl_state.replan(self._pddl._entity_infos))

    def expert(self) -> str | None:
        """The next command of the walkthrough, or of a new plan after a departure from it."""
        done = len(self._played)
        if self._played == self._walkthrough[:done] and done < len(self._walkthrough):
            return self._walkthrough[done]
        return next(iter(self.plan()), None)

    def explore(self) -> str | None:
        """The next command of ALFWorld's handcoded expert, which knows only what it has seen."""
        if self._explorer is None:
            return None
        if not self._last_command:
            self._last_command = "look"
            return "look"
        # It looks for "put" to know that its hands are empty; new games say "move ... to".
        last = self._last_command
        spelled = "put " + last.removeprefix("move ") if last.startswith("move ") else last
        admissible = self._state["admissible_commands"]
        try:
            command = str(self._explorer.act(self._state, spelled))
        except Exception:  # it raises when it gives up, and in unforeseen states
            return str(random.choice(admissible))
        if command not in admissible and command.startswith("move "):
            thing, _, place = command.removeprefix("move ").partition(" to ")
            command = f"put {thing} in/on {place}"
        if command == last or command not in admissible:
            return str(random.choice(admissible))  # like its own wrapper, to get unstuck
        return command

    def _facts(self) -> list[list[str]]:
        return [
            [fact.name, *(name.strip() for name in fact.names)] for fact in self._state["facts"]
        ]

    def _contents(self) -> list[tuple[str, str]]:
        """All things with the receptacles that they are in or on, sorted."""
        contents = {(fact[1], fact[2]) for fact in self._facts() if fact[0] == "inreceptacle"}
        return sorted(contents)


def _explorer(task_type: str, params: Reply) -> Any:
    """ALFWorld's handcoded policy for a task, or None if there is none."""
    import alfworld.gen.constants as constants
    from alfworld.agents.expert import HandCodedTWAgent

    if not params:
        return None
    lowered = {
        key: value.lower() if value in constants.OBJECTS else value for key, value in params.items()
    }
    agent = HandCodedTWAgent(max_steps=EXPLORER_STEPS)
    return agent.get_task_policy({"task_type": task_type})(lowered, max_steps=EXPLORER_STEPS)


def _classes(problem: str) -> list[tuple[str, str]]:
    pairs = _IN_RECEPTACLE.findall(problem)
    return sorted({(thing.lower(), place.lower()) for thing, place in pairs})


def _problem(path: str) -> str:
    """The PDDL problem of a game."""
    return str(_game(path)["pddl_problem"])


def _game(path: str) -> Reply:
    """A game's file.

    Raises:
        DataNotFoundError: It cannot be read.
        DataFormatError: It is not a game.
    """
    with reading(path):
        game = parse_json(read_text(Path(path)))
        texts = [game["pddl_domain"], game["pddl_problem"], game["grammar"]]
        texts += game.get("walkthrough") or ()
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("its domain, problem, grammar or walkthrough is not text")
        return dict(game)


@functools.lru_cache(MEMOISED_HOUSES)
def _survey_file(path: str) -> Reply:
    return _survey(_problem(path))


@functools.lru_cache(MEMOISED_HOUSES)
def _survey_generated(task_type: str, split: str, number: int) -> Reply:
    game = generate(task_type, split, number)
    return {**_survey(game["pddl_problem"]), **goal_classes(game["pddl_params"])}


def _survey(problem: str) -> Reply:
    """Name what a problem holds, as the game does: TextWorld's case, ALFWorld's numbers."""
    from alfworld.agents.utils.misc import Demangler

    objects, _, facts = problem.lower().partition("(:init")
    instances = {name: SimpleNamespace(id=name) for name in _INSTANCE.findall(objects)}
    demangler: Any = Demangler(game_infos=instances)

    def named(*ids: str) -> tuple[str, ...]:
        return tuple(str(demangler.demangle_alfred_name(name)).strip() for name in ids)

    return {
        "contents": sorted({named(*pair) for pair in _HELD.findall(facts)}),
        "places": sorted({named(name)[0] for name in _STANDING.findall(facts)}),
        "fits": sorted(set(_FITS.findall(facts))),
    }


def _run_no_code(refused: list[DataFormatError]) -> None:
    """Let TextWorld evaluate the expressions of a game's grammar as data, and keep the errors."""
    from textworld.envs.pddl import textgen

    def derive(symbol: Any, context: Any = None) -> list[Any]:
        variables = (context or symbol.context)["variables"]
        try:
            return [textgen.TerminalSymbol(evaluate(symbol.expression, variables))]
        except DataFormatError as error:
            refused.append(error)
            raise

    textgen.EvalSymbol.derive = derive


def _memoise() -> None:
    """Memoise what TextWorld computes repeatedly from the same texts."""
    import fast_downward
    from textworld.envs.pddl import textgen
    from textworld.logic import Rule

    if hasattr(fast_downward.pddl2sas, "__wrapped__"):
        return
    parse = functools.lru_cache(MEMOISED_TEXTS)(
        functools.partial(_parse_symbols, textgen._parse_and_convert)
    )

    def parse_and_convert(text: str, rule_name: str, trace: bool = False) -> Any:
        return copy.deepcopy(parse(text, rule_name))  # the caller modifies the symbols

    textgen._parse_and_convert = parse_and_convert
    Rule.parse_conjunctive_query = functools.lru_cache(MEMOISED_TEXTS)(Rule.parse_conjunctive_query)
    fast_downward.pddl2sas = _lazy_translation(fast_downward.pddl2sas)


def _parse_symbols(parse: Callable[..., Any], text: str, rule_name: str) -> Any:
    return parse(text, rule_name=rule_name)


def _lazy_translation(translate: Callable[..., Any]) -> Callable[..., Any]:
    now = functools.lru_cache(MEMOISED_GAMES)(
        lambda domain, problem, optimize: translate(domain, problem, optimize=optimize)
    )

    @functools.wraps(translate)
    def pddl2sas(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        if optimize:  # only for the planner, which does not use the first result
            return None, _Later(lambda: now(domain, problem, True)[1])
        return now(domain, problem, False)

    return pddl2sas


class _Later:
    """A text that is made on demand; TextWorld only calls ``encode``."""

    def __init__(self, make: Callable[[], str]) -> None:
        self.make = make

    def encode(self, encoding: str) -> _Later:
        return self


class _LazyPlanner:
    """Fast Downward's library; its planner gets the translation on its first call."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._later: _Later | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def load_sas_replan(self, later: _Later) -> None:
        self._later = later

    def replan(self, verbose: bool) -> Any:
        if self._later is not None:
            self._library.load_sas_replan(self._later.make().encode("utf-8"))
            self._later = None
        return self._library.replan(verbose)
