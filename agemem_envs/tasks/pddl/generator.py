"""Seeded problems of the four PDDL domains: the embedded data.

A number, a domain and a split give one problem, whose plan has 6 to 25 actions. A hash of its
text assigns each problem to one split, so that splits are disjoint, however many problems are
drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

import numpy as np

from agemem_envs.tasks.pddl.world import Atom, Problem

VERSION = "1"
"""Raise it when the same number gives another problem than before."""

SPLITS = ("train", "validation", "test")

Draft = tuple[dict[str, list[str]], set[Atom], set[Atom]]
"""Objects by type, initial atoms, goal atoms."""


def make_problem(domain: str, split: str, number: int) -> Problem:
    """Make the problem with this number.

    Args:
        domain: A key of :data:`DRAFTS`.
        split: One of :data:`SPLITS`.
        number: 0 or more.
    """
    seed = hashlib.sha256(f"{VERSION}/{split}/{domain}/{number}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(seed))
    while True:
        objects, init, goal = DRAFTS[domain](generator)
        problem = Problem(
            domain=domain,
            objects=tuple(sorted((name, kind) for kind in objects for name in objects[kind])),
            init=frozenset(init),
            goal=tuple(sorted(goal)),
        )
        if split_of(problem) == split:
            return problem


def split_of(problem: Problem) -> str:
    """The split that this problem belongs to."""
    return SPLITS[hashlib.sha256(problem.pddl().encode()).digest()[0] % len(SPLITS)]


def gripper(generator: np.random.Generator) -> Draft:
    """Three to six balls to carry and one to leave, in two or three rooms: 7 to 24 actions."""
    rooms = [f"room{letter}" for letter in "abc"[: generator.integers(2, 4)]]
    misplaced = int(generator.integers(3, 7))
    balls = [f"ball{number}" for number in range(1, misplaced + 2)]
    arms = ["left", "right"]
    stays = _choice(generator, balls)
    start = {ball: _choice(generator, rooms) for ball in balls}
    goal: set[Atom] = set()
    for ball in balls:
        elsewhere = [room for room in rooms if room != start[ball]]
        goal.add(("at", ball, start[ball] if ball == stays else _choice(generator, elsewhere)))
    if generator.random() < 0.5:
        goal.discard(("at", stays, start[stays]))  # a ball that is not in the goal
    init: set[Atom] = {("at", ball, room) for ball, room in start.items()}
    init |= {("room", room) for room in rooms} | {("ball", ball) for ball in balls}
    init |= {("gripper", arm) for arm in arms} | {("free", arm) for arm in arms}
    init.add(("at-robby", _choice(generator, rooms)))
    return {"": rooms + balls + arms}, init, goal


def blocksworld(generator: np.random.Generator) -> Draft:
    """Four to six blocks, of which three or more must move: 6 to 24 actions."""
    while True:
        blocks = [f"b{number}" for number in range(1, int(generator.integers(5, 8)))]
        start, wanted = _towers(generator, blocks), _towers(generator, blocks)
        pairs = sorted(atom for atom in wanted if atom[0] == "on")
        goal = {pair for pair in pairs if generator.random() < 0.8}
        if len(_must_move(start, goal)) >= 3:
            covered = {pair[2] for pair in start if pair[0] == "on"}
            init = start | {("clear", block) for block in blocks if block not in covered}
            return {"": blocks}, init | {("arm-empty",)}, goal


def _towers(generator: np.random.Generator, blocks: list[str]) -> set[Atom]:
    """The position of each block in a random arrangement."""
    order = [blocks[index] for index in generator.permutation(len(blocks))]
    atoms: set[Atom] = {("on-table", order[0])}
    for under, block in pairwise(order):
        new_tower = generator.random() < 0.4
        atoms.add(("on-table", block) if new_tower else ("on", block, under))
    return atoms


def _must_move(start: set[Atom], goal: set[Atom]) -> set[str]:
    """The blocks that every plan must move, by two or more actions each."""
    above = {atom[2]: atom[1] for atom in start if atom[0] == "on"}
    moving: set[str] = set()
    for _, block, under in goal - start:
        moving.add(block)
        if under in above:
            moving.add(above[under])
    for block in sorted(moving):
        while block in above:
            block = above[block]
            moving.add(block)
    return moving


def barman(generator: np.random.Generator) -> Draft:
    """A cocktail and up to two plain drinks, or three plain drinks: 8 to 20 actions."""
    ingredients, dispensers = _numbered("ingredient", 3), _numbered("dispenser", 3)
    shots = _numbered("shot", int(generator.integers(3, 6)))
    cocktails = _numbered("cocktail", int(generator.integers(2, 5)))
    hands, levels = ["left", "right"], ["l0", "l1", "l2"]
    init: set[Atom] = {("ontable", thing) for thing in [*shots, "shaker1"]}
    init |= {("clean", thing) for thing in [*shots, "shaker1"]}
    init |= {("empty", thing) for thing in [*shots, "shaker1"]}
    init |= {("handempty", hand) for hand in hands}
    init |= {("next", "l0", "l1"), ("next", "l1", "l2")}
    init |= {("shaker-level", "shaker1", "l0"), ("shaker-empty-level", "shaker1", "l0")}
    for dispenser, ingredient in zip(dispensers, _shuffled(generator, ingredients), strict=True):
        init.add(("dispenses", dispenser, ingredient))
    for cocktail in cocktails:
        first, second, _ = _shuffled(generator, ingredients)
        init |= {("cocktail-part1", cocktail, first), ("cocktail-part2", cocktail, second)}
    if generator.random() < 0.3:
        soiled = _choice(generator, shots)
        init.remove(("clean", soiled))
        init.add(("used", soiled, _choice(generator, ingredients)))
    drinks = [_choice(generator, cocktails), *_shuffled(generator, ingredients)]
    drinks = drinks[: generator.integers(1, 4)] if generator.random() < 0.8 else drinks[1:]
    served = _shuffled(generator, shots)
    goal: set[Atom] = {("contains", *pair) for pair in zip(served, drinks, strict=False)}
    objects = {
        "shaker": ["shaker1"], "hand": hands, "shot": shots, "ingredient": ingredients,
        "cocktail": cocktails, "dispenser": dispensers, "level": levels,
    }  # fmt: skip
    return objects, init, goal


def tyreworld(generator: np.random.Generator) -> Draft:
    """One wheel to exchange, tools and nuts included, or two wheels: 6 to 22 actions."""
    hubs = _numbered("the-hub", int(generator.integers(1, 3)))
    nuts, flat = _numbered("nuts", len(hubs)), _numbered("w", len(hubs))
    spares = _numbered("r", len(hubs) + int(generator.integers(0, 3)))
    init: set[Atom] = {("unlocked", "boot")}
    init.add(("isopen", "boot") if generator.random() < 0.25 else ("closed", "boot"))
    for tool in ("wrench", "jack", "pump"):
        init.add(("have", tool) if generator.random() < 0.25 else ("in", tool, "boot"))
    for spare in spares:
        init |= {("in", spare, "boot"), ("intact", spare), ("not-inflated", spare)}
    for hub, nut, wheel in zip(hubs, nuts, flat, strict=True):
        init |= {("on", wheel, hub), ("tight", nut, hub), ("fastened", hub), ("on-ground", hub)}
    wanted: list[Atom] = []
    goal: set[Atom] = set()
    for hub, nut, old, new in zip(hubs, nuts, flat, _shuffled(generator, spares), strict=False):
        goal.add(("on", new, hub))
        wanted += [("inflated", new), ("in", old, "boot")]
        if len(hubs) == 1:  # with two hubs this would take more than 25 actions
            tools = [("in", tool, "boot") for tool in ("wrench", "jack", "pump")]
            wanted += [("tight", nut, hub), ("closed", "boot"), *tools]
    goal |= {atom for atom in wanted if generator.random() < 0.6}
    objects = {"hub": hubs, "nut": nuts, "wheel": spares + flat, "container": ["boot"]}
    return objects, init, goal


DRAFTS: Mapping[str, Callable[[np.random.Generator], Draft]] = {
    "gripper": gripper,
    "blocksworld": blocksworld,
    "barman": barman,
    "tyreworld": tyreworld,
}
"""The function that draws a problem of each domain."""

DOMAINS = tuple(DRAFTS)


def _numbered(word: str, count: int) -> list[str]:
    return [f"{word}{number}" for number in range(1, count + 1)]


def _choice(generator: np.random.Generator, items: list[str]) -> str:
    return items[int(generator.integers(len(items)))]


def _shuffled(generator: np.random.Generator, items: Iterable[str]) -> list[str]:
    pool = list(items)
    return [pool[index] for index in generator.permutation(len(pool))]
