"""The four PDDL domains in English: renders states, goals and actions, and parses actions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from agemem_envs.tasks.pddl.world import Atom

_SLOT = re.compile(r"[A-Z]+\d?")
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]*")
LOOK = "look around"
"""The command that tells all that holds."""
SATISFIED = "The goal is satisfied."


@dataclass(frozen=True)
class Unclear:
    """The reason why a text names no action."""

    reason: str


@dataclass(frozen=True)
class Language:
    """The English templates of one domain.

    Attributes:
        facts: For each predicate, in the order in which a state lists them, the sentence
            that it holds and the sentence that it does not hold; ``{}`` are its objects.
        forms: For each operator the form of its action; capital words are its objects, in
            the operator's order.
        synonyms: Other names of operators.
    """

    facts: Mapping[str, tuple[str, str]]
    forms: Mapping[str, str]
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return {predicate: rank for rank, predicate in enumerate(self.facts)}

    @cached_property
    def _templates(self) -> dict[str, str]:
        return {name: _SLOT.sub("{}", form) for name, form in self.forms.items()}

    @cached_property
    def _names(self) -> dict[str, str]:
        """The accepted names of operators: as in PDDL, with spaces for hyphens, and synonyms."""
        names = {name: name for name in self.forms}
        return {**{name.replace("-", " "): name for name in names}, **names, **self.synonyms}

    @cached_property
    def _name_pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._names, key=lambda name: (-len(name), name))
        return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")

    def fact(self, atom: Atom, holds: bool = True) -> str:
        """State that an atom holds, or that it does not, without a full stop."""
        return self.facts[atom[0]][0 if holds else 1].format(*atom[1:])

    def state(self, atoms: Iterable[Atom]) -> str:
        """State what holds, one sentence per atom, ordered by predicate and object."""
        ranks = self._ranks
        ordered = sorted(atoms, key=lambda atom: (ranks[atom[0]], atom))
        return " ".join(f"{self.fact(atom)}." for atom in ordered)

    def change(self, added: Iterable[Atom], removed: Iterable[Atom]) -> str:
        """State what an action changed: new atoms before removed ones."""
        # A dict removes duplicates: "closed" removed and "open" added give one sentence.
        sentences = dict.fromkeys(self.fact(atom) for atom in sorted(added))
        sentences |= dict.fromkeys(self.fact(atom, holds=False) for atom in sorted(removed))
        return " ".join(f"{sentence}." for sentence in sentences) or "Nothing changes."

    def goal(self, atoms: Iterable[Atom]) -> str:
        """State the goal, in AgentBoard's words and order."""
        conditions = " ".join(sorted(f"{self.fact(atom)}." for atom in atoms))
        return f"The goal is to satisfy the following conditions: {conditions}"

    def action(self, action: Atom) -> str:
        """Write an action in its form."""
        return self._templates[action[0]].format(*action[1:])

    def parse(self, text: str, objects: Collection[str]) -> Atom | Unclear:
        """Parse the action that a text names: an operator, and objects in the operator's order.

        Other words are ignored, so that an action may be written in its form, in PDDL, or in
        AgentBoard's words.

        Args:
            text: Any text; letter case and spaces do not matter.
            objects: The names of the world's objects, in lower case.
        """
        words = " ".join(text.lower().split())
        match = self._name_pattern.search(words)
        if match is None:
            return Unclear("it names no known action")
        operator = self._names[match[0]]
        rest = f"{words[: match.start()]} {words[match.end() :]}"
        named = tuple(word for word in _WORD.findall(rest) if word in objects)
        form = self.forms[operator]
        wanted = len(_SLOT.findall(form))
        if len(named) != wanted:
            return Unclear(f'"{form}" has places for {wanted} objects, {len(named)} were named')
        if len(set(named)) != wanted:
            return Unclear("it names an object twice")
        return (operator, *named)


def inside(sentence: str) -> str:
    """Lower the first letter of a fact, for use inside a sentence."""
    return sentence[:1].lower() + sentence[1:]


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


GRIPPER = Language(
    facts={
        "room": ("{} is a room", "{} is not a room"),
        "ball": ("{} is a ball", "{} is not a ball"),
        "gripper": ("{} is an arm", "{} is not an arm"),
        "at-robby": ("The robot is at {}", "The robot is not at {}"),
        "free": ("Arm {} is free", "Arm {} is not free"),
        "carry": ("{} is carried by arm {}", "{} is not carried by arm {}"),
        "at": ("{} is at {}", "{} is not at {}"),
    },
    forms={
        "move": "move from ROOM1 to ROOM2",
        "pick": "pick up BALL at ROOM with arm ARM",
        "drop": "drop BALL at ROOM with arm ARM",
    },
    synonyms={"pickup": "pick"},
)

BLOCKSWORLD = Language(
    facts={
        "arm-empty": ("The arm is empty", "The arm is not empty"),
        "holding": ("The arm is holding {}", "The arm is not holding {}"),
        "on-table": ("{} is on the table", "{} is not on the table"),
        "on": ("{} is on {}", "{} is not on {}"),
        "clear": ("{} is clear", "{} is not clear"),
    },
    forms={
        "pickup": "pickup BLOCK",
        "putdown": "putdown BLOCK",
        "stack": "stack BLOCK1 on BLOCK2",
        "unstack": "unstack BLOCK1 from BLOCK2",
    },
    synonyms={"pick up": "pickup", "put down": "putdown"},
)

BARMAN = Language(
    facts={
        "handempty": ("Hand {} is empty", "Hand {} is not empty"),
        "holding": ("Hand {} is holding {}", "Hand {} is not holding {}"),
        "ontable": ("{} is on the table", "{} is not on the table"),
        "empty": ("{} is empty", "{} is not empty"),
        "clean": ("{} is clean", "{} is not clean"),
        "contains": ("{} contains {}", "{} does not contain {}"),
        "used": ("{} is soiled with {}", "{} is not soiled with {}"),
        "unshaked": ("{} holds what is not shaken yet", "{} holds nothing to be shaken"),
        "shaked": ("{} holds a shaken cocktail", "{} holds no shaken cocktail"),
        "shaker-level": ("{} is at level {}", "{} is not at level {}"),
        "shaker-empty-level": ("{} is empty at level {}", "{} is not empty at level {}"),
        "next": ("Level {} is one below level {}", "Level {} is not one below level {}"),
        "dispenses": ("{} dispenses {}", "{} does not dispense {}"),
        "cocktail-part1": (
            "The first ingredient of {} is {}",
            "The first ingredient of {} is not {}",
        ),
        "cocktail-part2": (
            "The second ingredient of {} is {}",
            "The second ingredient of {} is not {}",
        ),
    },
    forms={
        "grasp": "HAND grasp CONTAINER",
        "leave": "HAND leave CONTAINER",
        "fill-shot": "fill-shot SHOT with INGREDIENT, holding it in HAND1, with HAND2 at DISPENSER",
        "refill-shot": (
            "refill-shot SHOT with INGREDIENT, holding it in HAND1, with HAND2 at DISPENSER"
        ),
        "empty-shot": "use HAND to empty-shot SHOT of BEVERAGE",
        "clean-shot": "clean-shot SHOT of BEVERAGE, holding it in HAND1, with HAND2",
        "pour-shot-to-clean-shaker": (
            "pour-shot-to-clean-shaker SHOT with INGREDIENT into SHAKER, holding the shot in HAND, "
            "from level LEVEL1 to level LEVEL2"
        ),
        "pour-shot-to-used-shaker": (
            "pour-shot-to-used-shaker SHOT with INGREDIENT into SHAKER, holding the shot in HAND, "
            "from level LEVEL1 to level LEVEL2"
        ),
        "empty-shaker": (
            "use HAND to empty-shaker SHAKER of COCKTAIL from level LEVEL1 to level LEVEL2"
        ),
        "clean-shaker": "use HAND1 and HAND2 to clean-shaker SHAKER",
        "shake": (
            "shake COCKTAIL from INGREDIENT1 and INGREDIENT2 in SHAKER, holding it in HAND1, "
            "with HAND2"
        ),
        "pour-shaker-to-shot": (
            "pour-shaker-to-shot BEVERAGE into SHOT, with HAND holding SHAKER, "
            "from level LEVEL1 to level LEVEL2"
        ),
    },
)

TYREWORLD = Language(
    facts={
        "unlocked": ("{} is unlocked", "{} is locked"),
        "closed": ("{} is closed", "{} is open"),
        "isopen": ("{} is open", "{} is closed"),
        "in": ("{} is in {}", "{} is not in {}"),
        "have": ("You have {}", "You do not have {}"),
        "on-ground": ("Hub {} is on the ground", "Hub {} is jacked up"),
        "not-on-ground": ("Hub {} is jacked up", "Hub {} is on the ground"),
        "fastened": ("Hub {} is fastened", "Hub {} is unfastened"),
        "unfastened": ("Hub {} is unfastened", "Hub {} is fastened"),
        "tight": ("The nut {} on the hub {} is tight", "The nut {} on the hub {} is not tight"),
        "loose": ("The nut {} on the hub {} is loose", "The nut {} on the hub {} is not loose"),
        "on": ("{} is on {}", "{} is not on {}"),
        "free": ("Hub {} is free", "Hub {} is not free"),
        "intact": ("Wheel {} is intact", "Wheel {} is not intact"),
        "inflated": ("Wheel {} is inflated", "Wheel {} is not inflated"),
        "not-inflated": ("Wheel {} is not inflated", "Wheel {} is inflated"),
    },
    forms={
        "open": "open CONTAINER",
        "close": "close CONTAINER",
        "fetch": "fetch OBJECT from CONTAINER",
        "put-away": "put-away OBJECT in CONTAINER",
        "loosen": "loosen the nut NUT on the hub HUB",
        "tighten": "tighten the nut NUT on the hub HUB",
        "jack-up": "jack-up the hub HUB",
        "jack-down": "jack-down the hub HUB",
        "undo": "undo the fastening of the nut NUT on the hub HUB",
        "do-up": "do-up the nut NUT on the hub HUB",
        "remove-wheel": "remove-wheel WHEEL from the hub HUB",
        "put-on-wheel": "put-on-wheel WHEEL on the hub HUB",
        "inflate": "inflate the wheel WHEEL",
    },
)

LANGUAGES: Mapping[str, Language] = {
    "gripper": GRIPPER,
    "blocksworld": BLOCKSWORLD,
    "barman": BARMAN,
    "tyreworld": TYREWORLD,
}
"""By domain, for this package's domain files and for AgentBoard's."""
