"""The messages of stages 1 and 2 about a PDDL problem, from the rules of the domains."""

from __future__ import annotations

import numpy as np

from agemem_envs.tasks.base import Fact
from agemem_envs.tasks.pddl.generator import make_problem
from agemem_envs.tasks.pddl.rules import DOMAIN_RULES
from agemem_envs.tasks.pddl.world import Problem

NOISE = 4
"""Facts of stage 1 that are not needed."""
FOREIGN_RULES = 2
"""Facts of stage 2 about other domains."""
FOREIGN_FINDINGS = 3
"""Facts of stage 2 about another problem of the same domain."""

_NUMBERS = 1_000_000


def make_stage_messages(
    domain: str, problem: Problem, generator: np.random.Generator, distractors: int
) -> tuple[tuple[Fact, ...], tuple[str, ...]]:
    """Make the facts of stage 1, in random order, and the messages of stage 2.

    Args:
        domain: A key of :data:`~agemem_envs.tasks.pddl.rules.DOMAIN_RULES`.
        problem: The problem at its start.
        generator: The only source of chance.
        distractors: Most messages of stage 2.
    """
    knowledge = make_knowledge(domain, problem, generator)
    return knowledge, make_distractors(domain, problem, generator, distractors)


def make_knowledge(
    domain: str, problem: Problem, generator: np.random.Generator
) -> tuple[Fact, ...]:
    """Make the facts of stage 1, in random order: 3 to 6 needed ones and 4 others.

    Args:
        domain: A key of :data:`~agemem_envs.tasks.pddl.rules.DOMAIN_RULES`.
        problem: The problem at its start.
        generator: The only source of chance.
    """
    rules = DOMAIN_RULES[domain]
    needed = [_rule(domain, text) for text in rules.needed_rules(problem)]
    needed += [_finding("this", domain, text) for text in rules.findings(problem)]
    others = [_rule(domain, text) for text in rules.irrelevant_rules(problem)]
    others += [_finding("this", domain, text) for text in rules.irrelevant_findings(problem)]
    facts = [Fact(text, text) for text in needed]
    facts += [Fact(text) for text in _some(generator, others, NOISE)]
    return tuple(facts[index] for index in generator.permutation(len(facts)))


def make_distractors(
    domain: str,
    problem: Problem,
    generator: np.random.Generator,
    count: int = FOREIGN_RULES + FOREIGN_FINDINGS,
) -> tuple[str, ...]:
    """Make the messages of stage 2: rules of other domains, findings about another problem.

    Args:
        domain: A key of :data:`~agemem_envs.tasks.pddl.rules.DOMAIN_RULES`.
        problem: The episode's own problem.
        generator: The only source of chance.
        count: Most messages; at least two fifths of them are rules.
    """
    foreign = [
        _rule(other, rule.text) for other in sorted(DOMAIN_RULES) if other != domain
        for rule in DOMAIN_RULES[other].rules
    ]  # fmt: skip
    rules, other_problem = DOMAIN_RULES[domain], problem
    while other_problem == problem:
        other_problem = make_problem(domain, "train", int(generator.integers(_NUMBERS)))
    elsewhere = rules.findings(other_problem) + rules.irrelevant_findings(other_problem)
    foreign_rules = -(-count * FOREIGN_RULES // (FOREIGN_RULES + FOREIGN_FINDINGS))
    texts = _some(generator, foreign, foreign_rules)
    texts += [_finding("another", domain, text) for text in elsewhere[: count - foreign_rules]]
    return tuple(texts[index] for index in generator.permutation(len(texts)))


def _rule(domain: str, text: str) -> str:
    return f"In the {DOMAIN_RULES[domain].world_name}, {text}."


def _finding(which: str, domain: str, text: str) -> str:
    return f"In {which} {DOMAIN_RULES[domain].world_name}, {text}."


def _some(generator: np.random.Generator, texts: list[str], count: int) -> list[str]:
    return [texts[index] for index in generator.permutation(len(texts))[:count]]
