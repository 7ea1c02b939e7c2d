"""The memory style of AgeMem-ScienceWorld: what is told, and who plays."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agemem_envs.errors import ConfigurationError, SimulatorError
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import TaskSpec
from agemem_envs.tasks.scienceworld.building import Told, tell_task
from agemem_envs.tasks.scienceworld.orders import ORDERS, find_order
from agemem_envs.tasks.scienceworld.routes import PASSAGES, shorter_versions, way
from agemem_envs.tasks.scienceworld.searcher import Searcher
from agemem_envs.tasks.scienceworld.task import ScienceWorldTask
from tests.conftest import ROOT, not_none

MEASURE = (
    "Your task is to measure the temperature of salt, which is located around the living room. "
    "First, focus on the thermometer. Next, focus on the salt. If the salt temperature is above "
    "50.0 degrees celsius, place it in the red box. If the salt temperature is below 50.0 "
    "degrees celsius, place it in the green box. The boxes are located around the bathroom."
)
PATH = [
    "go to kitchen",
    "pick up thermometer",
    "focus on thermometer in inventory",
    "go to hallway",
    "go to living room",
    "pick up salt",
    "focus on salt in inventory",
    "go to hallway",
    "go to kitchen",
    "go to bathroom",
    "use thermometer in inventory on salt in inventory",
    "move salt in inventory to green box",
]
PLACES = [
    ("axe", "", "outside"),
    ("battery", "table", "workshop"),
    ("green box", "", "bathroom"),
    ("jug", "table", "art studio"),
    ("lighter", "", "kitchen"),
    ("orange", "bowl", "kitchen"),
    ("painting", "", "bathroom"),
    ("painting", "", "hallway"),
    ("pillow", "couch", "living room"),
    ("red box", "", "bathroom"),
    ("salt", "", "living room"),
    ("soap", "", "kitchen"),
    ("thermometer", "", "kitchen"),
]
HALLWAY = "This room is called the hallway. In it, you see: \n\tthe agent\n\ta picture\n"
REPLY = {"goal": MEASURE, "gold": PATH, "places": PLACES, "observation": HALLWAY}
GOALS = {
    "Your task is to boil ice cream. For compounds without a boiling point, combusting the "
    "substance is also acceptable. First, focus on the substance. Then, act.": "ice cream",
    "Your task is to find a(n) non-living thing. First, focus on the thing. Then, move it to the "
    "blue box in the living room.": "living",
    "Your task is to find the animal with the longest life span, then the shortest life span. "
    "First, focus on the animal with the longest life span. Then, focus on the animal with the "
    "shortest life span. The animals are in the 'outside' location.": "life span",
    "Your task is to focus on the 4 life stages of the giant tortoise, starting from earliest to "
    "latest.": "tortoise",
    "Your task is to use chemistry to create green paint. When you are done, focus on the green "
    "paint.": "green",
    MEASURE: "50.0",
    "Your task is to determine whether tall plant height is a dominant or recessive trait in the "
    "pea plant. If the trait is dominant, focus on the blue box. If the trait is recessive, focus "
    "on the orange box.": "orange",
    "Your task is to turn on the electric motor by powering it using a renewable power source. "
    "First, focus on the electric motor. Then, create a circuit.": "renewable",
    "Your task is to grow a apple plant from seed. Seeds can be found in the bathroom. First, "
    "focus on a seed. Then, make changes.": "bathroom",
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def told(seed: int = 0, updates: int = 6) -> Told:
    return tell_task(REPLY, Amounts(60, updates, 12), rng(seed))


def gold_of(task: Told) -> list[str]:
    return [fact.gold for talk in task.knowledge for fact in talk.facts if fact.gold]


@pytest.mark.parametrize("goal", GOALS)
def test_the_goal_leaves_out_what_stage_1_tells(goal: str) -> None:
    order, values = not_none(find_order(goal))
    text = order.goal.format(**values)
    assert "{" not in text
    assert text.startswith("Your task is to ")
    assert GOALS[goal] in goal
    assert GOALS[goal] not in text
    values = {"boxes": "in the greenhouse"} | values  # of the boxes that the goal does not place
    details = [d.statement(values, "Dove Hall", True, rng()) for d in order.details]
    assert any(GOALS[goal] in detail.text for detail in details)
    for detail in details:
        assert detail.wrong != detail.text
        assert "Dove Hall" in detail.text


def test_goals_of_an_unknown_kind_are_an_error() -> None:
    with pytest.raises(SimulatorError, match="unknown kind"):
        tell_task(REPLY | {"goal": "Sing."}, Amounts(60, 6, 12), rng())


def test_luck_is_a_probability_and_less_than_one_where_something_is_left_open() -> None:
    assert all(0 < order.luck <= 1 for order in ORDERS)


def test_the_needed_statements_are_the_link_the_order_and_the_places() -> None:
    gold = gold_of(told(updates=0))
    place = next(text for text in gold if " team works at " in text.replace("'s", "")).split(
        " at "
    )[1]
    place = place.rstrip(".")
    assert set(gold) == {
        f"{told(updates=0).key_items[0]}'s team works at {place}.",
        f"At {place}, the red box is for what measures above 50.0 degrees celsius, and the green "
        "box for what measures below.",
        f"At {place}, the red box and the green box are in the bathroom.",
        f"At {place}, the thermometer is in the kitchen.",
        f"At {place}, the salt is in the living room.",
    }


def test_what_the_first_room_shows_is_not_needed() -> None:
    bathroom = HALLWAY.replace("hallway", "bathroom")
    task = tell_task(REPLY | {"observation": bathroom}, Amounts(60, 0, 12), rng())
    assert len(gold_of(task)) == 4
    assert not any("are in the bathroom" in text for text in gold_of(task))


def test_no_message_holds_an_action_or_the_answer() -> None:
    task = told()
    text = "\n".join(talk.text for talk in (*task.knowledge, *task.distractors))
    for action in PATH:
        assert action not in text
    assert "the green box is in" not in text  # the boxes are told together


def test_stage_1_is_of_five_buildings_and_names_the_goal_s_things() -> None:
    task = told()
    text = " ".join(talk.text for talk in task.knowledge)
    assert text.count("'s team works at ") == 5
    assert {task.key_items[0], "thermometer", "salt"} == set(task.key_items)
    assert all(item in text for item in task.key_items)
    later = " ".join(talk.text for talk in task.distractors)
    assert task.key_items[0] not in later
    assert "thermometer" in later


@pytest.mark.parametrize("seed", range(8))
def test_changes_are_consistent(seed: int) -> None:
    task = told(seed)
    talks = (*task.knowledge, *task.distractors)
    said = {fact.text for talk in talks for fact in talk.facts} | {t.text for t in talks}
    changes = [change for talk in talks for change in talk.changes]
    assert len(changes) == 6
    for index, talk in enumerate(talks):
        for change in talk.changes:
            assert change.message == index
            assert change.stale != change.valid
            assert any(change.stale in text for text in said)
            earlier = [t.text for t in talks[:index]]
            assert sum(change.stale in t or change.valid in t for t in earlier) == 1
        if talk.text.startswith("What I said was "):  # by its value, of which there is one
            stale = talk.changes[0].stale
            place, value = stale.split(",")[0], stale[stale.index(" is ") :]
            same = [f for t in talks for f in t.facts if f.text.startswith(place)]
            assert sum(f.text.endswith(value) for f in same) == 1


def test_messages_are_the_same_in_every_process() -> None:
    code = (
        "import hashlib; from tests.envs.test_scienceworld_memory import told; "
        "print(hashlib.sha256(repr(told()).encode()).hexdigest())"
    )
    seen = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert seen == [hashlib.sha256(repr(told()).encode()).hexdigest()] * 2


def test_ways_and_shorter_paths() -> None:
    assert way(PASSAGES, "bathroom", "foundry") == ["kitchen", "outside", "foundry"]
    assert way(PASSAGES, "bathroom", "bathroom") == []
    assert way({"bathroom": ["kitchen"]}, "bathroom", "foundry") == []
    path = ["open door to hallway", "go to hallway", "go to bedroom", "look around"]
    path += ["go to hallway", "go to kitchen", "pick up soap", "wait1"]
    direct, plain = shorter_versions(path, "bathroom")
    assert direct == ["go to kitchen", "pick up soap", "wait1"]
    assert plain == [a for a in path if not a.startswith(("open", "look"))]


class Building:
    """A building in which every deed succeeds in its room."""

    def __init__(self, contents: dict[str, list[str]], start: str = "hallway") -> None:
        self.contents = contents
        self.room = start
        self.played: list[tuple[str, str]] = []

    def look(self) -> str:
        things = "".join(f"\ta {thing}\n" for thing in self.contents.get(self.room, []))
        doors = "".join(f"\tA door to the {door} (that is open)\n" for door in PASSAGES[self.room])
        return f"This room is called the {self.room}. In it, you see: \n{things}{doors}"

    def reply(self, action: str) -> str:
        self.played.append((self.room, action))
        if action == "look around":
            return self.look()
        if action.startswith("go to "):
            room = action.removeprefix("go to ")
            assert room in PASSAGES[self.room]
            self.room = room
            return f"You move to the {room}."
        return "You do it."


def play(building: Building, path: list[str], right: bool = True, seed: int = 0) -> list[str]:
    searcher = Searcher(path, building.look(), right, rng(seed))
    while (action := searcher.action()) is not None and len(building.played) < 99:
        searcher.see(action, building.reply(action))
    return [action for _, action in building.played]


BOXES = {"bathroom": ["red box", "green box"], "kitchen": ["thermometer"], "living room": ["salt"]}


def test_the_searcher_does_every_deed_in_its_room() -> None:
    building = Building(BOXES)
    play(building, PATH)
    deeds = [a for a in PATH if not a.startswith("go to ")]
    rooms = {"pick up thermometer": "kitchen", "pick up salt": "living room"}
    done = [(r, a) for r, a in building.played if not a.startswith(("go to ", "look"))]
    assert [action for _, action in done] == deeds
    assert all({a: r for r, a in done}[a] == room for a, room in rooms.items())
    assert done[-1][0] == "bathroom"


def test_the_searcher_does_not_know_what_it_has_not_seen() -> None:
    """Where the thing is makes no difference until the player stands before it."""
    for seed in range(6):
        plays = [
            play(Building({room: ["soap"]}), [*moves, "pick up soap"], seed=seed)
            for room, moves in (
                ("workshop", ["go to workshop"]),
                ("foundry", ["go to kitchen", "go to outside", "go to foundry"]),
            )
        ]
        shorter = min(plays, key=len)
        until = shorter.index("pick up soap")
        assert plays[0][:until] == plays[1][:until]


def test_the_searcher_finds_known_rooms_again_by_the_shortest_way() -> None:
    path = ["go to kitchen", "pick up soap", "go to hallway", "go to workshop", "pick up axe"]
    path += ["go to hallway", "go to kitchen", "put down axe"]
    actions = play(Building({"kitchen": ["soap"], "workshop": ["axe"]}), path)
    assert actions[-3:] == ["go to hallway", "go to kitchen", "put down axe"]


def test_a_wrong_guess_takes_the_other_box_or_another_thing() -> None:
    assert play(Building(BOXES), PATH, right=False)[-1] == "move salt in inventory to red box"
    things = ["substance called air", "crocodile", "mouse"]
    outside = Building({"outside": things}, start="greenhouse")
    path = ["go to outside", "focus on crocodile"]
    assert play(outside, path, right=False)[-1] == "focus on mouse"


def test_the_searcher_waits_for_a_thing_that_changes_its_name() -> None:
    opening = "This room is called the kitchen. In it, you see: \n\ta egg frog\n"
    searcher = Searcher(["focus on tadpole frog in kitchen", "wait1"], opening, True, rng())
    replies = {
        "focus on tadpole frog in kitchen": "No known action matches that input.",
        "focus on tadpole frog": "Ambiguous request: enter a number",
    }
    played = []
    while (action := searcher.action()) is not None:
        played.append(action)
        looked = opening.replace("egg", "tadpole") if played.count("look around") > 1 else opening
        searcher.see(action, looked if action == "look around" else replies.get(action, "Done."))
    looks = ["look around", "wait1", "look around"]
    focus = ["focus on tadpole frog", "0"]
    assert played == ["focus on tadpole frog in kitchen", *looks, *focus, "wait1"]


def test_numbers_are_checked() -> None:
    for options in ({"facts": -1}, {"updates": -1}, {"distractors": -1}):
        with pytest.raises(ConfigurationError, match="at least 0"):
            ScienceWorldTask("all", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="openDoors"):
        ScienceWorldTask("all", facts=60, simplifications="openContainers")
    assert ScienceWorldTask("all").variant == ""
    assert "facts=60" in ScienceWorldTask("all", facts=60).variant


# -- with the simulator ------------------------------------------------------------------


@pytest.fixture(scope="module")
def task() -> Iterator[ScienceWorldTask]:
    made = ScienceWorldTask("all", facts=60, updates=6, distractors=12)
    yield made
    made.close()


def digest(spec: TaskSpec) -> str:
    """Of what a task without further facts tells."""
    facts = [(fact.text, fact.gold) for talk in spec.knowledge for fact in talk.facts]
    told = (spec.query, spec.opening, facts, [talk.text for talk in spec.distractors])
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def test_without_facts_nothing_has_changed() -> None:
    former = ScienceWorldTask("all")
    digests = [digest(former.reset(f"{name}/0", rng())) for name in ("boil", "use-thermometer")]
    assert digests == ["a7a6478ee0cff926", "77d707175e027829"]
    assert former.explorer_action() is None
    former.close()


def test_the_expert_s_path_is_short_and_wins(task: ScienceWorldTask) -> None:
    spec = task.reset("use-thermometer/0", rng())
    actions = []
    while (action := task.expert_action()) is not None:
        actions.append(action)
        outcome = task.step(action)
    assert outcome.success
    assert len(actions) == spec.expert_actions == 12
    assert not any(action.startswith(("open door", "look around")) for action in actions)


def test_the_needed_places_are_true(task: ScienceWorldTask) -> None:
    spec = task.reset("use-thermometer/0", rng())
    places: list[Any] = task._simulator.call("_places")
    rooms = {thing: room for thing, _, room in places}
    for thing in ("thermometer", "unknown substance B", "red box", "green box"):
        fact = next(text for text in spec.gold_facts if thing in text and " in the " in text)
        assert fact.endswith(f"in the {rooms[thing]}.")
    assert len(spec.gold_facts) == 5
    assert "temperature of unknown substance B." in spec.query
    assert "box in" not in spec.query


def test_the_searcher_wins_if_it_may_search(task: ScienceWorldTask) -> None:
    seed = next(s for s in range(9) if guesses_right(task, s))
    task.reset("find-non-living-thing/0", rng(seed))
    for _ in range(40):
        outcome = task.step(not_none(task.explorer_action()))
        if outcome.done:
            break
    assert outcome.success


def guesses_right(task: ScienceWorldTask, seed: int) -> bool:
    task.reset("find-non-living-thing/0", rng(seed))
    return not_none(task._searcher)._right


def test_one_seed_is_one_episode(task: ScienceWorldTask) -> None:
    first = task.reset("melt/0", rng(3))
    assert task.reset("find-animal/3", rng(3)) != first
    assert task.reset("melt/0", rng(3)) == first
    plain = task.reset("melt/0", rng(3), with_stage_messages=False)
    assert plain.knowledge == plain.distractors == ()
    assert "Your task is to melt water" in plain.query  # nothing is told: the whole goal
    assert plain.expert_actions is None
