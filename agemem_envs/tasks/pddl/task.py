"""AgeMem-PDDL: planning problems of four classical domains, played in English."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from agemem_envs.data import (
    AGENTBOARD_REMEDY,
    agentboard_folder,
    agentboard_rows,
    content_hash,
    read_text,
    warn_embedded,
)
from agemem_envs.episode import DataSource
from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    DataNotFoundError,
    SimulatorError,
    UnknownNameError,
)
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Outcome, Talk, TaskSpec
from agemem_envs.tasks.catalogue import CataloguedTask, GeneratedIds, ListedIds
from agemem_envs.tasks.pddl.agentboard import AgentBoardProblem, guide
from agemem_envs.tasks.pddl.generator import DOMAINS, SPLITS, VERSION, make_problem
from agemem_envs.tasks.pddl.jobs import JOB_RULES, Job, draw_alike
from agemem_envs.tasks.pddl.knowledge import FOREIGN_FINDINGS, FOREIGN_RULES, make_stage_messages
from agemem_envs.tasks.pddl.language import (
    LANGUAGES,
    LOOK,
    SATISFIED,
    Language,
    Unclear,
    inside,
    listed,
)
from agemem_envs.tasks.pddl.rules import DOMAIN_RULES
from agemem_envs.tasks.pddl.words import MAX_FACTS, make_words
from agemem_envs.tasks.pddl.world import Atom, PDDLWorld, Problem, load_pddlgym
from agemem_envs.tasks.rules import LIST_ACTIONS, NATIVE, is_agentboard, with_rules
from agemem_envs.util.workers import Simulator

MAX_ACTION_CHARS = 500
"""Longest text of an action; AgentBoard's longest has about 100 characters."""
MAX_GUESSES = 20
"""How often the explorer draws a goal that it has not tried."""
PLANNING_SECONDS = 60.0
"""The expert's time limit for one plan; AgentBoard's slowest took 9 s under load."""

MAX_PLANS = 4_096
"""Most plans that a process keeps."""
_PLANS: dict[tuple[str, str], tuple[Atom, ...]] = {}
"""Plans by domain and problem. One takes 0.1 to 1 s, and agents are compared on the same tasks."""
DISTRACTORS = FOREIGN_RULES + FOREIGN_FINDINGS
"""Most messages of stage 2, unless the task is made with others."""

AGENTBOARD_DOMAINS = {"blockworld": "blocksworld"}
"""AgentBoard's names of domains that differ from ours."""

REFUSED = "The action is not valid and therefore takes no effect"
INVALID = f"{REFUSED}: {{reason}}."
QUERY = """\
{goal}
You act in the {world}. Give one action at a time, in one of these forms, with the names of \
objects for the words in capitals:
{forms}
{look}: tells what holds now
{list_actions}: tells which actions are valid now
"""

JOB = """\
The job is for the {owner} family, who have words of their own for some of the objects: {words}.
{query}
{briefing}"""
"""The query in the memory style."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One problem of a list.

    Attributes:
        category: One of the four domains.
        domain: The domain in PDDL.
        problem: The problem in PDDL.
        difficulty: AgentBoard's level, or empty.
        file: The file of the problem; empty if it is generated.
    """

    category: str
    domain: str
    problem: str
    difficulty: str = ""
    file: str = ""


class PDDLTask(CataloguedTask):
    """Planning problems in gripper, blocksworld, barman and tyreworld (AgentBoard, 2024).

    - Task: reach a state in which a set of literals holds. The state is fully visible; the
      knowledge is the domain's rules and what they mean for the problem.
    - Actions: one ground operator at a time, in English ("pick up ball1 at rooma with arm
      left"), in PDDL ("(pick ball1 rooma left)") or in AgentBoard's words; also "check valid
      actions" and "look around". An invalid action changes nothing, and the reply
      says what it lacks; it counts as an action, like the last two.
    - Observation: first the whole state, then the changes of each action, in sentences.
    - Progress: the best fraction so far of the goal literals that hold after a valid action;
      0 before the first one. Success: all of them hold. The score is the progress.
    - Splits: ``agentboard``, its 60 test problems (gripper 20, blocksworld 10, barman 20,
      tyreworld 10), with ids like ``gripper/prob01`` and AgentBoard's difficulty; ``train``,
      ``validation`` and ``test``, generated, unlimited and disjoint, with equal shares of the
      domains and ids like ``pddl-test-gripper-17``. 30 actions.
    - Data source: hkust-nlp/agentboard (domains and problems), GPL-2.0; or this package's own
      domain files and generator (``pddl_problems``). Simulated by pddlgym (MIT).
    - Memory style (``facts`` > 0): the goal is drawn anew for the same world, and speaks of
      objects by a family's words, such as "heron is at roomb". Stage 1 tells where the family's
      job is done, and what each word stands for there and at four other places; the rules are
      given with the goal. See :mod:`~agemem_envs.tasks.pddl.jobs`. Without stages 1 and 2,
      the problem's own goal is played.
    - Expert: Fast Downward (GPL-3.0, run as a program), from the present state.
    - Explorer, in the memory style: plans for a goal that reads like the given one, with other
      objects; if it is done and was wrong, for another one.
    - Departures from AgentBoard: the reply to an invalid action says what it lacks; "look
      around" works in all domains; in the full protocol the rules are told in stage 1 and not
      with the goal; replies state the changes in all domains, where AgentBoard repeats the
      state in two.

    Args:
        split: ``agentboard``, ``train``, ``validation``, ``test``, or ``auto``: AgentBoard's
            problems if its data is found, else the generated ``test`` split with a warning.
        data: ``auto`` for ``$AGEMEM_DATA/agentboard``, a folder of AgentBoard's data, or
            ``embedded`` for the generated problems.
        facts: Least number of statements in stage 1, in the memory style; 0 for the rules and
            findings about one problem.
        updates: How many statements change, in the memory style.
        distractors: Messages of stage 2, at most.
        rules: ``native``, or ``agentboard``: AgentBoard's reading of actions, replies and progress
            (:mod:`~agemem_envs.tasks.pddl.agentboard`).

    Raises:
        UnknownNameError: The split or the rules are unknown.
        ConfigurationError: Split and data contradict each other, a number is out of range, or the
            rules do not fit the other arguments.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data does not follow its schema.
        MissingDependencyError: pddlgym is not installed.
    """

    name = "pddl"
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
        rules: str = NATIVE,
    ) -> None:
        self._amounts = Amounts(facts, updates, distractors)
        check_amounts(self._amounts)
        self._by_agentboard = is_agentboard(rules, facts)
        self.variant = with_rules(self._amounts.differing(DISTRACTORS), rules)
        self._board: AgentBoardProblem | None = None
        load_pddlgym()
        self._split, folder = choose_source(split, os.fspath(data))
        self._entries: Mapping[str, Entry] = {}
        self._listed: ListedIds | None = None
        if folder is None:
            self.source = DataSource(self.name, "embedded", self._split, VERSION, "pddl_problems")
        else:
            self._entries, version = load_agentboard(folder)
            self.source = DataSource(self.name, "file", self._split, version, "pddl_test.jsonl")
            self._listed = ListedIds(tuple(self._entries), str(self.source))
        prefix = f"pddl-{self._split}-{{kind}}-"
        self._generated = GeneratedIds(prefix, DOMAINS, str(self.source))
        self.catalogue = self._listed or self._generated
        self._planner = Simulator("agemem_envs.tasks.pddl.expert:Planner", timeout=120.0)
        self._planner_begun = False

    # -- which task --------------------------------------------------------------------

    def entry(self, task_id: str) -> Entry:
        """Return the problem with this id, and its domain.

        Raises:
            UnknownNameError: The split has no task with this id.
        """
        if self._listed is not None:
            self._listed.check(task_id)
            return self._entries[task_id]
        domain, number = self._generated.parse(task_id)
        problem = make_problem(domain, self._split, number)
        return Entry(domain, domain_text(domain), problem.pddl())

    # -- playing -----------------------------------------------------------------------

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin a problem."""
        entry = self._entry = self.entry(task_id)
        self._task_id = task_id
        try:
            world = self._world = PDDLWorld(entry.domain, entry.problem)
            language = self._language = LANGUAGES[entry.category]
            opening = language.state(world.atoms)
        except (SimulatorError, KeyError, ValueError, IndexError, TypeError) as error:
            raise DataFormatError(f"{entry.file or task_id} cannot be played: {error}") from error
        self._progress = 0.0
        self._plan: list[Atom] | None = None
        self._planner_begun = False
        self._is_hopeless = False
        self._job: Job | None = None
        spec = TaskSpec(
            id=task_id,
            query=query(entry.category, world.goal),
            knowledge=(),
            distractors=(),
            reference="",
            source=self.source,
            category=entry.category,
            difficulty=entry.difficulty,
            opening=opening,
            briefing=DOMAIN_RULES[entry.category].briefing(),
        )
        if self._by_agentboard:
            self._board = AgentBoardProblem(world, language, entry.category)
            spec = guide(entry.category).applied(spec, language.goal(world.goal))
        if not with_stage_messages:
            return spec
        if self._amounts.facts:
            return self._in_words(spec, generator)
        knowledge, distractors = make_stage_messages(
            entry.category, world.problem, generator, self._amounts.distractors
        )
        return replace(
            spec,
            knowledge=tuple(map(Talk.of, knowledge)),
            distractors=tuple(map(Talk, distractors)),
        )

    def _in_words(self, spec: TaskSpec, generator: np.random.Generator) -> TaskSpec:
        """The same world with a job that speaks of objects by words."""
        world, rules = self._world, JOB_RULES[spec.category]
        self._start, self._tried = world.problem, set[tuple[Atom, ...]]()
        self._guess: list[Atom] = []
        job = self._job = rules.draw(self._start, generator)
        told = make_words(job, rules, self._start, self._amounts, generator)
        world.pursue(job.goal)
        self._plan = self._make_plan(world.problem)
        self._is_hopeless = not self._plan
        text = JOB.format(
            owner=told.owner,
            words=listed(told.words),
            query=query(spec.category, job.worded(told.words)),
            briefing=spec.briefing,
        )
        return replace(
            spec,
            query=text,
            knowledge=told.knowledge,
            distractors=told.distractors,
            key_items=(told.owner, *told.words),
            expert_actions=len(self._plan) or None,
        )

    def step(self, action: str) -> Outcome:
        """Carry out an action if the text names a valid one."""
        if self._board is not None:
            planned = self._plan and self._language.action(self._plan[0]) == action
            self._plan = self._plan[1:] if self._plan and planned else None
            return self._board.step(action)
        observation = self._carry_out(action)
        success = self._world.satisfied == len(self._world.goal)
        if success:
            observation = f"{observation} {SATISFIED}"
        refused = observation.startswith(REFUSED)
        return Outcome(observation, self._progress, success, success, self._progress, refused)

    def _carry_out(self, text: str) -> str:
        world, language = self._world, self._language
        if len(text) > MAX_ACTION_CHARS:
            return INVALID.format(reason=f"it has more than {MAX_ACTION_CHARS} characters")
        plain = " ".join(text.lower().split()).rstrip(".!")
        if plain == LIST_ACTIONS:
            return f"The valid actions are: {'; '.join(self.admissible_actions())}."
        if plain == LOOK:
            return language.state(world.atoms)
        action = language.parse(text, world.objects)
        reason = action.reason if isinstance(action, Unclear) else obstacle(world, language, action)
        if isinstance(action, Unclear) or reason:
            return INVALID.format(reason=reason)
        change = language.change(*world.apply(action))
        self._progress = max(self._progress, world.satisfied / len(world.goal))
        self._plan = self._plan[1:] if self._plan and self._plan[0] == action else None
        return change

    def admissible_actions(self) -> list[str]:
        """The valid ground operators, in English."""
        if self._board is not None:
            return self._board.actions()
        return sorted(map(self._language.action, self._world.actions()))

    def expert_action(self) -> str | None:
        """The next action of Fast Downward's plan from the present state."""
        if self._plan is None and not self._is_hopeless:
            self._plan = self._make_plan(self._world.problem)
            # One failed search is enough: another would take as long, at every step.
            self._is_hopeless = not self._plan
        return self._language.action(self._plan[0]) if self._plan else None

    def explorer_action(self) -> str | None:
        """The next action for a goal that reads like the given one; None outside the memory style.

        A goal that could not be told from the right one is drawn from the task's id, and planned
        for from the present state. If it is reached without success, another one is drawn.
        """
        if self._job is None:
            return None
        if not self._guess:
            self._guess = self._next_guess()
        return self._language.action(self._guess.pop(0)) if self._guess else LOOK

    def _next_guess(self) -> list[Atom]:
        """A plan for the first goal not tried yet; empty if none is left."""
        assert self._job is not None
        text = f"{self._task_id}/{len(self._tried)}"
        chance = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()))
        rules = JOB_RULES[self._entry.category]
        for _ in range(MAX_GUESSES):
            other = draw_alike(rules, self._start, self._job, chance)
            goal = tuple(sorted(other.goal)) if other else ()
            if goal and goal not in self._tried:
                self._tried.add(goal)
                plan = self._make_plan(replace(self._world.problem, goal=goal))
                if plan:
                    return plan
        return []

    def _make_plan(self, problem: Problem) -> list[Atom]:
        key = (self._entry.domain, problem.pddl())
        if key not in _PLANS:
            plan = tuple(self._search(*key))
            if len(_PLANS) >= MAX_PLANS:
                _PLANS.clear()
            _PLANS[key] = plan
        return list(_PLANS[key])

    def _search(self, domain: str, problem: str) -> list[Atom]:
        """Ask the planner's process; an empty plan if there is none, or none is needed."""
        if not self._planner_begun:
            self._planner.begin()
            self._planner_begun = True
        self._planner_begun = False  # unless the call succeeds
        lines = self._planner.call("solve", domain, problem, PLANNING_SECONDS)
        self._planner_begun = True
        return [tuple(line.strip("()").split()) for line in lines or []]

    def close(self) -> None:
        """Return the planner process to the pool. Calling it again has no effect."""
        self._planner.close()
        self._planner_begun = False


def check_amounts(amounts: Amounts) -> None:
    """Check that there are as many facts and changes as are asked for.

    Raises:
        ConfigurationError: There are too many facts, or updates but no facts to change.
    """
    if amounts.facts > MAX_FACTS:
        raise ConfigurationError(f"facts must be at most {MAX_FACTS}, got {amounts.facts}")
    if amounts.updates and not amounts.facts:
        raise ConfigurationError("updates need facts: give facts=60, or updates=0")


def query(category: str, goal: tuple[Atom, ...]) -> str:
    """Make the query: the goal in AgentBoard's words, and the forms of actions."""
    language = LANGUAGES[category]
    return QUERY.format(
        goal=language.goal(goal),
        world=DOMAIN_RULES[category].world_name,
        forms="\n".join(language.forms.values()),
        look=LOOK,
        list_actions=LIST_ACTIONS,
    ).strip()


def obstacle(world: PDDLWorld, language: Language, action: Atom) -> str:
    """The reason why an action is not valid now; empty if it is."""
    misfits = world.misfits(action)
    if misfits:
        return "; ".join(f"{name} is not of the type {kind}" for name, kind in misfits)
    return "; ".join(inside(language.fact(a, holds=False)) for a in world.missing(action))


def domain_text(domain: str) -> str:
    """Read this package's PDDL file of a domain."""
    folder = files("agemem_envs.tasks.pddl") / "domains"
    return (folder / f"{domain}.pddl").read_text(encoding="utf-8")


# -- where the problems are ------------------------------------------------------------


def choose_source(split: str, data: str) -> tuple[str, Path | None]:
    """Resolve ``auto``: return the split, and AgentBoard's folder if it is AgentBoard's.

    Raises:
        UnknownNameError: The split is unknown.
        ConfigurationError: Split and data contradict each other.
        DataNotFoundError: The requested data does not exist.
    """
    known = ("auto", "agentboard", *SPLITS)
    if split not in known:
        raise UnknownNameError("split", split, known)
    generated = split in SPLITS
    if (generated and data not in ("auto", "embedded")) or (
        split == "agentboard" and data == "embedded"
    ):
        raise ConfigurationError(
            f"data={data!r} has no split {split!r}: {', '.join(SPLITS)} are generated, agentboard "
            "is read from AgentBoard's folder. Leave out data, or choose another split."
        )
    if generated or data == "embedded":
        return (split if generated else "test"), None
    folder = agentboard_folder("pddl", split, data)
    if folder is not None:
        return "agentboard", folder
    warn_embedded("PDDL", AGENTBOARD_REMEDY)
    return "test", None


def load_agentboard(folder: Path) -> tuple[dict[str, Entry], str]:
    """Read AgentBoard's problems, by id, and the content hash of all their files.

    Args:
        folder: Holds ``pddl_test.jsonl``, ``pddl/<domain>.pddl`` and ``pddl/<domain>/*.pddl``.
            Row k of a domain is its k-th problem file in lexicographic order.

    Raises:
        DataNotFoundError: A file is missing.
        DataFormatError: A row is not in AgentBoard's schema, or its domain is unknown.
    """
    rows, _ = agentboard_rows(folder, "pddl")
    entries: dict[str, Entry] = {}
    used = [folder / "pddl_test.jsonl"]
    waiting: dict[str, list[Path]] = {}
    for row in rows:
        name = str(row.additional_info.get("subtask"))
        category = AGENTBOARD_DOMAINS.get(name, name)
        if category not in DOMAINS:
            raise DataFormatError(
                f"{row.where}: the unknown domain {name[:80]!r}; known: {', '.join(DOMAINS)}"
            )
        domain = folder / "pddl" / f"{name}.pddl"
        if name not in waiting:
            waiting[name] = sorted((folder / "pddl" / name).glob("*.pddl"))
            used += [domain, *waiting[name]]
        if not waiting[name] or not domain.is_file():
            raise DataNotFoundError(
                f"{domain.parent} has fewer problems of {name} than pddl_test.jsonl has rows, or "
                f"no {domain.name}. {AGENTBOARD_REMEDY}"
            )
        file = waiting[name].pop(0)
        entries[f"{name}/{file.stem}"] = Entry(
            category, read_text(domain), read_text(file), row.difficulty, str(file)
        )
    return entries, content_hash(*used)
