"""AgeMem-ALFWorld: generated and real games in the real simulator."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs.errors import (
    ConfigurationError,
    DataFormatError,
    DataNotFoundError,
    UnknownNameError,
)
from agemem_envs.tasks.alfworld.generator import TASK_TYPES, generate
from agemem_envs.tasks.alfworld.houses import kind
from agemem_envs.tasks.alfworld.task import ALFWorldTask
from agemem_envs.tokens import make_token_counter
from agemem_envs.util.workers import Simulator
from tests.conftest import answer, outputs_of_processes, state_of
from tests.envs.told import digests, texts

HOST = "agemem_envs.tasks.alfworld.simulator:AlfworldSimulator"
PICK_TWO = "pick_two_obj_and_place/valid_unseen/1"


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def task() -> Iterator[ALFWorldTask]:
    made = ALFWorldTask(data="embedded")
    yield made
    made.close()


def play(task: ALFWorldTask, policy: str, limit: int = 150) -> tuple[bool, int]:
    for count in range(limit):
        action = getattr(task, policy)()
        assert action is not None
        outcome = task.step(action)
        if outcome.done:
            assert outcome.success
            assert outcome.progress == outcome.score == 1.0
            return True, count + 1
        assert outcome.progress == outcome.score == 0.0
    return False, limit


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_the_expert_wins_a_generated_game_of_each_type(task: ALFWorldTask, task_type: str) -> None:
    spec = task.reset(f"{task_type}/valid_unseen/3", rng())
    assert spec.category == task_type
    assert play(task, "expert_action", limit=15)[0]


@pytest.mark.slow
def test_the_expert_wins_sixty_generated_games(task: ALFWorldTask) -> None:
    for task_id in task.task_ids(60, seed=0):
        task.reset(task_id, rng(), with_stage_messages=False)
        assert play(task, "expert_action", limit=15)[0], task_id


def test_the_planner_takes_over_where_the_walkthrough_was_left(task: ALFWorldTask) -> None:
    task.reset("pick_clean_then_place_in_recep/valid_unseen/0", rng())
    task.step(str(task.expert_action()))
    task.step("go to toilet 1" if "go to toilet 1" in task.admissible_actions() else "look")
    assert play(task, "expert_action", limit=15)[0]


def test_the_explorer_wins_a_game_of_two_objects(task: ALFWorldTask) -> None:
    task.reset(PICK_TWO, rng())
    assert play(task, "explorer_action")[0]


def test_the_gold_facts_are_true_and_the_query_does_not_tell_them(task: ALFWorldTask) -> None:
    spec = task.reset(PICK_TWO, rng())
    places = [fact for fact in spec.gold_facts if " is in the " in fact or " is on the " in fact]
    assert len(places) == 2
    for fact in places:
        told = re.search(r"the (\w+ \d+) is (?:in|on) the (\w+ \d+)", fact)
        assert told
        thing, place = told.groups()
        task.step(f"go to {place}")
        task.step(f"open {place}")
        assert f"take {thing} from {place}" in task.admissible_actions()
        assert place not in spec.query
    assert len({fact.text for fact in spec.knowledge}) == len(spec.knowledge) >= 5
    assert spec.distractors
    assert "Looking quickly around you" in spec.opening
    assert "Your task" not in spec.opening


def test_what_cannot_be_done_changes_nothing(task: ALFWorldTask) -> None:
    task.reset(PICK_TWO, rng())
    before = list(task.admissible_actions())
    for text in ("", "fly", "go to", "🜁" * 5000, "\ud800", "go to\nthe moon", "help me " * 9999):
        assert task.step(text).observation == "Nothing happens."
        assert task.admissible_actions() == before
    assert not task.step(before[0].upper() + " . ").observation.startswith("Nothing")


def test_ids_are_checked(task: ALFWorldTask) -> None:
    for wrong in (
        "pick_two_obj_and_place/train/1",
        "pick_two_obj_and_place/valid_unseen/x",
        "fly/valid_unseen/1",
    ):
        with pytest.raises(UnknownNameError, match="task id"):
            task.reset(wrong, rng())


# -- facts about several houses -----------------------------------------------------------

STATEMENT = re.compile(r"At ([A-Z]\w+ \w+), the (\w+ \d+) is (?:in|on) the (\w+ \d+)\.")
MOVED = re.compile(r"What I said was (?:in|on) the (\w+ \d+) at (\w+ \w+) is (?:in|on) the")
HOME = re.compile(r"The (\w+) family lives at (\w+ \w+)\.")
LIGHT = "look_at_obj_in_light/valid_unseen/4"


@pytest.fixture
def storied() -> Iterator[ALFWorldTask]:
    made = ALFWorldTask(data="embedded", facts=60, updates=8, distractors=6)
    yield made
    made.close()


def test_without_facts_the_messages_are_those_of_earlier_versions(task: ALFWorldTask) -> None:
    assert digests(task) == [
        "32faa85f2a06",
        "72586343d5e2",
        "a0dac65d2687",
        "7d9b986b21e5",
        "f1c062b2636a",
        "d7a442a4ca97",
    ]


@pytest.mark.parametrize("task_id", [PICK_TWO, LIGHT, "pick_heat_then_place_in_recep/train/2"])
def test_the_needed_facts_are_true_and_only_their_link_names_the_owner(task_id: str) -> None:
    task = ALFWorldTask(split=task_id.split("/")[1], data="embedded", facts=60, updates=8)
    for seed in range(4):
        spec = task.reset(task_id, rng(seed))
        links = [fact for fact in spec.gold_facts if HOME.fullmatch(fact)]
        places = [fact for fact in spec.gold_facts if STATEMENT.fullmatch(fact)]
        assert [len(links), len(places)] == [1, 1 if "heat" in task_id else 2]
        owner, home = HOME.findall(links[0])[0]
        assert f"the house of the {owner} family" in spec.query
        assert home not in spec.query
        assert owner in spec.key_items
        for at, thing, place in STATEMENT.findall(" ".join(places)):
            assert at == home
            task.step(f"go to {place}")
            task.step(f"open {place}")
            actions = task.admissible_actions()
            assert {f"take {thing} from {place}", f"use {thing}"}.intersection(actions)
            assert kind(thing) in spec.key_items
    task.close()


def test_many_facts_of_several_houses_are_told_and_none_twice(storied: ALFWorldTask) -> None:
    spec = storied.reset(PICK_TWO, rng(3))
    announced = [talk for talk in spec.knowledge if not talk.changes]
    told = [fact.text for talk in announced for fact in talk.facts]
    assert len(set(told)) == len(told) >= 60
    assert all(fact in talk.text for talk in announced for fact in (f.text for f in talk.facts))
    homes = dict(HOME.findall(" ".join(told)))
    assert len(homes) >= 5
    assert len(set(homes.values())) == len(homes)
    assert not any(":" in text or "go to" in text or "take" in text for text in told)


def test_what_is_needed_is_the_only_thing_of_its_class_that_is_told(
    storied: ALFWorldTask,
) -> None:
    for seed in range(3):
        spec = storied.reset(LIGHT, rng(seed))
        needed = STATEMENT.findall(" ".join(spec.gold_facts))
        kinds = {kind(thing) for _, thing, _ in needed}
        told = STATEMENT.findall(" ".join(texts(spec)))
        named = {thing for at, thing, _ in told if at == needed[0][0] and kind(thing) in kinds}
        assert named == {thing for _, thing, _ in needed}


def test_changes_replace_false_statements_by_true_ones(storied: ALFWorldTask) -> None:
    kinds = set()
    for seed in range(8):
        spec = storied.reset(PICK_TWO, rng(seed))
        house = storied._house(storied._game(PICK_TWO), ())
        messages = texts(spec)
        assert len(spec.changes) == 8
        home = HOME.findall(next(fact for fact in spec.gold_facts if HOME.fullmatch(fact)))[0][1]
        for change in spec.changes:
            assert change.needed == (change.valid in spec.gold_facts)
            assert change.stale not in spec.gold_facts
            assert change in (*spec.knowledge, *spec.distractors)[change.message].changes
            earlier = " ".join(messages[: change.message])
            assert change.stale in earlier or change.valid in earlier
            for at, thing, place in STATEMENT.findall(change.stale):
                if at == home:
                    assert place in house.places
                    assert kind(thing) not in {kind(t) for t, p in house.contents if p == place}
        for index, message in enumerate(messages):
            for place, at in MOVED.findall(message):
                kinds.add("moved")
                meant = [
                    thing
                    for where, thing, spot in STATEMENT.findall(" ".join(messages[:index]))
                    if (where, spot) == (at, place)
                ]
                assert len(meant) == 1
    assert kinds == {"moved"}


def test_stage_two_is_about_other_houses_and_does_not_hold_what_the_goal_names(
    storied: ALFWorldTask,
) -> None:
    count = make_token_counter("approximate").count
    for seed in range(12):
        spec = storied.reset(LIGHT, rng(seed))
        first = " ".join(talk.text for talk in spec.knowledge)
        long = [talk for talk in spec.distractors if not talk.changes]
        assert len(long) == 6
        assert all(120 <= count(talk.text) <= 250 for talk in long)
        owners = {owner for owner, _ in HOME.findall(" ".join(talk.text for talk in long))}
        assert not owners & {owner for owner, _ in HOME.findall(first)}
        assert all(re.search(rf"\b{item}\b", first) for item in spec.key_items)
        assert spec.key_items[0] not in owners


def test_the_action_limit_follows_the_expert_and_is_told() -> None:
    env = gym.make(
        "AgeMem-ALFWorld-v0",
        data="embedded",
        encoder="hashing",
        max_context_tokens=60_000,
        facts=20,
        updates=2,
        distractors=1,
        action_factor=1.5,
    )
    _, info = env.reset(seed=1, options={"task_id": PICK_TWO})
    expert = state_of(env).spec.expert_actions
    assert expert is not None
    limit = math.ceil(1.5 * expert)
    while info["stage"] < 3:
        observation, _, _, _, info = env.step(answer("Noted."))
    assert f"You can take {limit} actions." in observation
    for _ in range(limit - 1):
        assert not env.step(answer("look"))[3]
    assert env.step(answer("look"))[3]
    env.close()


def test_the_expert_does_its_own_number_of_actions(storied: ALFWorldTask) -> None:
    spec = storied.reset(PICK_TWO, rng(0))
    assert play(storied, "expert_action") == (True, spec.expert_actions)


@pytest.mark.parametrize("name", ["facts", "updates", "distractors"])
def test_numbers_of_messages_are_checked_and_recorded(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be at least 0, got -1"):
        ALFWorldTask(data="embedded", **{name: -1})  # type: ignore[arg-type]
    assert f"{name}=7" in ALFWorldTask(data="embedded", **{name: 7}).variant  # type: ignore[arg-type]
    assert ALFWorldTask(data="embedded").variant == ""


def test_more_facts_than_houses_hold_are_refused() -> None:
    task = ALFWorldTask(data="embedded", facts=1000)
    with pytest.raises(ConfigurationError, match="facts=1000 is more than 11 dwellings hold"):
        task.reset(PICK_TWO, rng())
    task.close()


HOUSES_SCRIPT = """
import numpy as np
from agemem_envs.tasks.alfworld.task import ALFWorldTask
task = ALFWorldTask(data="embedded", facts=60, updates=6, distractors=4)
for task_id in task.task_ids(3, 4):
    print(task.reset(task_id, np.random.default_rng(1)))
task.close()
"""


def test_one_seed_tells_the_same_in_any_process() -> None:
    outputs = outputs_of_processes(HOUSES_SCRIPT, (0, 77))
    assert len(outputs) == 1
    assert len(outputs.pop()) > 1000


def test_a_surveyed_house_is_that_of_the_game() -> None:
    simulator = Simulator(HOST, {"fast": True}, timeout=300)
    for number, task_type in enumerate(TASK_TYPES):
        simulator.begin()
        reply = simulator.call("start_generated", task_type, "train", number)
        survey = simulator.call("survey_generated", task_type, "train", number)
        assert survey["contents"] == reply["contents"]
        seen = set(re.findall(r"an? (\w+ \d+)", reply["observation"]))
        assert set(survey["places"]) == seen
        assert {name: survey[name] for name in ("target", "toggle", "goal")} == {
            name: reply[name] for name in ("target", "toggle", "goal")
        }
    simulator.close()


def test_a_surveyed_real_house_is_that_of_the_game(
    real_data: Path, no_alfworld_folder: None
) -> None:
    files = sorted((real_data / "alfworld" / "json_2.1.1" / "valid_unseen").rglob("game.tw-pddl"))
    simulator = Simulator(HOST, {"fast": True}, timeout=300)
    for file in files[::12]:
        simulator.begin()
        reply = simulator.call("start_file", str(file), file.parts[-3].split("-")[0], {})
        survey = simulator.call("survey_file", str(file))
        assert survey["contents"] == reply["contents"]
        assert set(survey["places"]) == set(re.findall(r"an? (\w+ \d+)", reply["observation"]))
    simulator.close()


# -- files ---------------------------------------------------------------------------------


def write_game(root: Path, name: str, **changes: object) -> Path:
    """A generated game on disk, as alfworld-download lays it out."""
    game = {**generate("pick_and_place_simple", "train", 5), **changes}
    params = game.pop("pddl_params")
    target, goal = params["object_target"], params["parent_target"]
    folder = root / "json_2.1.1" / "valid_unseen" / name.format(target=target, goal=goal)
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text(json.dumps(game), encoding="utf-8")
    return folder


@pytest.fixture
def no_alfworld_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Importing alfworld's tables makes a folder: not in the home."""
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "unused"))


GAME = "pick_and_place_simple-{target}-None-{goal}-7/trial_T1"


@pytest.mark.parametrize("older", [False, True])
def test_both_wordings_of_putting_work_in_both_grammars(
    tmp_path: Path, no_alfworld_folder: None, older: bool
) -> None:
    grammar = generate("pick_and_place_simple", "train", 5)["grammar"]
    if older:
        grammar = grammar.replace('"move {o} to {r}"', '"put {o} in/on {r}"')
    write_game(tmp_path, GAME, grammar=grammar)
    for wording in ("move {} to {}", "put {} in/on {}", "put {} in {}"):
        task = ALFWorldTask(data=tmp_path)
        (task_id,) = task.task_ids(None, seed=0)
        spec = task.reset(task_id, rng())
        assert ("put <thing> in/on <place>" if older else "move <thing> to <place>") in spec.query
        while True:
            action = str(task.explorer_action())
            if action.startswith(("move ", "put ")):
                break
            task.step(action)
        assert action.startswith("put " if older else "move ")
        thing, place = " ".join(action.split()[1:3]), " ".join(action.split()[-2:])
        assert task.step(wording.format(thing, place)).success
        task.close()


def test_games_that_alfworld_leaves_out_are_left_out(
    tmp_path: Path, no_alfworld_folder: None
) -> None:
    write_game(tmp_path, GAME)
    write_game(tmp_path, GAME.replace("T1", "T2"), solvable=False)
    write_game(tmp_path, "pick_and_place_with_movable_recep-Apple-Bowl-Fridge-7/trial_T3")
    write_game(tmp_path, "pick_and_place_simple-AppleSliced-None-Fridge-7/trial_T4")
    ids = ALFWorldTask(data=tmp_path).task_ids(None, seed=0)
    assert [task_id.rpartition("_")[2] for task_id in ids] == ["T1"]


def test_missing_data_says_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_alfworld_folder: None
) -> None:
    with pytest.raises(DataNotFoundError, match="alfworld-download"):
        ALFWorldTask(data=tmp_path)
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    with pytest.raises(DataNotFoundError, match="alfworld-download"):
        ALFWorldTask()
    write_game(tmp_path, "nothing/to_play")
    with pytest.raises(DataFormatError, match="no playable game"):
        ALFWorldTask()
    monkeypatch.delenv("ALFWORLD_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="not comparable"):
        assert ALFWorldTask().source.kind == "embedded"
    with pytest.raises(UnknownNameError, match="valid_unseen"):
        ALFWorldTask(split="dev")


@pytest.mark.slow
@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_the_expert_wins_real_games(real_data: Path, split: str) -> None:
    task = ALFWorldTask(split=split)
    ids = task.task_ids(None, seed=0)[:12]
    assert len(ids) == 12
    for task_id in ids:
        task.reset(task_id, rng())
        assert play(task, "expert_action", limit=30)[0], task_id
    task.close()


# -- the speed-ups change nothing ----------------------------------------------------------


def trace(simulator: Simulator, start: tuple[Any, ...], seed: int) -> list[object]:
    """Observations and admissible commands under thirty random actions."""
    simulator.begin()
    reply = simulator.call(*start)
    replies: list[object] = [(reply["observation"], reply["admissible"], reply["contents"])]
    generator = rng(seed)
    for _ in range(30):
        reply = simulator.call("step", str(generator.choice(reply["admissible"])))
        replies.append((reply["observation"], reply["admissible"], reply["won"]))
    return replies


def compare(starts: list[tuple[Any, ...]]) -> None:
    fast = Simulator(HOST, {"fast": True}, timeout=300)
    plain = Simulator(HOST, {"fast": False}, timeout=300)
    for seed, start in enumerate(starts):
        assert trace(fast, start, seed) == trace(plain, start, seed), start
    fast.close()
    plain.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.long)])
def test_golden_traces_of_generated_games(number: int) -> None:
    compare([("start_generated", name, "train", number) for name in TASK_TYPES])


@pytest.mark.slow
def test_golden_traces_of_real_games(real_data: Path) -> None:
    files = sorted((real_data / "alfworld" / "json_2.1.1").rglob("game.tw-pddl"))
    starts: list[tuple[Any, ...]] = []
    for task_type in TASK_TYPES:
        of_kind = [file for file in files if f"/{task_type}-" in str(file)]
        starts += [("start_file", str(file), task_type, {}) for file in (of_kind[0], of_kind[-1])]
    assert len(starts) == 12
    compare(starts)
