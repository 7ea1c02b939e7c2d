"""AgentBoard's rules of PDDL: how it reads an action, what it shows, and its progress.

Written after the behaviour of AgentBoard (Ma et al. 2024), and tested against recordings of it. Its
sentences for facts are not copied: states are told in the words of
:mod:`~agemem_envs.tasks.pddl.language`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from agemem_envs.tasks.base import Outcome
from agemem_envs.tasks.pddl.language import LANGUAGES, LOOK, SATISFIED, Language
from agemem_envs.tasks.pddl.rules import DOMAIN_RULES
from agemem_envs.tasks.pddl.world import Atom, PDDLWorld
from agemem_envs.tasks.rules import LIST_ACTIONS, Guide, read_example, scored

HELP = "check"
"""A text that contains this word lists the valid actions."""
LISTED = "Valid actions are: {actions}"
UNREAD = "The action is not valid and therefore takes no effect. Please check valid actions."
WITHOUT_EFFECT = (
    "The action is not valid and therefore takes no effect. Please remember to satisfy the "
    "restriction of actions. You can also check valid actions."
)
CHANGES_ONLY = ("barman", "tyreworld")
"""Domains in which a reply tells only the facts that are new."""

_SEPARATE = re.compile(
    r"""\.\.\.|--|[;@#$%&?!"()\[\]{}<>]|``|''|[:,](?!\d)|\.(?=[\])}>"']*\s*$)|'(?=\s|$)"""
)
"""Marks that are tokens of their own, as in the Penn Treebank's tokenizer."""

INSTRUCTION = """\
You act in the {world}. Your actions, with the names of objects for the words in capitals, are:
{forms}
{rules}"""


def guide(domain: str) -> Guide:
    """The prompt of a domain."""
    rules = DOMAIN_RULES[domain]
    instruction = INSTRUCTION.format(
        world=rules.world_name,
        forms="\n".join(f"- {form}" for form in LANGUAGES[domain].forms.values()),
        rules=rules.briefing(),
    )
    example = read_example("agemem_envs.tasks.pddl", f"examples/{domain}")
    return Guide(instruction, example, inventory=False)


class AgentBoardProblem:
    """A problem under AgentBoard's rules.

    Args:
        world: The problem, at its start.
        language: The sentences of its domain.
        domain: One of the four domains.
    """

    def __init__(self, world: PDDLWorld, language: Language, domain: str) -> None:
        self._world = world
        self._language = language
        self._changes_only = domain in CHANGES_ONLY
        self._progress = 0.0

    def step(self, text: str) -> Outcome:
        """Carry out an action. Any text is accepted."""
        lowered = text.lower()
        if HELP in lowered:
            return self._outcome(LISTED.format(actions=", ".join(self.actions())))
        if LOOK in lowered:  # anywhere in the text
            return self._outcome(self._language.state(self._world.atoms))
        valid = self._world.actions()
        action = read_action(
            lowered,
            {name: len(types) for name, types in self._world.operators.items()},
            {atom[0] for atom in valid},
            self._world.objects,
        )
        if action is None:
            return self._outcome(UNREAD, refused=True)
        before = self._world.atoms
        if action in valid:
            self._world.apply(action)
        if self._world.atoms == before:
            return self._outcome(WITHOUT_EFFECT, refused=True)
        self._progress = max(self._progress, self._world.satisfied / len(self._world.goal))
        shown = self._world.atoms - before if self._changes_only else self._world.atoms
        reply = self._language.state(shown)
        return self._outcome(f"{reply} {SATISFIED}" if self._is_won else reply)

    def actions(self) -> list[str]:
        """The valid actions, and the commands that take none, in English."""
        commands = [LIST_ACTIONS, *([LOOK] if self._changes_only else [])]
        return [*sorted(map(self._language.action, self._world.actions())), *commands]

    @property
    def _is_won(self) -> bool:
        return self._world.satisfied == len(self._world.goal)

    def _outcome(self, observation: str, refused: bool = False) -> Outcome:
        return scored(observation, self._progress, self._is_won, refused=refused)


def read_action(
    text: str, sizes: dict[str, int], valid: Collection[str], objects: Collection[str]
) -> Atom | None:
    """Read an action: the first operator that is named, and the first objects, in order.

    Args:
        text: Any text, in lower case.
        sizes: The number of objects of each operator.
        valid: The operators that have a valid action now; others are not read.
        objects: The names of the objects.

    Returns:
        The action, valid or not; None if no operator or too few objects are named.
    """
    words = tokens(text)
    operator = next((word for word in words if word in valid), None)
    if operator is None:
        return None
    named = [word for word in words if word in objects][: sizes[operator]]
    return (operator, *named) if len(named) == sizes[operator] else None


def tokens(text: str) -> list[str]:
    """Split a text at white space and punctuation, as the Penn Treebank's tokenizer does.

    Contractions are not split: no name of a domain has an apostrophe.
    """
    return _SEPARATE.sub(lambda mark: f" {mark[0]} ", text).split()
