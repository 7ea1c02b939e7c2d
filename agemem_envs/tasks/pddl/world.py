"""PDDL problems, and their simulation by pddlgym."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, TypeAlias

from agemem_envs.errors import SimulatorError, require

Atom: TypeAlias = tuple[str, ...]
"""A predicate or an operator with its objects: ``("at", "ball1", "rooma")``."""

_ONE_AT_A_TIME = threading.Lock()
"""Held while pddlgym changes state of the whole process: stdout, stderr, its own globals."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A planning problem.

    Attributes:
        domain: The domain's name.
        objects: Names and types, sorted, without the domain's constants. The type is empty in
            a domain without types.
        init: The atoms that hold at the start; no others do.
        goal: The atoms that must hold at the end, sorted.
    """

    domain: str
    objects: tuple[tuple[str, str], ...]
    init: frozenset[Atom]
    goal: tuple[Atom, ...]

    def pddl(self) -> str:
        """The problem as PDDL text, the same for equal problems."""
        objects = "\n    ".join(f"{name} - {kind}" if kind else name for name, kind in self.objects)
        return (
            f"(define (problem task)\n  (:domain {self.domain})\n"
            f"  (:objects\n    {objects}\n  )\n"
            f"  (:init\n    {_lines(sorted(self.init))}\n  )\n"
            f"  (:goal (and\n    {_lines(self.goal)}\n  ))\n)\n"
        )

    def of_type(self, kind: str) -> list[str]:
        """The names of the objects of exactly this type, sorted."""
        return [name for name, its in self.objects if its == kind]

    def initially(self, predicate: str) -> list[Atom]:
        """The atoms of this predicate that hold at the start, sorted."""
        return sorted(atom for atom in self.init if atom[0] == predicate)

    def unmet(self) -> list[Atom]:
        """The goal atoms that do not hold at the start."""
        return [atom for atom in self.goal if atom not in self.init]


def _lines(atoms: Sequence[Atom]) -> str:
    return "\n    ".join(f"({' '.join(atom)})" for atom in atoms)


class PDDLWorld:
    """The simulation of a problem. It uses no file and no process, and shares no state.

    Args:
        domain: A STRIPS domain in PDDL, with or without types.
        problem: A problem of the domain in PDDL.

    Raises:
        MissingDependencyError: pddlgym is not installed.
        SimulatorError: pddlgym cannot parse the texts.
    """

    def __init__(self, domain: str, problem: str) -> None:
        core = load_pddlgym()
        with TemporaryDirectory(prefix="agemem-pddl-") as folder:
            path = Path(folder)
            (path / "problems").mkdir()
            (path / "domain.pddl").write_text(domain, encoding="utf-8")
            (path / "problems" / "problem.pddl").write_text(problem, encoding="utf-8")
            try:
                self._env: Any = core.PDDLEnv(
                    str(path / "domain.pddl"),
                    str(path / "problems"),
                    operators_as_actions=True,
                    dynamic_action_space=True,
                )
                self._env.fix_problem_index(0)
                self._env.reset()
            except Exception as error:  # pddlgym asserts, and raises any exception
                raise SimulatorError(f"pddlgym cannot load the problem: {error!r}") from error
        if not any(predicate.is_derived for predicate in self._env.domain.predicates.values()):
            # Skips pddlgym's negation of all false atoms: only derived predicates need it.
            self._env._handle_derived_literals = _unchanged
        self._grounded = False
        state = self._env.get_state()
        self.atoms: frozenset[Atom] = frozenset(map(_atom, state.literals))
        """The atoms that hold now."""
        literals = getattr(state.goal, "literals", [state.goal])
        self.pursue(map(_atom, literals))
        self._objects = {str(entity.name): entity for entity in state.objects}
        self.objects = tuple(sorted(self._objects))
        """The names of all objects, the domain's constants included."""
        operators = self._env.domain.operators
        self.operators = {
            name: tuple(str(parameter.var_type) for parameter in operators[name].params)
            for name in sorted(operators)
        }
        """The types of each operator's parameters; ``default`` in a domain without types."""

    def pursue(self, goal: Iterable[Atom]) -> None:
        """Set the goal; at first it is the problem's."""
        self._goal = frozenset(goal)
        self.goal: tuple[Atom, ...] = tuple(sorted(self._goal))

    @property
    def satisfied(self) -> int:
        """The number of goal atoms that hold now."""
        return len(self._goal & self.atoms)

    @property
    def problem(self) -> Problem:
        """The remaining problem: the present state is its start."""
        domain = self._env.domain
        objects = [self._objects[n] for n in self.objects if n not in _names(domain.constants)]
        typed = domain.uses_typing
        return Problem(
            domain=domain.domain_name,
            objects=tuple((str(o.name), str(o.var_type) if typed else "") for o in objects),
            init=self.atoms,
            goal=self.goal,
        )

    def misfits(self, action: Atom) -> list[tuple[str, str]]:
        """The objects of an action that do not have their parameter's type, with that type.

        Args:
            action: An operator with existing objects, one for each parameter.
        """
        ancestors = self._env.domain.type_to_parent_types
        return [
            (name, kind)
            for name, kind in zip(action[1:], self.operators[action[0]], strict=True)
            if kind not in ancestors[self._objects[name].var_type]
        ]

    def missing(self, action: Atom) -> list[Atom]:
        """The preconditions of an action that do not hold now, sorted.

        Args:
            action: An action without misfits.
        """
        domain = self._env.domain
        operator = domain.operators[action[0]]
        bound = dict(zip(map(str, operator.params), action[1:], strict=True))
        conditions = getattr(operator.preconds, "literals", [operator.preconds])
        atoms = (
            (str(c.predicate.name), *(bound.get(str(v), str(v.name)) for v in c.variables))
            for c in conditions
        )
        return sorted(atom for atom in atoms if atom not in self.atoms)

    def apply(self, action: Atom) -> tuple[frozenset[Atom], frozenset[Atom]]:
        """Carry out an action whose preconditions hold.

        Returns:
            The atoms that it added, and those that it removed.
        """
        predicate = self._env.domain.predicates[action[0]]
        state, *_ = self._env.step(predicate(*(self._objects[name] for name in action[1:])))
        before, self.atoms = self.atoms, frozenset(map(_atom, state.literals))
        return self.atoms - before, before - self.atoms

    def actions(self) -> list[Atom]:
        """The valid actions, sorted. The first call grounds the operators (10 to 200 ms)."""
        space, state = self._env.action_space, self._env.get_state()
        with contextlib.nullcontext() if self._grounded else _own_folder():
            literals = space.all_ground_literals(state)
        self._grounded = True
        return sorted(map(_atom, literals))


def _unchanged(state: Any) -> Any:
    return state


def _atom(literal: Any) -> Atom:
    return (literal.predicate.name, *[entity.name for entity in literal.variables])


def _names(entities: Sequence[Any]) -> set[str]:
    return {str(entity.name) for entity in entities}


def load_pddlgym() -> ModuleType:
    """Import ``pddlgym.core``, without its warnings, and the banner and filters of the old ``gym``.

    Raises:
        MissingDependencyError: pddlgym is not installed.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # its files have invalid escapes, which Python compiles
        return require("pddlgym.core", extra="pddl")


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """Let pddlgym ground in a temporary folder, because it does not delete its files."""
    spaces: Any = require("pddlgym.spaces", extra="pddl")
    with _ONE_AT_A_TIME, TemporaryDirectory(dir=spaces.TMP_PDDL_DIR) as folder:
        usual, spaces.TMP_PDDL_DIR = spaces.TMP_PDDL_DIR, folder
        try:
            yield
        finally:
            spaces.TMP_PDDL_DIR = usual
