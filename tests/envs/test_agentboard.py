"""AgentBoard's rules equal recordings of AgentBoard's own code, step by step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs import BENCHMARKS
from agemem_envs.env import MemoryEnv
from agemem_envs.errors import ConfigurationError, DataNotFoundError
from agemem_envs.protocols import PROTOCOLS
from agemem_envs.tasks.alfworld.agentboard import AgentBoardHouse
from agemem_envs.tasks.alfworld.task import ALFWorldTask
from agemem_envs.tasks.babyai.agentboard import goal_of, matches
from agemem_envs.tasks.babyai.generator import RENAMED
from agemem_envs.tasks.babyai.task import BabyAITask
from agemem_envs.tasks.pddl.agentboard import read_action, tokens
from agemem_envs.tasks.pddl.task import PDDLTask
from agemem_envs.tasks.scienceworld.agentboard import AgentBoardExperiment
from agemem_envs.tasks.scienceworld.task import ScienceWorldTask
from tests.envs.agentboard_examples import EXAMPLES, FOLDER

Trace = dict[str, Any]
WON = {"AgeMem-ScienceWorld-v0": 3}
"""How many of six tasks an expert wins at least; of the others, five. ScienceWorld's gold path does
not meet all of AgentBoard's subgoals."""
SIX_DIGITS = 1e-6
"""The recordings hold progress with six digits."""


def traces(data: Path, benchmark: str) -> list[Trace]:
    """The recorded episodes of a benchmark."""
    file = data / "agentboard" / "reference" / f"{benchmark}.jsonl"
    if not file.is_file():
        pytest.skip("there are no recordings of AgentBoard")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def row_of(data: Path, trace: Trace) -> Trace:
    """The row of AgentBoard's list that an episode plays."""
    file = data / "agentboard" / f"{trace['benchmark']}_test.jsonl"
    row: Trace = json.loads(file.read_text(encoding="utf-8").splitlines()[trace["position"]])
    return row


def begin(env: MemoryEnv, trace: Trace) -> None:
    """Begin the task of a recorded episode."""
    level, colon, seed = trace["task"].rpartition(":")
    task_id = RENAMED.get(level, level) + colon + seed if colon else trace["task"]
    env.reset(seed=0, options={"task_id": task_id})


def replayed(env: MemoryEnv, trace: Trace) -> Iterator[tuple[Trace, str, Trace]]:
    """Play the recorded actions. Yield each recorded step, our observation and our ``info``."""
    begin(env, trace)
    for number, (action, step) in enumerate(zip(trace["actions"], trace["steps"], strict=True)):
        _, _, terminated, truncated, info = env.step(f"<think>x</think><answer>{action}</answer>")
        assert env.state is not None
        observation = env.state.steps[-1].observation
        assert observation is not None
        assert terminated == step["done"], (trace["task"], number, action)
        yield step, observation, info
        if terminated or truncated:
            assert number + 1 == len(trace["steps"])
            assert info["success"] == trace["success"]


def under_agentboard(env_id: str) -> MemoryEnv:
    """An environment under AgentBoard's protocol."""
    env = gym.make(env_id, protocol="agentboard").unwrapped
    assert isinstance(env, MemoryEnv)
    return env


def replays_equal(env: MemoryEnv, trace: Trace, same_text: Callable[[Trace], bool]) -> int:
    """Assert that progress and refusals equal the recorded ones.

    Args:
        env: The environment.
        trace: The recorded episode.
        same_text: Whether the observation of a recorded step must be equal, too.

    Returns:
        The number of steps.
    """
    steps = 0
    for step, observation, info in replayed(env, trace):
        steps += 1
        assert info["progress"] == pytest.approx(step["progress"], abs=SIX_DIGITS)
        assert info["refused"] == step["refused"]
        if same_text(step):
            assert observation == step["observation"]
    return steps


def test_babyai_equals_every_recorded_step_and_text(real_data: Path) -> None:
    env = under_agentboard("AgeMem-BabyAI-v0")
    recorded = traces(real_data, "babyai")
    steps = 0
    for trace in recorded:
        steps += replays_equal(env, trace, lambda step: True)
        assert env.state is not None
        assert env.state.spec.opening == trace["opening"]
        assert env.state.spec.query.splitlines()[0] == trace["goal"]
    assert (len(recorded), steps) == (119, 2165)
    env.close()


def test_pddl_equals_every_recorded_step(real_data: Path) -> None:
    env = under_agentboard("AgeMem-PDDL-v0")
    recorded = traces(real_data, "pddl")
    steps = sum(replays_equal(env, trace, lambda step: step["refused"]) for trace in recorded)
    assert (len(recorded), steps) == (96, 2076)
    env.close()


def test_scienceworld_equals_every_recorded_progress_and_end(real_data: Path) -> None:
    # Bees wander: where a recorded text names a bee, it is not the same in every replay.
    env = under_agentboard("AgeMem-ScienceWorld-v0")
    recorded = traces(real_data, "scienceworld")
    steps = 0
    for trace in recorded:
        bees = False
        for (step, observation, info), action in zip(
            replayed(env, trace), trace["actions"], strict=False
        ):
            steps += 1
            bees = bees or "bee" in observation + step["observation"] + action
            assert info["progress"] == pytest.approx(step["progress"], abs=SIX_DIGITS)
            if step["stable"] and not bees:
                assert observation == step["observation"], (trace["task"], action)
                assert info["refused"] == step["refused"]
    assert (len(recorded), steps) == (80, 1487)
    env.close()


def test_scienceworlds_rule_equals_agentboards_on_the_recorded_texts(real_data: Path) -> None:
    for trace in traces(real_data, "scienceworld"):
        experiment = AgentBoardExperiment(row_of(real_data, trace)["subgoals"])
        outcomes = [experiment.after(step["observation"]) for step in trace["steps"]]
        for outcome, step in zip(outcomes, trace["steps"], strict=True):
            assert outcome.progress == pytest.approx(step["progress"], abs=SIX_DIGITS)
            assert (outcome.done, outcome.refused) == (step["done"], step["refused"])
        assert outcomes[-1].success == trace["success"]


def test_a_wrong_focus_in_scienceworld_loses_nothing_but_a_step(real_data: Path) -> None:
    slips = [t for t in traces(real_data, "scienceworld") if t["kind"] == "slip"]
    env = under_agentboard("AgeMem-ScienceWorld-v0")
    last = [[info for _, _, info in replayed(env, trace)][-1] for trace in slips]
    assert sum(info["progress"] for info in last) / len(last) > 0.7
    env.close()


@pytest.mark.parametrize("env_id", [env for env in BENCHMARKS if "QA" not in env])
def test_experts_play_under_agentboards_rules(real_data: Path, env_id: str) -> None:
    env = under_agentboard(env_id)
    won = 0
    for task_id in env.task.task_ids(6, 0):
        env.reset(seed=0, options={"task_id": task_id})
        over = False
        while not over:
            action = env.task.expert_action() or "look"
            _, _, ended, cut, info = env.step(f"<think>x</think><answer>{action}</answer>")
            over = ended or cut
        won += info["success"]
        assert info["episode"].settings.protocol == "agentboard"
        assert len(info["episode"].steps) <= 30
    assert won >= WON.get(env_id, 5)
    env.close()


def test_the_prompt_has_agentboards_parts_in_its_order(real_data: Path) -> None:
    env = under_agentboard("AgeMem-BabyAI-v0")
    _, info = env.reset(seed=0)
    assert env.state is not None
    prompt, opening = (message.content for message in env.state.context.messages[1:])
    parts = ["turn left, turn right", "example of another task", "Action: ", "Your task: "]
    parts += ["check valid actions", "inventory"]
    places = [prompt.index(part) for part in parts[:4]]
    places += [prompt.rindex(part) for part in parts[4:]]
    assert places == sorted(places)
    assert opening.startswith("In front of you")
    assert (info["progress"], info["success"], info["refused"]) == (0.0, False, False)
    env.close()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_what_the_worlds_reply(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8").strip()
    actions = re.findall(r"^action: (.*)$", text, re.IGNORECASE | re.MULTILINE)
    assert text == EXAMPLES[name](actions=actions)


# -- rules on worked examples --------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("There is a red ball **", True),
        (" There is a red ball ** right in front of you 4 steps away.", True),
        ("There is a red ball ** right in front of you 1 steps away", False),
        (" 4 steps** red ball", True),
        ("red ball * 4 steps", True),
        ("red ball ** blue", False),
        ("Red ball", False),
    ],
)
def test_a_pattern_of_babyai_holds_in_one_sentence(pattern: str, holds: bool) -> None:
    seen = "There is a red ball 1 right in front of you 4 steps away.  There is a blue key 1 here."
    assert matches(seen, pattern) is holds


def test_the_goal_of_babyai_leaves_out_the_order() -> None:
    assert goal_of("go to a box, then drop a key") == "go to a box, and drop a key"
    assert goal_of("go to a box after you open a door") == "go to a box and open a door"


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("pick up ball1 at rooma with arm left.", ("pick", "ball1", "rooma", "left")),
        ("(pick ball1 rooma left)", ("pick", "ball1", "rooma", "left")),
        ("left, ball1 and rooma: pick", ("pick", "left", "ball1", "rooma")),
        ("pick ball1 rooma left right", ("pick", "ball1", "rooma", "left")),
        ("pick ball1 rooma", None),
        ("picking ball1 rooma left", None),
        ("drop ball1 rooma left", None),
    ],
)
def test_pddl_reads_the_first_valid_operator_and_the_first_objects(
    text: str, action: tuple[str, ...] | None
) -> None:
    sizes = {"pick": 3, "drop": 3, "move": 2}
    objects = {"ball1", "rooma", "left", "right"}
    assert read_action(text, sizes, {"pick", "move"}, objects) == action


def test_tokens_are_split_at_punctuation_but_not_at_hyphens() -> None:
    assert tokens("(jack-up the-hub1, now). ok.") == (
        ["(", "jack-up", "the-hub1", ",", "now", ")", ".", "ok", "."]
    )
    assert tokens("a.b c. d") == ["a.b", "c.", "d"]


def test_alfworlds_progress_counts_the_task_itself_as_a_subgoal() -> None:
    house = AgentBoardHouse("a room", ["go to shelf 1"], [r"You pick up the mug \d", "heat"])
    assert house.help().observation.endswith("valid actions: go to shelf 1")
    assert house.after("take mug 1", "Nothing happens.", False, []).refused
    found = house.after("take mug 1 from shelf 1", "You pick up the mug 1 here.", False, [])
    assert found.progress == pytest.approx(1 / 3)
    assert house.after("put it", "You put it.", True, []).progress == 1.0


def test_look_in_alfworld_tells_the_last_place_again() -> None:
    house = AgentBoardHouse("a room", [], [])
    house.after("go to shelf 1", "You arrive at shelf 1.", False, [])
    house.after("go to shelf 9", "Nothing happens.", False, [])
    assert house.after("look", "You are facing the shelf 1.", False, []).observation == (
        "You arrive at shelf 1."
    )


def test_alfworld_lists_its_commands_in_a_generated_game() -> None:
    task = ALFWorldTask("train", data="embedded", rules="agentboard")
    task.reset(task.task_ids(1, 0)[0], np.random.default_rng(0), with_stage_messages=False)
    assert ", ".join(task.admissible_actions()) in task.step("Check valid actions.").observation
    task.close()


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize("task", [BabyAITask, PDDLTask, ScienceWorldTask, ALFWorldTask])
def test_agentboards_rules_exclude_the_memory_style(task: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no facts"):
        task(facts=60, rules="agentboard")


@pytest.mark.parametrize("task", [BabyAITask, ScienceWorldTask])
def test_agentboards_subgoals_are_needed(task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGEMEM_DATA", raising=False)
    with pytest.raises(DataNotFoundError, match="Get hkust-nlp/agentboard"):
        task(rules="agentboard")
    with pytest.raises(ConfigurationError, match="list of subgoals"):
        task("train", rules="agentboard")


def test_the_protocol_has_one_call_for_each_of_thirty_steps() -> None:
    for name in PROTOCOLS["agentboard"].benchmarks:
        settings = PROTOCOLS["agentboard"].settings_for(name)
        assert (settings["rules"], settings["stages"]) == ("agentboard", "task")
        assert settings["max_task_rounds"] == 30
