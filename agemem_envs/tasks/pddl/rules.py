"""The knowledge about PDDL worlds: rules of a domain, and findings about a problem.

The rules are those that AgentBoard gives to a player. Findings follow from the start and the
goal of a problem, and save the player from deriving them. Both are told in stage 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agemem_envs.tasks.pddl.language import listed
from agemem_envs.tasks.pddl.world import Problem


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a domain, which completes a sentence that begins "In the ... world".

    Attributes:
        text: The rule, without a full stop.
        topic: The topic that a problem must have for the rule to matter; empty if it always
            matters.
    """

    text: str
    topic: str = ""


@dataclass(frozen=True, slots=True)
class DomainRules:
    """The knowledge about a domain.

    Attributes:
        world_name: The domain's name in sentences.
        rules: The rules that a player must know, in the order of the briefing.
        trivia: True statements about the domain that no problem needs.
        topics: Returns the topics of a problem.
        findings: Returns what a player needs to know about a problem, as ends of sentences.
        irrelevant_findings: Returns true statements about a problem that no plan needs.
    """

    world_name: str
    rules: tuple[Rule, ...]
    trivia: tuple[str, ...]
    topics: Callable[[Problem], frozenset[str]]
    findings: Callable[[Problem], list[str]]
    irrelevant_findings: Callable[[Problem], list[str]]

    def needed_rules(self, problem: Problem) -> list[str]:
        """The rules that this problem needs."""
        topics = self.topics(problem) | {""}
        return [rule.text for rule in self.rules if rule.topic in topics]

    def irrelevant_rules(self, problem: Problem) -> list[str]:
        """The rules that this problem does not need, and the trivia."""
        needed = self.needed_rules(problem)
        return [rule.text for rule in self.rules if rule.text not in needed] + [*self.trivia]

    def briefing(self) -> str:
        """All rules in one text."""
        lines = [f"- {rule.text[0].upper()}{rule.text[1:]}." for rule in self.rules]
        return "\n".join([f"The rules of the {self.world_name}:", *lines])


def _nothing(problem: Problem) -> frozenset[str]:
    return frozenset()


# -- gripper ---------------------------------------------------------------------------


def _places(problem: Problem) -> dict[str, str]:
    return {atom[1]: atom[2] for atom in problem.initially("at")}


def _gripper_findings(problem: Problem) -> list[str]:
    places = _places(problem)
    wrong = [f"{ball} (found at {places[ball]})" for _, ball, _ in problem.unmet()]
    return [f"the only balls out of place at the start are {listed(wrong)}"]


def _gripper_irrelevant_findings(problem: Problem) -> list[str]:
    moving = {atom[1] for atom in problem.unmet()}
    at_rest = [f"{ball} may stay at {room}" for ball, room in _places(problem).items()
               if ball not in moving]  # fmt: skip
    rooms = [atom[1] for atom in problem.initially("room")]
    return [*at_rest, f"there are {len(rooms)} rooms, {listed(rooms)}"]


GRIPPER = DomainRules(
    world_name="gripper world",
    rules=(
        Rule(
            "the robot picks up a ball only at the room where both of them are, "
            "and only with an arm that is free"
        ),
        Rule(
            "a ball that is carried comes along when the robot moves, and is dropped "
            "at the room where the robot then is, which frees the arm"
        ),
        Rule("one move takes the robot from any room to any other, whatever its arms carry"),
        Rule(
            "the shortest way is to use both arms on each trip: pick up two balls, move, "
            "drop them, and take along what must go the other way"
        ),
    ),
    trivia=(
        "the left arm and the right arm can do the same things",
        "a room has space for any number of balls",
        "the balls do not differ in weight",
    ),
    topics=_nothing,
    findings=_gripper_findings,
    irrelevant_findings=_gripper_irrelevant_findings,
)


# -- blocksworld -----------------------------------------------------------------------


def _blocks_in_order(problem: Problem) -> list[tuple[str, str]]:
    """The goal's pairs (block, block below), each tower from the bottom up."""
    above = {under: block for _, block, under in problem.goal}
    bottoms = sorted(set(above) - set(above.values()))
    pairs = []
    for under in bottoms:
        while under in above:
            pairs.append((above[under], under))
            under = above[under]
    return pairs


def _blocks_findings(problem: Problem) -> list[str]:
    steps = [f"{block} on {under}" for block, under in _blocks_in_order(problem)]
    order = f"one has to build {', then '.join(steps)}"
    on_top = {atom[2]: atom[1] for atom in problem.initially("on")}
    wanted = {(atom[1], atom[2]) for atom in problem.goal if atom[0] == "on"}
    named = sorted({name for pair in wanted for name in pair})
    buried = [
        f"{on_top[name]} off {name}"
        for name in named
        if name in on_top and (on_top[name], name) not in wanted
    ]
    return [order] + ([f"one has to take {listed(buried)} before that"] if buried else [])


def _blocks_irrelevant_findings(problem: Problem) -> list[str]:
    named = {name for atom in problem.goal for name in atom[1:]}
    blocks = [name for name, _ in problem.objects]
    unasked = [f"it does not matter where {name} ends up" for name in blocks if name not in named]
    return [*unasked, f"there are {len(blocks)} blocks"]


BLOCKSWORLD = DomainRules(
    world_name="blocksworld",
    rules=(
        Rule(
            "the arm holds one block at a time, and takes a block only if the arm is empty "
            "and nothing stands on that block"
        ),
        Rule(
            "pickup takes a block from the table, unstack takes a block that stands on another one"
        ),
        Rule(
            "a held block goes onto the table with putdown, which is always possible, or with "
            "stack onto a block that has nothing on it"
        ),
        Rule(
            "the sure way is to put onto the table whatever stands in the way, and then to "
            "build every tower from its lowest pair upwards"
        ),
    ),
    trivia=(
        "the table has room for all blocks",
        "any block can stand on any other block",
        "a block's number says nothing of its size",
    ),
    topics=_nothing,
    findings=_blocks_findings,
    irrelevant_findings=_blocks_irrelevant_findings,
)


# -- barman ----------------------------------------------------------------------------


def _barman_topics(problem: Problem) -> frozenset[str]:
    ordered = {drink for _, _, drink in problem.goal if drink in problem.of_type("cocktail")}
    topics = {"cocktail"} if ordered else {"plain"}
    return frozenset(topics | ({"cocktails"} if len(ordered) > 1 else set()))


def _recipe(problem: Problem, cocktail: str) -> tuple[str, str]:
    parts = {(atom[0], atom[1]): atom[2] for atom in problem.init if "part" in atom[0]}
    return parts["cocktail-part1", cocktail], parts["cocktail-part2", cocktail]


def _sources(problem: Problem) -> dict[str, str]:
    return {atom[2]: atom[1] for atom in problem.initially("dispenses")}


def _barman_findings(problem: Problem) -> list[str]:
    source = _sources(problem)
    steps = []
    for drink in sorted({atom[2] for atom in problem.goal}):
        if drink in problem.of_type("cocktail"):
            first, second = _recipe(problem, drink)
            parts = f"{first} (of {source[first]}) and {second} (of {source[second]})"
            steps.append(f"{drink} is shaken from {parts}")
        else:
            steps.append(f"{drink} comes straight from {source[drink]}")
    served = {atom[1] for atom in problem.unmet()}
    soiled = [shot for _, shot, _ in problem.initially("used") if shot in served]
    steps += [f"{shot} must be cleaned before it can be served" for shot in soiled]
    return ["; ".join(steps)]


def _barman_irrelevant_findings(problem: Problem) -> list[str]:
    wanted = {name for atom in problem.goal for name in atom[1:]}
    source = _sources(problem)
    unordered = [name for name in problem.of_type("cocktail") if name not in wanted]
    spare = [name for name in problem.of_type("shot") if name not in wanted]
    remarks = [
        f"{name} is made of {listed(_recipe(problem, name))}, but nobody orders it"
        for name in unordered[:2]
    ]
    needed = wanted | {
        part
        for name in problem.of_type("cocktail")
        if name in wanted
        for part in _recipe(problem, name)
    }
    remarks += [
        f"{source[name]} with {name} is not needed"
        for name in problem.of_type("ingredient")
        if name not in needed
    ]
    return remarks + [f"{shot} need not be served" for shot in spare[:2]]


BARMAN = DomainRules(
    world_name="barman world",
    rules=(
        Rule(
            "a hand that is empty can grasp a shot or the shaker from the table, "
            "and is empty again when it has left that on the table"
        ),
        Rule(
            "fill-shot needs the shot in one hand, the other hand empty, and a shot that is "
            "empty and clean; clean-shot makes an empty shot clean again in the same position"
        ),
        Rule(
            "a plain drink is served by filling its shot and leaving it on the table, "
            "so that the hands are ready for the next shot",
            "plain",
        ),
        Rule(
            "ingredients get into the shaker from a shot: the first by pour-shot-to-clean-shaker, "
            "the second by pour-shot-to-used-shaker, and each pouring raises the shaker's level "
            "by one",
            "cocktail",
        ),
        Rule(
            "one shakes with the shaker in one hand, the other hand empty and both ingredients "
            "of the cocktail inside; pour-shaker-to-shot then fills an empty and clean shot "
            "and lowers the level by one",
            "cocktail",
        ),
        Rule(
            "the shaker, held in one hand, must be emptied with empty-shaker and then cleaned "
            "with clean-shaker and an empty other hand before the next cocktail",
            "cocktails",
        ),
    ),
    trivia=(
        "a shot that is empty and soiled takes more of the same ingredient with refill-shot",
        "empty-shot throws away what is in a shot",
        "both hands can do the same things",
    ),
    topics=_barman_topics,
    findings=_barman_findings,
    irrelevant_findings=_barman_irrelevant_findings,
)


# -- tyreworld -------------------------------------------------------------------------


def _hubs_in_work(problem: Problem) -> list[str]:
    """The hubs whose wheel or nut must change."""
    bearer = {atom[1]: atom[2] for atom in problem.initially("on")}
    hubs = set()
    for atom in problem.unmet():
        hubs |= set(atom[1:]) & set(problem.of_type("hub"))
        hubs |= {bearer[name] for name in atom[1:] if name in bearer}
    return sorted(hubs)


def _tyre_topics(problem: Problem) -> frozenset[str]:
    topics = {"exchange"} if _hubs_in_work(problem) else set()
    return frozenset(topics | {atom[0] for atom in problem.unmet()})


def _tyre_findings(problem: Problem) -> list[str]:
    """The wheels that must be exchanged, and the places of the tools."""
    steps = []
    new = {atom[2]: atom[1] for atom in problem.goal if atom[0] == "on"}
    for _, wheel, hub in problem.initially("on"):
        if hub in _hubs_in_work(problem):
            put = f" and {new[hub]} put on" if hub in new else ""
            steps.append(f"{wheel} must be taken off {hub}{put}")
    pumped = [atom[1] for atom in problem.unmet() if atom[0] == "inflated"]
    if pumped:
        steps.append(f"the pump is for {listed(pumped)}")
    tools = (["wrench", "jack"] if _hubs_in_work(problem) else []) + ["pump"] * bool(pumped)
    steps += [f"the {tool} is in {place}" for _, tool, place in problem.initially("in")
              if tool in tools]  # fmt: skip
    return ["; ".join(steps)] if steps else []


def _tyre_irrelevant_findings(problem: Problem) -> list[str]:
    wanted = {name for atom in problem.goal for name in atom[1:]}
    wheels = [atom[1] for atom in problem.initially("intact")]
    unused = [f"{wheel} is a spare wheel too many" for wheel in wheels if wheel not in wanted]
    idle_hubs = [hub for hub in problem.of_type("hub") if hub not in _hubs_in_work(problem)]
    unused += [f"nothing needs to be done at {hub}" for hub in idle_hubs]
    return [*unused[:3], f"there are {len(wheels)} spare wheels"]


TYREWORLD = DomainRules(
    world_name="tyreworld",
    rules=(
        Rule(
            "things are fetched from the boot and put away in it only while it is open; "
            "open opens it while it is unlocked and closed"
        ),
        Rule(
            "a nut is loosened and tightened with the wrench while its hub is on the ground, "
            "so it must be loosened before the hub is jacked up",
            "exchange",
        ),
        Rule(
            "jack-up leaves the jack under the hub until jack-down gives it back, "
            "so one jack lifts one hub at a time",
            "exchange",
        ),
        Rule(
            "at a hub that is jacked up, with the wrench: undo takes off the loose nut, then "
            "remove-wheel takes off the wheel, put-on-wheel puts on one that you have, and do-up "
            "puts the nut back, loose",
            "exchange",
        ),
        Rule(
            "inflate needs the pump in hand and an intact wheel, which may be anywhere, "
            "even in the boot",
            "inflated",
        ),
    ),
    trivia=(
        "only the boot can be opened and closed",
        "you can have any number of things at once",
        "a wheel that was flat need not be repaired",
        "the jack is not used up",
    ),
    topics=_tyre_topics,
    findings=_tyre_findings,
    irrelevant_findings=_tyre_irrelevant_findings,
)

DOMAIN_RULES: Mapping[str, DomainRules] = {
    "gripper": GRIPPER,
    "blocksworld": BLOCKSWORLD,
    "barman": BARMAN,
    "tyreworld": TYREWORLD,
}
"""By domain."""
