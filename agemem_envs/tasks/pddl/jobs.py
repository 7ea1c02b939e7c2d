"""The jobs of the memory style: goals about objects that only words of a family name.

A problem's own goal can often be guessed: all balls to the other room, the first wheel on the first
hub. A job is a goal that is drawn for the problem, about objects that are drawn as well, so that
many jobs read alike if one does not know which objects the words stand for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agemem_envs.tasks.pddl.world import Atom, Problem

TOOLS = ("wrench", "jack", "pump")
"""Tyreworld's constants."""
_DRAWS = 40
"""How often a job is drawn until nothing of it holds at the start."""
_ALIKE_DRAWS = 500
"""How often a job is drawn until it reads like another one."""


@dataclass(frozen=True, slots=True)
class Job:
    """A goal, and the objects that it names by words.

    Attributes:
        goal: The atoms that must hold at the end.
        named: The objects, in the order of their first mention.
        firm: Objects of which another one would often do as well: what is said of them does not
            change.
    """

    goal: tuple[Atom, ...]
    named: tuple[str, ...]
    firm: frozenset[str] = frozenset()

    def worded(self, words: Sequence[str]) -> tuple[Atom, ...]:
        """The goal with a word for each of the named objects."""
        word = dict(zip(self.named, words, strict=False))
        return tuple((atom[0], *(word.get(name, name) for name in atom[1:])) for atom in self.goal)


@dataclass(frozen=True, slots=True)
class JobRules:
    """How the jobs of a domain are made.

    Attributes:
        draw: Draws a job for a problem.
        groups: Returns the objects that a word may stand for, those of a kind together.
    """

    draw: Callable[[Problem, np.random.Generator], Job]
    groups: Callable[[Problem], list[list[str]]]


def draw_alike(
    rules: JobRules, problem: Problem, job: Job, generator: np.random.Generator
) -> Job | None:
    """Draw a job that reads like another one, if each has the same words.

    Args:
        rules: Of the problem's domain.
        problem: The problem at its start.
        job: The other job.
        generator: The only source of chance.

    Returns:
        None if none was found, after many draws.
    """
    blanks = [f"?{index}" for index in range(len(job.named))]
    for _ in range(_ALIKE_DRAWS):
        other = rules.draw(problem, generator)
        if len(other.named) == len(blanks) and other.worded(blanks) == job.worded(blanks):
            return other
    return None


def _unmet(problem: Problem, draw: Callable[[], Sequence[Atom]]) -> Sequence[Atom]:
    """A drawn goal of which nothing holds at the start, or as little as in any of many draws."""
    best = draw()
    for _ in range(_DRAWS):
        if not problem.init.intersection(best):
            break
        best = min(best, draw(), key=lambda goal: len(problem.init.intersection(goal)))
    return best


def drawn(
    generator: np.random.Generator, items: Sequence[str], count: int | None = None
) -> list[str]:
    """``count`` different items in random order; all if it is None."""
    return [items[index] for index in generator.permutation(len(items))[:count]]


def _job(goal: Sequence[Atom], objects: Sequence[str], firm: Sequence[str] = ()) -> Job:
    """A job that names these objects wherever the goal mentions them."""
    mentioned = dict.fromkeys(name for atom in goal for name in atom[1:])
    named = tuple(name for name in mentioned if name in objects)
    return Job(tuple(goal), named, frozenset(firm))


# -- gripper ---------------------------------------------------------------------------


def _balls(problem: Problem) -> list[list[str]]:
    return [[ball for _, ball in problem.initially("ball")]]


def draw_gripper(problem: Problem, generator: np.random.Generator) -> Job:
    """A ball in each arm at the end, and one to four balls in another room than at the start."""
    balls = _balls(problem)[0]
    rooms = [room for _, room in problem.initially("room")]
    arms = [arm for _, arm in problem.initially("gripper")]
    start = {ball: room for _, ball, room in problem.initially("at")}
    moving = min(4, max(1, len(balls) // 2 - 1))

    def draw() -> list[Atom]:
        order = drawn(generator, balls, len(arms) + moving)
        carried = [("carry", ball, arm) for ball, arm in zip(order, arms, strict=False)]
        places = [
            ("at", ball, drawn(generator, [r for r in rooms if r != start.get(ball)], 1)[0])
            for ball in order[len(arms) :]
        ]
        return [*carried, *sorted(places, key=lambda atom: atom[2])]

    return _job(_unmet(problem, draw), balls)


# -- blocksworld -----------------------------------------------------------------------


def _blocks(problem: Problem) -> list[list[str]]:
    return [[name for name, _ in problem.objects]]


def draw_blocksworld(problem: Problem, generator: np.random.Generator) -> Job:
    """The problem's towers with other blocks, without the pairs that need the last blocks."""
    blocks = _blocks(problem)[0]
    most = len(blocks) - (1 if len(blocks) < 5 else 2)
    pairs: list[Atom] = []
    for pair in problem.goal:
        if len({name for atom in [*pairs, pair] for name in atom[1:]}) <= most:
            pairs.append(pair)

    def draw() -> list[Atom]:
        return _renamed(pairs, [blocks], generator)

    return _job(_unmet(problem, draw), blocks)


def _renamed(
    atoms: Sequence[Atom], groups: Sequence[Sequence[str]], generator: np.random.Generator
) -> list[Atom]:
    """The atoms with the objects of each group exchanged among one another."""
    new: dict[str, str] = {}
    for group in groups:
        new |= dict(zip(group, drawn(generator, group), strict=True))
    return [(atom[0], *(new.get(name, name) for name in atom[1:])) for atom in atoms]


# -- barman ----------------------------------------------------------------------------


def _drinks(problem: Problem) -> list[list[str]]:
    drinks = problem.of_type("cocktail") + problem.of_type("ingredient")
    return [problem.of_type("shot"), drinks]


def draw_barman(problem: Problem, generator: np.random.Generator) -> Job:
    """As many cocktails and plain drinks as the problem's goal, but others, in other shots."""
    kinds = [problem.of_type(kind) for kind in ("shot", "cocktail", "ingredient")]

    def draw() -> list[Atom]:
        return _renamed(problem.goal, kinds, generator)

    return _job(_unmet(problem, draw), [name for kind in kinds for name in kind])


# -- tyreworld -------------------------------------------------------------------------


def _spares(problem: Problem) -> list[str]:
    return [atom[1] for atom in problem.initially("intact")]


def _tyre_groups(problem: Problem) -> list[list[str]]:
    spares = _spares(problem)
    worn = [name for name in problem.of_type("wheel") if name not in spares]
    return [problem.of_type("hub"), spares, [*TOOLS, *worn]]


def draw_tyreworld(problem: Problem, generator: np.random.Generator) -> Job:
    """A wheel to exchange and inflate; two of the tools and the old wheel go to the boot."""
    _, worn, hub = problem.initially("on")[int(generator.integers(len(problem.initially("on"))))]
    spare = drawn(generator, [name for name in _spares(problem) if name != worn], 1)[0]
    boot = problem.of_type("container")[0]
    things = drawn(generator, [*TOOLS, worn])
    goal = [("on", spare, hub), ("inflated", spare)]
    goal += [("in", thing, boot) for thing in things[:2]]
    goal += [("have", thing) for thing in things[2:]]
    # Who does not know what to keep still has it after the exchange.
    return _job(goal, [spare, hub, *things], firm=things[2:])


JOB_RULES: Mapping[str, JobRules] = {
    "gripper": JobRules(draw_gripper, _balls),
    "blocksworld": JobRules(draw_blocksworld, _blocks),
    "barman": JobRules(draw_barman, _drinks),
    "tyreworld": JobRules(draw_tyreworld, _tyre_groups),
}
"""By domain."""
