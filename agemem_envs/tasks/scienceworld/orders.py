"""What the goals of the memory style leave out, and stage 1 tells instead: a team's orders.

The official goal says everything: "move it to the purple box in the kitchen". In the memory style
the goal only says "the box", and which box a team uses, what it looks for and where it keeps
things is knowledge of that team's building.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agemem_envs.tasks.scienceworld.simulator import ROOMS
from agemem_envs.tasks.telling import Statement

Values = dict[str, str]
"""The values of an order by the names of the pattern's groups."""

MOVED = "At {place} it is not {wrong} any more but {value}."
"""Corrects an order by its value."""
MOVED_BOXES = "What I said were {wrong} at {place} are {value}."


def where(room: str) -> str:
    """The room as an adverb: ``in the kitchen``, or ``outside``."""
    return room if room == "outside" else f"in the {room}"


@dataclass(frozen=True, slots=True)
class Detail:
    """One statement of an order.

    Attributes:
        form: The statement, with ``{place}`` and the names of values.
        topic: What it is about, with ``{place}``.
        varies: The value that a wrong statement changes, or two that it exchanges.
        moved: The correction by the value alone, or empty.
    """

    form: str
    topic: str
    varies: tuple[str, ...]
    moved: str = ""

    @property
    def is_place(self) -> bool:
        """Whether it says where something is."""
        return self.varies[0] in ("boxes", "animals", "seeds")

    def statement(
        self, values: Values, place: str, needed: bool, generator: np.random.Generator
    ) -> Statement:
        """The statement about a place.

        Args:
            values: Of the order.
            place: The building.
            needed: Whether the task needs it.
            generator: Draws the wrong value.
        """
        name = self.varies[0]
        if len(self.varies) == 2:
            wrong = values | {name: values[self.varies[1]], self.varies[1]: values[name]}
        else:
            others = [value for value in CHOICES[name] if value != values[name]]
            wrong = values | {name: others[int(generator.integers(len(others)))]}
        return Statement(
            self.form.format(place=place, **values),
            needed,
            self.topic.format(place=place),
            wrong=self.form.format(place=place, **wrong),
            moved=self.moved.format(place=place, wrong=wrong[name], value=values[name]),
        )


@dataclass(frozen=True, slots=True)
class Order:
    """How a kind of goal is divided between the goal and stage 1.

    Attributes:
        pattern: Of the official goal; its groups are the values of the order.
        goal: The goal of the memory style.
        details: The statements that stage 1 tells instead.
        luck: The probability that a competent player who does not know the order guesses it.
        tells_things: Whether stage 1 may say where the things are that the task handles. If not,
            finding the right one is the task, and only the place of the box is told.
        implied: Values that the goal does not state, by name.
    """

    pattern: re.Pattern[str]
    goal: str
    details: tuple[Detail, ...] = ()
    luck: float = 1.0
    tells_things: bool = True
    implied: Mapping[str, str] | None = None

    @property
    def has_boxes(self) -> bool:
        """Whether two boxes stand for the possible answers."""
        return "a" in self.pattern.groupindex

    def values(self, goal: str) -> Values | None:
        """The values of an official goal; None if it is of another kind."""
        match = self.pattern.fullmatch(goal)
        if match is None:
            return None
        values = match.groupdict() | dict(self.implied or {})
        return values | {n: where(values[n]) for n in ("boxes", "seeds") if n in values}

    def drawn(self, values: Values, generator: np.random.Generator) -> Values:
        """Values of another team's order of the same kind.

        Args:
            values: Of this order; those that have no alternatives are kept.
            generator: The only source of chance.
        """
        drawn = dict(values)
        for name in sorted(values.keys() & CHOICES.keys()):
            taken = drawn["a"] if name == "b" else None
            choices = [value for value in CHOICES[name] if value != taken]
            drawn[name] = choices[int(generator.integers(len(choices)))]
        return drawn


COLOURS = ("red", "green", "blue", "yellow", "orange", "purple")
CHOICES: Mapping[str, Sequence[str]] = {
    "a": COLOURS,
    "b": COLOURS,
    "device": (
        *(f"{colour} light bulb" for colour in COLOURS[:5]),
        "electric buzzer",
        "electric motor",
    ),
    "degrees": ("-50.0", "-10.0", "0.0", "10.0", "50.0", "100.0", "150.0", "200.0"),
    "boxes": [where(room) for room in ROOMS],
    "animals": [where(room) for room in ROOMS],
    "seeds": [where(room) for room in ROOMS],
    "substance": tuple(
        "water;ice;orange juice;apple juice;chocolate;marshmallow;ice cream;soap;rubber;lead;tin;"
        "mercury;gallium".split(";")
    ),
    "secondary": ("green", "orange", "violet"),
    "tertiary": tuple(
        "green-blue blue-violet violet-red red-orange yellow-green yellow-orange".split()
    ),
    "kind": ("animal", "living thing", "non-living thing", "plant"),
    "span": (
        "the animal with the longest life span",
        "the animal with the shortest life span",
        "first the animal with the longest life span, then the one with the shortest",
    ),
    "animal": tuple(
        "turtle;wolf;crocodile;frog;moth;blue jay;brown bear;common toad;dove;giant tortoise;"
        "beaver;butterfly;elephant;parrot".split(";")
    ),
    "plant": tuple("apple apricot avocado banana cherry grapefruit lemon orange peach".split()),
    "slope": ("steepest", "shallowest"),
    "friction": ("most", "least"),
    "source": ("renewable", "nonrenewable"),
}
"""The values that an order may have, by name: of other teams, and of wrong statements."""

_BOXES = Detail(
    "At {place}, the {a} box and the {b} box are {boxes}.",
    "where the boxes are at {place}",
    ("boxes",),
    MOVED_BOXES,
)
_ANIMALS = Detail(
    "At {place}, the animals are {animals}.",
    "where the animals are at {place}",
    ("animals",),
    MOVED_BOXES,
)
_SEEDS = Detail(
    "At {place}, the seeds are {seeds}.",
    "where the seeds are at {place}",
    ("seeds",),
    MOVED_BOXES,
)
_MEASURED = Detail(
    "At {place}, the {a} box is for what measures above {degrees} degrees celsius, and the {b} "
    "box for what measures below.",
    "what the boxes are for at {place}",
    ("a", "b"),
)
_SPAN = Detail(
    "At {place}, the team looks for {span}.", "what the team looks for at {place}", ("span",), MOVED
)
_KIND = Detail(
    "At {place}, the team collects one {kind} each day.",
    "what the team collects at {place}",
    ("kind",),
    MOVED,
)
_DEVICE = Detail(
    "At {place}, the device that the team wants to run is the {device}.",
    "the device that the team wants to run at {place}",
    ("device",),
    MOVED,
)


def _paint(name: str) -> Detail:
    return Detail(
        f"At {{place}}, the paint that the team needs is {{{name}}} paint.",
        "the paint that the team needs at {place}",
        (name,),
        MOVED,
    )


def _wanted_plane(name: str, noun: str) -> Detail:
    return Detail(
        f"At {{place}}, the team looks for the inclined plane with the {{{name}}} {noun}.",
        "what the team looks for at {place}",
        (name,),
        MOVED,
    )


_ONE_BOX = "First, focus on the thing. Then, move it to the {colour} box."
_FIND_GOAL = f"Your task is to find a thing of the kind that the team collects. {_ONE_BOX}"
_FIND_END = (
    r"\. First, focus on the thing\. Then, move it to the (?P<colour>\w+) box in the [\w ]+\."
)
_SPAN_GOAL = (
    "Your task is to focus on what the team looks for among the animals here. If it is more "
    "than one thing, keep their order."
)
_LIFE_SPAN = r"Your task is to find the animal with the "
_PLANES = (
    r"Your task is to determine which of the two inclined planes \((?P<planes>[^)]+)\) has the "
)
_BY_BOX = (
    r"above (?P<degrees>\S+) degrees celsius, (?:place it in|focus on) the (?P<a>\w+) box\. If "
    r"the .+? is below \S+ degrees celsius, (?:place it in|focus on) the (?P<b>\w+) box\. The "
    r"boxes are located around the (?P<boxes>[\w ]+)\."
)


def _row(pattern: str, goal: str, *details: Detail, **rest: object) -> Order:
    return Order(re.compile(pattern), goal, details, **rest)  # type: ignore[arg-type]


ORDERS = (
    _row(
        r"Your task is to (?P<deed>boil|melt|freeze|change the state of matter of) "
        r"(?P<substance>[\w ]+)\. (?P<rest>.+)",
        "Your task is to {deed} the substance that the team works on. {rest}",
        Detail(
            "At {place}, the substance that the team works on is {substance}.",
            "the substance that the team works on at {place}",
            ("substance",),
            MOVED,
        ),
        luck=0.25,  # the kitchen shows about four
    ),
    _row(
        r"Your task is to use chemistry to create the substance '(?P<product>[^']+)'\. A recipe "
        r"and some of the ingredients might be found near the [\w ]+\. (?P<rest>.+)",
        "Your task is to use chemistry to create the substance '{product}'. A recipe and some of "
        "the ingredients might be found in the building. {rest}",
    ),
    _row(
        r"Your task is to use chemistry to create (?P<secondary>\w+) paint\. When you are done, .+",
        "Your task is to use chemistry to create the paint that the team needs. When you are "
        "done, focus on that paint.",
        _paint("secondary"),
        luck=1 / 3,
    ),
    _row(
        r"Your task is to use chemistry to create (?P<tertiary>[\w-]+) paint\. When you are part.+",
        "Your task is to use chemistry to create the paint that the team needs. When you are "
        "part-way done, focus on the intermediate (secondary color) paint you created. When you "
        "are completely done, focus on the paint that the team needs.",
        _paint("tertiary"),
        luck=1 / 6,
    ),
    _row(
        r"Your task is to find a\(n\) (?P<kind>living thing)" + _FIND_END,
        _FIND_GOAL,
        _KIND,
        luck=2 / 3,  # an animal is one, and a plant
        tells_things=False,
    ),
    _row(
        r"Your task is to find a\(n\) (?P<kind>animal|plant|non-living thing)" + _FIND_END,
        _FIND_GOAL,
        _KIND,
        luck=1 / 3,
        tells_things=False,
    ),
    *(
        _row(
            _LIFE_SPAN + start + r"\. .+",
            _SPAN_GOAL,
            _SPAN,
            _ANIMALS,
            luck=0.5,  # for both in turn, it helps to guess the first of them
            tells_things=False,
            implied={"span": span, "animals": "outside"},
        )
        for start, span in zip(
            (
                "longest life span",
                "shortest life span",
                "longest life span, then the shortest life span",
            ),
            CHOICES["span"],
            strict=True,
        )
    ),
    _row(
        r"Your task is to focus on the \d+ life stages of the (?P<animal>[\w ]+), starting from "
        r"earliest to latest\.",
        "Your task is to focus on the life stages of the animal that the team studies, starting "
        "from earliest to latest.",
        Detail(
            "At {place}, the animal that the team studies is the {animal}.",
            "the animal that the team studies at {place}",
            ("animal",),
            MOVED,
        ),
        _ANIMALS,
        luck=0.2,  # there are at least five
        tells_things=False,
        implied={"animals": "outside"},
    ),
    _row(
        r"Your task is to focus on the life stages of the (?P<plant>[\w ]+) plant, starting from "
        r"earliest to latest\. The plants are located outside\.",
        "Your task is to focus on the life stages of the plant that the team studies, starting "
        "from earliest to latest.",
        Detail(
            "At {place}, the plant that the team studies is the {plant} plant.",
            "the plant that the team studies at {place}",
            ("plant",),
            MOVED,
        ),
        luck=0.2,
        tells_things=False,
    ),
    *(
        _row(
            rf"Your task is to (?P<deed>measure the {quantity} of) (?P<thing>.+?), which is "
            r"located around the [\w ]+\. First, focus on the thermometer\. Next, focus on the "
            r".+?\. If the .+? is " + _BY_BOX,
            "Your task is to {deed} {thing}. First, focus on the thermometer. Next, focus on the "
            f"{{thing}}. Then {answer} the box that is for what you measured.",
            _MEASURED,
            _BOXES,
            luck=0.5,
        )
        for quantity, answer in (("melting point", "focus on"), ("temperature", "place it in"))
    ),
    _row(
        r"(?P<start>Your task is to determine whether .+? is a dominant or recessive trait in the "
        r".+?\.) If the trait is dominant, focus on the (?P<a>\w+) box\. If the trait is "
        r"recessive, focus on the (?P<b>\w+) box\.",
        "{start} Then focus on the box that is for the answer.",
        Detail(
            "At {place}, the {a} box is for dominant traits, and the {b} box for recessive ones.",
            "what the boxes are for at {place}",
            ("a", "b"),
        ),
        _BOXES,
        luck=0.5,
    ),
    _row(
        r"(?P<start>Your task is to determine if (?P<thing>.+?) is electrically conductive)\. The "
        r".+? is located around the [\w ]+\. First, focus on the .+?\. If it is electrically "
        r"conductive, place it in the (?P<a>\w+) box\. If it is electrically nonconductive, place "
        r"it in the (?P<b>\w+) box\.",
        "{start}. First, focus on the {thing}. Then place it in the box that is for the answer.",
        Detail(
            "At {place}, the {a} box is for what conducts electricity, and the {b} box for what "
            "does not.",
            "what the boxes are for at {place}",
            ("a", "b"),
        ),
        _BOXES,
        luck=0.5,
    ),
    _row(
        r"Your task is to turn on the (?P<device>[\w ]+) by powering it using a (?P<source>\w+) "
        r"power source\. First, focus on the .+?\. (?P<rest>.+)",
        "Your task is to turn on the device that the team wants to run, by a power source of the "
        "kind that the team uses. First, focus on the device. {rest}",
        _DEVICE,
        Detail(
            "At {place}, the team uses {source} power sources.",
            "the power sources at {place}",
            ("source",),
        ),
        luck=1 / 6,
    ),
    _row(
        r"Your task is to turn on the (?P<device>[\w ]+)\. First, focus on the .+?\. (?P<rest>.+)",
        "Your task is to turn on the device that the team wants to run. First, focus on it. {rest}",
        _DEVICE,
        luck=1 / 3,
    ),
    _row(
        _PLANES + r"(?P<slope>steepest|shallowest) angle\. After .+",
        "Your task is to determine which of the two inclined planes ({planes}) the team looks for. "
        "After completing your experiment, focus on that inclined plane.",
        _wanted_plane("slope", "angle"),
        luck=0.5,
    ),
    _row(
        _PLANES + r"(?P<friction>most|least) friction\. After .+",
        "Your task is to determine which of the two inclined planes ({planes}) the team looks for. "
        "After completing your experiment, focus on that inclined plane.",
        _wanted_plane("friction", "friction"),
        luck=0.5,
    ),
    _row(
        r"(?P<start>Your task is to grow an? .+?) Seeds can be found in the (?P<seeds>[\w ]+)\. "
        r"(?P<rest>.+)",
        "{start} {rest}",
        _SEEDS,
    ),
)
"""All kinds of goals; the first whose pattern fits a goal is its kind."""


def find_order(goal: str) -> tuple[Order, Values] | None:
    """The order of an official goal, with its values; None if it is of no known kind.

    Args:
        goal: On one line.
    """
    for order in ORDERS:
        values = order.values(goal)
        if values is not None:
            return order, values
    return None
