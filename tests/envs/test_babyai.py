"""BabyAI: what the player sees and does is minigrid's, and memory is worth something."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("minigrid")

import itertools

from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    DataNotFoundError,
    UnknownNameError,
)
from agemem_envs.tasks.babyai.actions import FORMS, LISTED, PrimitivePlan, Refusal, interpret
from agemem_envs.tasks.babyai.expert import GridExpert
from agemem_envs.tasks.babyai.generator import (
    FLAWED,
    LARGE,
    RENAMED,
    level_ids,
    level_name,
    make_game,
)
from agemem_envs.tasks.babyai.mission import next_part, parts
from agemem_envs.tasks.babyai.subgoals import Interaction, Subgoal, shortest_actions
from agemem_envs.tasks.babyai.task import SEEDS, BabyAITask
from agemem_envs.tasks.babyai.text import describe
from agemem_envs.tasks.babyai.world import (
    HEADINGS,
    Cell,
    GridWorld,
    Primitive,
    field_of_view,
    position,
)
from agemem_envs.tokens import make_token_counter
from tests.conftest import answer, outputs_of_processes, state_of
from tests.envs.told import digests, texts

SAMPLE = [f"{level}:{3_000_000_000 + number}" for number, level in enumerate(level_ids())]
"""One task of each level."""
SOLVABLE = [task_id for task_id in SAMPLE if not task_id.startswith(FLAWED)]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def world_of(task_id: str) -> GridWorld:
    level, _, seed = task_id.rpartition(":")
    return GridWorld(make_game(level, int(seed)))


def clear_room(heading: int = 3) -> GridWorld:
    """An empty room of 6 x 6 with the player in its middle, facing up; things are put in."""
    world = world_of("BabyAI-GoToRedBallNoDists-v0:1")
    game = world.game
    for x in range(1, 7):
        for y in range(1, 7):
            game.grid.set(x, y, None)
    game.agent_pos, game.agent_dir = (3, 4), heading
    return GridWorld(game)


def put(world: GridWorld, thing: object, x: int, y: int) -> GridWorld:
    world.game.put_obj(thing, x, y)
    return GridWorld(world.game)


@pytest.fixture
def task() -> BabyAITask:
    return BabyAITask(split="test")


# -- what is seen --------------------------------------------------------------------------


@pytest.mark.parametrize("task_id", SAMPLE[::3])
def test_the_field_of_view_is_minigrids(task_id: str) -> None:
    world = world_of(task_id)
    game, chance = world.game, rng(1)
    for _ in range(60):
        _, mask = game.gen_obs_grid()
        right, down = game.right_vec, game.dir_vec
        expected = set()
        for i, j in zip(*np.nonzero(mask), strict=True):
            cell = np.array(position(game)) + right * (int(i) - 3) + down * (6 - int(j))
            if 0 <= cell[0] < game.width and 0 <= cell[1] < game.height:
                expected.add((int(cell[0]), int(cell[1])))
        assert {spot.cell for spot in field_of_view(game)} == expected
        game.step(int(chance.integers(6)))


def test_a_view_in_agentboards_words() -> None:
    from minigrid.core.world_object import Ball, Box, Door, Key

    world = clear_room()
    for thing, x, y in [
        (Ball("red"), 3, 2),
        (Ball("red"), 4, 3),
        (Key("grey"), 2, 3),
        (Box("blue"), 3, 1),
        (Door("green", is_locked=True), 1, 4),
        (Door("green"), 6, 4),
    ]:
        world = put(world, thing, x, y)
    assert describe(world.game) == (
        "In front of you in this room, you can see several objects:"
        " There is a red ball 1 right in front of you 2 steps away. "
        " There is a grey key 1 1 steps in front of you and 1 steps to your left. "
        " There is a red ball 2 1 steps in front of you and 1 steps to your right. "
        " There is a green locked door 1 0 steps in front of you and 2 steps to your left. "
        " There is a blue box 1 right in front of you 3 steps away. "
        " There is a green closed door 1 0 steps in front of you and 3 steps to your right. "
        " The room has walls around you. You are facing a box 3 steps away."
        " You are not carrying anything."
    )


def test_a_shut_door_ahead_ends_the_sight_without_a_word() -> None:
    from minigrid.core.world_object import Box, Door

    world = put(clear_room(), Door("red"), 3, 3)
    assert "facing" not in describe(world.game)
    world = put(clear_room(), Door("red", is_open=True), 3, 3)
    assert "You are facing a wall 4 steps away." in describe(world.game)
    world = put(world, Box("red"), 3, 1)
    assert "You are facing a box 3 steps away." in describe(world.game)


# -- what is done --------------------------------------------------------------------------


def test_going_to_an_object_ends_right_in_front_of_it_by_the_shortest_way() -> None:
    from minigrid.core.world_object import Ball

    world = put(clear_room(), Ball("red"), 5, 2)
    planned = interpret(world, "go to red ball 1")
    assert isinstance(planned, PrimitivePlan)
    # up twice, right, forward: the player is at (4, 2), or the same by the other side
    assert len(planned.path) == 4
    world.carry_out(planned.path)
    assert world.front == (5, 2)
    assert "There is a red ball 1 right in front of you 1 steps away." in describe(world.game)


def test_what_is_in_the_way_is_walked_around_and_what_was_not_seen_is_not_crossed() -> None:
    from minigrid.core.world_object import Ball, Box

    world = put(put(clear_room(), Ball("red"), 3, 1), Box("blue"), 3, 2)
    planned = interpret(world, "go to red ball 1")
    assert isinstance(planned, PrimitivePlan)
    world.carry_out(planned.path)
    assert world.front == (3, 1)
    blind = put(clear_room(), Ball("red"), 3, 1)
    blind.seen.clear()
    assert interpret(blind, "go to red ball 1") == Refusal(
        "You know no free way to the red ball 1."
    )


def test_doors_keys_and_hands() -> None:
    """Fetch a key, open a locked door with it, go through, and put the key down."""
    world = world_of("BabyAI-UnlockLocal-v0:1")
    task = BabyAITask(split="test")
    task.world = world  # a level whose layout is known
    player = GridExpert(world, informed=True)
    carried = []
    for _ in range(30):
        action = player.action()
        assert action is not None
        outcome = task.step(action)
        carried.append(world.game.carrying is not None)
        if outcome.done:
            break
    assert outcome.success
    assert outcome.score == outcome.progress == 1.0
    assert True in carried
    assert "Your mission is done." in outcome.observation


def test_the_way_of_a_door_through_both_verbs() -> None:
    from minigrid.core.world_object import Door, Key, Wall

    world = clear_room()
    for x in range(1, 7):
        world.game.grid.set(x, 2, Wall())
    world = put(world, Door("red", is_locked=True), 3, 2)
    locked = interpret(world, "toggle and go through red locked door 1")
    assert locked == Refusal("The red locked door 1 is locked, and you do not carry a red key.")
    assert isinstance(interpret(world, "go through red locked door 1"), Refusal)
    world = put(world, Key("red"), 5, 4)
    world.carry_out([Primitive.RIGHT])
    picked = interpret(world, "Pick up  the RED key 1.")
    assert isinstance(picked, PrimitivePlan)
    world.carry_out(picked.path)
    world.carry_out([Primitive.LEFT])
    through = interpret(world, "toggle and go through red door")  # state and number may be left out
    assert isinstance(through, PrimitivePlan)
    world.carry_out(through.path)
    assert position(world.game) == (3, 1)
    world.carry_out([Primitive.RIGHT, Primitive.RIGHT])
    assert isinstance(interpret(world, "toggle and go through red open door 1"), Refusal)
    back = interpret(world, "go through red open door 1")
    assert isinstance(back, PrimitivePlan)
    world.carry_out(back.path)
    assert position(world.game) == (3, 3)
    assert "You are carrying a red key." in describe(world.game)
    assert isinstance(interpret(world, "drop"), PrimitivePlan)


def test_who_stands_there_already_still_gets_there() -> None:
    """minigrid looks whether a mission is done after a step only."""
    world = world_of("BabyAI-GoToRedBallNoDists-v0:1")
    game = world.game
    ((x, y),) = game.instrs.desc.obj_poss
    game.agent_pos, game.agent_dir = next(
        ((x - dx, y - dy), heading)
        for heading, (dx, dy) in enumerate(HEADINGS)
        if game.grid.get(x - dx, y - dy) is None
    )
    world = GridWorld(game)
    planned = interpret(world, "go to red ball 1")
    assert isinstance(planned, PrimitivePlan)
    world.carry_out(planned.path)
    assert world.success


@pytest.mark.parametrize("task_id", SAMPLE[::4])
def test_what_is_admissible_works_and_what_is_not_changes_nothing(task_id: str) -> None:
    task, chance = BabyAITask(split="test"), rng(3)
    task._levels = list(level_ids())
    task.reset(task_id, rng(), with_stage_messages=False)
    world = task.world
    assert world is not None
    for _ in range(25):
        actions = task.admissible_actions()
        assert actions == sorted(set(actions))
        for verb in ("pick up", "go to", "go through", "toggle and go through"):
            for sight in world.sights:
                text = f"{verb} {sight}"
                assert (text in actions) == isinstance(interpret(world, text), PrimitivePlan)
        for text in LISTED:
            assert (text in actions) == isinstance(interpret(world, text), PrimitivePlan)
        before = (world.game.hash(), world.game.carrying, world.steps)
        refused = task.step("pick up pink elephant 1")
        assert "You see no pink elephant 1 here." in refused.observation
        assert (world.game.hash(), world.game.carrying, world.steps) == before
        if not actions:
            break
        task.step(actions[int(chance.integers(len(actions)))])
        assert world.steps > before[2]
        if world.done:
            assert task.admissible_actions() == []
            assert task.step("turn left").done
            break


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "go to",
        "go to 1",
        "pick up � 1",
        "ünïcode ☃",
        "go to red ball " + "9" * 5000,
        "go to red ball 1\n\ndrop",
        "x" * 1000000,
        "go to " * 100000,
        "turn left turn left",
        "{}",
    ],
)
def test_any_text_gets_a_short_reply_and_changes_nothing(task: BabyAITask, text: str) -> None:
    task.reset(SOLVABLE[0], rng(), with_stage_messages=False)
    world = task.world
    assert world is not None
    before = (world.game.hash(), world.steps)
    outcome = task.step(text)
    assert (world.game.hash(), world.steps) == before
    assert not outcome.done
    reply = outcome.observation.partition("In front of you in this room")[0]
    assert 0 < len(reply) < 600
    outcome.observation.encode()


@pytest.mark.parametrize(
    ("synonym", "action"),
    [("left", "turn left"), ("RIGHT.", "turn right"), (" move   forward ", "forward")],
)
def test_primitives_are_synonyms(synonym: str, action: str) -> None:
    world = clear_room()
    assert interpret(world, synonym) == interpret(world, action)
    assert isinstance(interpret(world, synonym), PrimitivePlan)


def test_a_strict_mission_fails_on_the_wrong_thing_and_truncation_is_no_success() -> None:
    task = BabyAITask(split="test")
    task.world = world = world_of("BabyAI-PickupDistDebug-v0:1234")
    assert world.game.mission == "pick up the red key"
    outcome = task.step("pick up grey ball 1")
    assert outcome.done
    assert not outcome.success
    assert outcome.score == 0.0
    assert "your mission has failed" in outcome.observation
    task.world = world = world_of("BabyAI-GoToRedBallNoDists-v0:1")
    for _ in range(2000):  # far beyond minigrid's own limit of 64 steps
        assert not task.step("turn left").done or task.world.success


# -- tasks ---------------------------------------------------------------------------------


def test_all_levels_are_there() -> None:
    assert len(level_ids()) == 96
    assert set(FLAWED) < set(level_ids())
    assert len({level_name(level) for level in level_ids()}) == 96


def test_splits_are_disjoint_and_uniform_over_levels(task: BabyAITask) -> None:
    ranges = [(seeds.start, seeds.stop) for seeds in SEEDS.values()]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(ranges))
    assert ranges[0][0] > 1237  # AgentBoard's seeds
    ids = task.task_ids(940, seed=0)
    counts = {level: sum(i.startswith(f"{level}:") for i in ids) for level in level_ids()}
    assert all((count == 0) == (level in FLAWED) for level, count in counts.items())
    assert max(counts.values()) < 30
    with pytest.raises(ConfigurationError, match="are unlimited"):
        task.task_ids(None, seed=0)
    with pytest.raises(ConfigurationError, match="negative"):
        task.task_ids(3, seed=-1)
    for wrong in ("BabyAI-GoTo-v0:1234", "BabyAI-GoTo-v0", "BabyAI-GoTo-v9:3000000000", ":"):
        with pytest.raises(UnknownNameError, match="task id"):
            task.reset(wrong, rng())


def test_an_unknown_split_and_missing_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="split"):
        BabyAITask(split="tset")
    with pytest.raises(DataNotFoundError, match="AGEMEM_DATA"):
        BabyAITask(split="agentboard")
    with pytest.raises(DataNotFoundError, match="AGEMEM_DATA"):
        BabyAITask(split="agentboard", data=tmp_path)
    row = {"goal": "", "subgoals": [], "additional_info": {"subtask": "BabyAI-Nowhere-v0"}}
    (tmp_path / "babyai_test.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataFormatError, match="Nowhere"):
        BabyAITask(split="agentboard", data=tmp_path)
    assert BabyAITask().source.split == "test"


def test_the_flawed_levels_cannot_be_done() -> None:
    """If minigrid mends them, they belong into the splits."""
    lost = 0
    for seed in range(12):
        world = GridWorld(make_game(FLAWED[1], seed))
        player = GridExpert(world, informed=True)
        while not world.done:
            planned = interpret(world, str(player.action()))
            assert isinstance(planned, PrimitivePlan)
            world.carry_out(planned.path)
        assert world.success == (len(parts(world.game.instrs)) == 1)
        lost += not world.success
    assert lost > 0


def test_agentboards_tasks_are_the_same_games(real_data: Path) -> None:
    """The level, mission and view of all 112 rows, word for word."""
    task = BabyAITask()
    assert task.source.kind == "file"
    rows = [
        json.loads(line)
        for line in (real_data / "agentboard/babyai_test.jsonl").read_text().splitlines()
    ]
    ids = list(task._entries)
    assert sorted(task.task_ids(None, seed=1)) == sorted(ids)
    assert len(ids) == len(rows) == 112
    for task_id, row in zip(ids, rows, strict=True):
        spec = task.reset(task_id, rng(), with_stage_messages=False)
        info = row["additional_info"]
        assert spec.opening == info["init_obs"]
        assert task.world is not None
        assert task.world.game.mission == row["goal"]
        assert spec.query.lower().startswith(row["goal"] + ". actions:")
        assert spec.difficulty == row["difficulty"]
        assert task_id.startswith(RENAMED.get(info["subtask"], info["subtask"]))


def test_agentboard_is_solved_within_its_30_actions(real_data: Path) -> None:
    """All 112 but the three whose mission cannot be done."""
    task = BabyAITask()
    lost = [i for i in task.task_ids(None, 0) if not solve(task, i, informed=True)]
    assert len(lost) == 3
    assert all(i.startswith(FLAWED) for i in lost)


# -- experts and knowledge -----------------------------------------------------------------


def solve(task: BabyAITask, task_id: str, *, informed: bool, limit: int = 30) -> int:
    """The actions that an expert needs; 0 if the mission is not done within the limit."""
    task.reset(task_id, rng(), with_stage_messages=False)
    for number in range(1, limit + 1):
        action = task.expert_action() if informed else task.explorer_action()
        assert action is not None
        assert action in task.admissible_actions()
        outcome = task.step(action)
        if outcome.done:
            return number if outcome.success else 0
    return 0


@pytest.mark.parametrize("task_id", SOLVABLE)
def test_the_expert_does_every_level(task: BabyAITask, task_id: str) -> None:
    assert solve(task, task_id, informed=True)


def test_knowing_the_place_saves_actions(task: BabyAITask) -> None:
    """Where there is more than one room, the explorer needs many times the expert's actions."""
    levels = ("BabyAI-GoToObjMaze-v0", "BabyAI-KeyCorridorS5R3-v0", "BabyAI-FindObjS7-v0")
    ids = [f"{level}:{3_000_000_100 + n}" for level in levels for n in range(4)]
    informed = [solve(task, i, informed=True) for i in ids]
    explored = [solve(task, i, informed=False, limit=150) for i in ids]
    assert all(informed)
    assert all(explored)
    assert sum(explored) > 2 * sum(informed)


def test_the_explorer_does_not_know_what_was_not_seen(task: BabyAITask) -> None:
    """Moving an object that nobody saw does not change what he does."""
    from minigrid.core.world_object import Ball

    task_id = "BabyAI-GoToObjMaze-v0:3000000100"
    actions = []
    for moved in (False, True):
        task.reset(task_id, rng(), with_stage_messages=False)
        world = task.world
        assert world is not None
        if moved:
            hidden = [
                (x, y)
                for x in range(world.game.width)
                for y in range(world.game.height)
                if (x, y) not in world.seen and world.at((x, y)) is None
            ]
            for cell in hidden[::7]:
                world.game.grid.set(*cell, Ball("grey"))
        actions.append(task.explorer_action())
    assert actions[0] == actions[1]


def test_an_expert_goes_on_from_wherever_the_player_is(task: BabyAITask) -> None:
    chance = rng(5)
    for task_id in SOLVABLE[::9]:
        task.reset(task_id, rng(), with_stage_messages=False)
        for _ in range(60):
            wander = chance.random() < 0.3
            actions = [a for a in task.admissible_actions() if a.startswith(("turn", "go to"))]
            expert = task.expert_action()
            outcome = task.step(
                actions[int(chance.integers(len(actions)))] if wander else expert or ""
            )
            if outcome.done:
                break
        assert outcome.success


@pytest.mark.parametrize("task_id", SOLVABLE)
def test_the_knowledge_is_fair(task: BabyAITask, task_id: str) -> None:
    spec = task.reset(task_id, rng(2))
    facts = [fact for talk in spec.knowledge for fact in talk.facts]
    gold = [fact.text for fact in facts if fact.needed]
    noise = [fact.text for fact in facts if not fact.needed]
    assert 2 <= len(gold) <= 8
    assert 3 <= len(noise) <= 5
    assert len(spec.distractors) == 5
    distractors = [talk.text for talk in spec.distractors]
    told = [*gold, *noise, *distractors]
    assert len(set(told)) == len(told)
    assert list(spec.gold_facts) == gold
    assert all(text.startswith("In another building") for text in distractors)
    assert not any("another building" in text for text in [*gold, *noise])
    assert not any(fact in spec.query + spec.opening + spec.briefing for fact in gold)
    # other generators tell the same facts in another order
    again = task.reset(task_id, rng(7))
    assert sorted(again.gold_facts) == sorted(gold)
    assert again.opening == spec.opening


def test_places_are_told_as_seen_from_the_start() -> None:
    from agemem_envs.tasks.babyai.knowledge import Survey, offset

    assert offset(2, -1) == "2 steps ahead and 1 step to the left"
    assert offset(-1, 0) == "1 step behind"
    world = world_of("BabyAI-GoToRedBallNoDists-v0:3000000003")
    (cell,) = world.game.instrs.desc.obj_poss
    fx, fy = HEADINGS[world.game.agent_dir]
    here = position(world.game)
    dx, dy = cell[0] - here[0], cell[1] - here[1]
    ahead, right = dx * fx + dy * fy, dx * -fy + dy * fx
    assert f"As you stand at the start, your red ball is {offset(ahead, right)}." in (
        Survey(world).needed()
    )


def test_locks_keys_boxes_and_blockers_are_told() -> None:
    from agemem_envs.tasks.babyai.knowledge import Survey

    boxed = " ".join(Survey(world_of("BabyAI-KeyInBox-v0:1")).needed())
    assert "is locked; the" in boxed
    assert "is inside the" in boxed
    blocked = " ".join(Survey(world_of("BabyAI-BlockedUnlockPickup-v0:1")).needed())
    assert "blocks the way" in blocked
    assert "key that opens it is" in blocked
    chain = " ".join(Survey(world_of("BabyAI-UnlockToUnlock-v0:1")).needed())
    assert chain.count("is locked; the") == 2


def test_errands_take_the_fewest_actions() -> None:
    from minigrid.core.world_object import Key

    world = put(clear_room(), Key("red"), 3, 6)  # behind the player: turn round, and fetch it
    known = {(x, y) for x in range(8) for y in range(8)}
    moves = shortest_actions(world, Subgoal(Interaction.PICK_UP, (3, 6)), known)
    assert len(moves) == 2
    assert moves[-1].action == "pick up red key 1"
    assert shortest_actions(world, Subgoal(Interaction.PICK_UP, (0, 0)), known) == ()


def test_the_parts_of_a_mission_in_their_order() -> None:
    world = world_of("BabyAI-OpenDoorsOrderN4-v0:1234")
    names = [part.desc.color for part in parts(world.game.instrs)]
    assert world.game.mission == "open the blue door after you open the red door"
    assert names == ["red", "blue"]
    assert next_part(world.game.instrs).desc.color == "red"


# -- facts about several buildings ---------------------------------------------------------

OFFSET = r"(?:(\d+) steps? (ahead|behind))?(?: and )?(?:(\d+) steps? to the (left|right))?"
LYING = re.compile(rf"At (\w+ \w+), the (\w+ \w+) is {OFFSET}, seen from the entrance\.")
LEADS = re.compile(r"At (\w+ \w+), the way to the (\w+ \w+) leads through (.+)\.")
PASSED = re.compile(rf"the (locked )?(\w+) door {OFFSET}")
HOME = re.compile(r"The (\w+) family lives at (\w+ \w+)\.")
LARGE_SAMPLE = [f"{level}:{3_000_000_500 + number}" for number, level in enumerate(sorted(LARGE))]


@pytest.fixture
def storied() -> BabyAITask:
    return BabyAITask(facts=60, updates=10, distractors=6, levels="large")


def cell_at(world: GridWorld, offset: Sequence[str]) -> Cell:
    """The cell of a told place: steps, ahead or behind, steps, left or right."""
    ahead = int(offset[0] or 0) * (-1 if offset[1] == "behind" else 1)
    right = int(offset[2] or 0) * (-1 if offset[3] == "left" else 1)
    x, y, heading = world.pose
    fx, fy = HEADINGS[heading]
    return x + ahead * fx - right * fy, y + ahead * fy + right * fx


def test_without_facts_the_messages_are_those_of_earlier_versions(task: BabyAITask) -> None:
    assert digests(task) == [
        "a6c253f6bb92",
        "951c556f9dd5",
        "03e0a54560cd",
        "9aec20cd2acd",
        "dd49f93070c9",
        "ee33d4c4bf2c",
    ]


@pytest.mark.parametrize("task_id", LARGE_SAMPLE)
def test_the_needed_facts_are_true_and_name_the_mission(storied: BabyAITask, task_id: str) -> None:
    spec = storied.reset(task_id, rng(1))
    world = world_of(task_id)
    owner, *names = spec.key_items
    gold = " ".join(spec.gold_facts)
    ((told_owner, home),) = HOME.findall(gold)
    assert told_owner == owner
    assert f"the {owner} family's home" in spec.query
    assert home not in spec.query + spec.opening
    lying = LYING.findall(gold)
    assert lying
    for at, name, *offset in lying:
        assert at == home
        thing = world.at(cell_at(world, offset))
        assert f"{thing.color} {thing.type}" == name
    for name in names:
        assert re.search(rf"\b{name}\b", gold)
    for at, _, doors in (match for fact in spec.gold_facts for match in LEADS.findall(fact)):
        assert at == home
        for locked, color, *offset in PASSED.findall(doors):
            door = world.at(cell_at(world, offset))
            assert (door.type, door.color, door.is_locked) == ("door", color, bool(locked))
    assert not any(form.split()[0] in gold for form in FORMS)


def test_many_facts_of_several_buildings_are_told_and_none_twice(storied: BabyAITask) -> None:
    for task_id in LARGE_SAMPLE[::4]:
        spec = storied.reset(task_id, rng(3))
        told = [fact.text for talk in spec.knowledge if not talk.changes for fact in talk.facts]
        assert len(set(told)) == len(told) >= 60
        homes = HOME.findall(" ".join(told))
        assert len({owner for owner, _ in homes}) == len(homes) >= 5


def test_changes_are_announced_after_what_they_replace(storied: BabyAITask) -> None:
    moved = 0
    for seed, task_id in enumerate(LARGE_SAMPLE):
        spec = storied.reset(task_id, rng(seed))
        world = world_of(task_id)
        messages = texts(spec)
        assert len(spec.changes) == 10
        home = HOME.findall(" ".join(spec.gold_facts))[0][1]
        for change in spec.changes:
            assert change.needed == (change.valid in spec.gold_facts)
            assert change.stale not in spec.gold_facts
            earlier = " ".join(messages[: change.message])
            assert change.stale in earlier or change.valid in earlier
            moved += "What I said was" in messages[change.message]
            for at, name, *offset in LYING.findall(change.stale):
                if at == home:
                    assert world.at(cell_at(world, offset)) is None, name
    assert moved


def test_stage_two_is_about_other_buildings_and_names_no_owner_of_stage_one(
    storied: BabyAITask,
) -> None:
    count = make_token_counter("approximate").count
    for seed, task_id in enumerate(LARGE_SAMPLE):
        spec = storied.reset(task_id, rng(seed))
        first = " ".join(talk.text for talk in spec.knowledge)
        second = " ".join(talk.text for talk in spec.distractors)
        lengths = [count(talk.text) for talk in spec.distractors if not talk.changes]
        assert len(lengths) == 6
        assert min(lengths) >= 120
        assert max(lengths) <= 400
        owners = {owner for owner, _ in HOME.findall(first)}
        assert not any(owner in second for owner in owners)
        assert all(re.search(rf"\b{item}\b", first) for item in spec.key_items)


def test_the_action_limit_follows_the_expert_and_is_told() -> None:
    env = gym.make(
        "AgeMem-BabyAI-v0",
        encoder="hashing",
        max_context_tokens=60_000,
        facts=20,
        updates=2,
        distractors=1,
        action_factor=1.75,
    )
    task_id = LARGE_SAMPLE[5]
    _, info = env.reset(seed=1, options={"task_id": task_id})
    expert = state_of(env).spec.expert_actions
    assert expert == solve(BabyAITask(split="test"), task_id, informed=True) > 1
    limit = math.ceil(1.75 * expert)
    while info["stage"] < 3:
        observation, _, _, _, info = env.step(answer("Noted."))
    assert f"You can take {limit} actions." in observation
    for _ in range(limit - 1):
        assert not env.step(answer("turn left"))[3]
    assert env.step(answer("turn left"))[3]
    env.close()


def test_the_large_levels_are_a_split_of_their_own(real_data: Path) -> None:
    """The tasks are the same whether or not AgentBoard's list is found."""
    task = BabyAITask(levels="large")
    assert str(task.source) == str(BabyAITask(split="test").source)
    ids = task.task_ids(60, 0)
    assert len(set(ids)) == 60
    assert {task_id.split(":")[0] for task_id in ids} <= LARGE
    listed = BabyAITask(split="agentboard", levels="large").task_ids(None, 0)
    assert 0 < len(listed) < 60
    assert {task_id.split(":")[0] for task_id in listed} <= LARGE


def test_the_large_levels_need_no_list() -> None:
    task = BabyAITask(levels="large")
    assert len(task.task_ids(60, 0)) == 60
    assert task.variant == "levels=large"
    with pytest.raises(UnknownNameError, match="all, large"):
        BabyAITask(levels="huge")
    with pytest.raises(UnknownNameError, match="task id"):
        task.reset("BabyAI-GoToObj-v0:3000000000", rng())


@pytest.mark.parametrize("name", ["facts", "updates", "distractors"])
def test_numbers_of_messages_are_checked_and_recorded(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be at least 0, got -1"):
        BabyAITask(**{name: -1})  # type: ignore[arg-type]
    assert f"{name}=7" in BabyAITask(**{name: 7}).variant  # type: ignore[arg-type]
    assert BabyAITask().variant == ""


@pytest.mark.parametrize("task_id", SOLVABLE[::5])
def test_facts_can_be_told_about_every_level(task_id: str) -> None:
    task = BabyAITask(split="test", facts=40, updates=6, distractors=3)
    spec = task.reset(task_id, rng(4))
    assert sum(len(talk.facts) for talk in spec.knowledge) >= 40
    assert spec.expert_actions == solve(BabyAITask(split="test"), task_id, informed=True)


STORIED_SCRIPT = """
import numpy as np
from agemem_envs.tasks.babyai.task import BabyAITask
task = BabyAITask(facts=60, updates=6, distractors=6, levels="large")
for task_id in task.task_ids(4, 4):
    print(task.reset(task_id, np.random.default_rng(1)))
"""


def test_one_seed_tells_the_same_in_any_process() -> None:
    outputs = outputs_of_processes(STORIED_SCRIPT, (0, 77))
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


# -- the process ---------------------------------------------------------------------------


def test_nothing_is_printed_even_when_minigrid_rejects_its_samples(
    task: BabyAITask, capfd: pytest.CaptureFixture[str]
) -> None:
    noisy = io.StringIO()
    with contextlib.redirect_stdout(noisy):
        for seed in range(30):
            gym.make("BabyAI-PutNextLocal-v0").reset(seed=3_000_000_000 + seed)
    assert "Sampling rejected" in noisy.getvalue()
    for seed in range(30):
        task.reset(f"BabyAI-PutNextLocal-v0:{3_000_000_000 + seed}", rng())
    assert capfd.readouterr().out == ""


SCRIPT = """
import numpy as np
from agemem_envs.tasks.babyai.task import BabyAITask
task = BabyAITask(split="test")
for task_id in task.task_ids(6, 4):
    print(task.reset(task_id, np.random.default_rng(1)))
    for player in (task.expert_action, task.explorer_action):
        print(action := player(), task.admissible_actions(), task.step(action or "left"))
"""


def test_one_seed_is_one_game_in_any_process() -> None:
    outputs = outputs_of_processes(SCRIPT, (0, 1, 77))
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000
