"""AgeMem-ALFWorld: generated and real games in the real simulator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agemem_envs.errors import DataFormatError, DataNotFoundError, UnknownNameError
from agemem_envs.tasks.alfworld.generator import TASK_TYPES, generate
from agemem_envs.tasks.alfworld.task import ALFWorldTask
from agemem_envs.util.workers import Simulator

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
def test_golden_traces_of_generated_games() -> None:
    compare(
        [("start_generated", kind, "train", number) for kind in TASK_TYPES for number in (0, 1)]
    )


@pytest.mark.slow
def test_golden_traces_of_real_games(real_data: Path) -> None:
    files = sorted((real_data / "alfworld" / "json_2.1.1").rglob("game.tw-pddl"))
    starts: list[tuple[Any, ...]] = []
    for kind in TASK_TYPES:
        of_kind = [file for file in files if f"/{kind}-" in str(file)]
        starts += [("start_file", str(file), kind, {}) for file in (of_kind[0], of_kind[-1])]
    assert len(starts) == 12
    compare(starts)
