"""The three stages, the budgets and the ends of an episode."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from agemem_envs.encoders import make_encoder
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import MessageKind, StopReason
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.judging.judges import Case, LexicalJudge, Verdict
from agemem_envs.memory.store import MemoryStore
from agemem_envs.stages import Stage
from tests.conftest import core, state_of

ID = "AgeMem-SyntheticQA-v0"


def start(**options: Any) -> MemoryEnv:
    env = gym.make(ID, **({"protocol": "full"} | options))
    env.reset(seed=0)
    return core(env)


def to_question(env: MemoryEnv, answer: Callable[[str], str]) -> None:
    while state_of(env).stage is not Stage.REASONING:
        env.step(answer("noted"))


def test_stages_come_in_order_and_the_question_comes_last(answer: Callable[[str], str]) -> None:
    env = start()
    spec, stages = state_of(env).spec, []
    while state_of(env).stop_reason is None:
        stages.append(int(state_of(env).stage))
        asked = spec.query in state_of(env).context.render(10**6)
        assert asked == (state_of(env).stage is Stage.REASONING)
        env.step(answer("noted"))
    assert stages == [1] * len(spec.knowledge) + [2] * len(spec.distractors) + [3]


def test_task_protocol_has_stage_3_alone(answer: Callable[[str], str]) -> None:
    env = start(stages="task")
    assert state_of(env).stage is Stage.REASONING
    kinds = [message.kind for message in state_of(env).context.messages]
    assert kinds == [MessageKind.SYSTEM, MessageKind.QUERY]
    with pytest.raises(UnknownNameError, match="Did you mean 'task'"):
        gym.make(ID, protocol="full", stages="taks")


def test_a_message_takes_its_rounds_and_no_more(call: Callable[..., str]) -> None:
    env = start(rounds_per_message=2)
    assert len(state_of(env).spec.knowledge) > 2
    for expected in (0, 1, 1, 2):
        env.step(call("Retrieve_memory", query="x"))
        assert (state_of(env).stage, state_of(env).message_index) == (Stage.CONSTRUCTION, expected)


def test_a_malformed_action_costs_a_round_and_is_explained() -> None:
    env = start(rounds_per_message=2)
    observation = env.step("what?")[0]
    assert "was not understood" in observation
    assert state_of(env).steps[-1].malformed
    assert state_of(env).message_index == 0
    env.step("what?")
    assert state_of(env).message_index == 1


def test_stage_1_shows_the_memories_that_relate(
    call: Callable[..., str], answer: Callable[[str], str]
) -> None:
    env = start()
    told = state_of(env).spec.knowledge[0].text
    observation = env.step(call("Add_memory", content=told))[0]
    assert "Memories that may relate" in observation  # before the next call for this message
    env.step(answer("noted"))
    shown = [m for m in state_of(env).context.messages if m.kind is MessageKind.MEMORIES]
    assert len(shown) == 1
    to_question(env, answer)
    assert not any(m.kind is MessageKind.MEMORIES for m in state_of(env).context.messages)


def test_the_right_answer_succeeds_by_exact_match(answer: Callable[[str], str]) -> None:
    env = start()
    to_question(env, answer)
    _, reward, terminated, truncated, info = env.step(
        answer(f" the {state_of(env).spec.reference}! ")
    )
    assert (terminated, truncated, info["success"]) == (True, False, True)
    assert info["progress"] == 1.0
    assert reward == info["reward_breakdown"].total
    assert info["episode"].stop_reason is StopReason.ANSWERED


def test_a_wrong_answer_ends_without_success(answer: Callable[[str], str]) -> None:
    env = start()
    to_question(env, answer)
    _, _, terminated, _, info = env.step(answer("no such name"))
    assert terminated
    assert info["success"] is False
    assert info["reward_breakdown"].task == 0.0


def test_running_out_of_rounds_truncates_and_costs(
    call: Callable[..., str], answer: Callable[[str], str]
) -> None:
    env = start(max_task_rounds=2)
    to_question(env, answer)
    assert not env.step(call("Retrieve_memory", query="x"))[3]
    _, _, terminated, truncated, info = env.step(call("Retrieve_memory", query="x"))
    assert (terminated, truncated) == (False, True)
    assert info["episode"].stop_reason is StopReason.ROUND_LIMIT
    assert info["reward_breakdown"].task == -1.0
    assert info["reward_breakdown"].penalty == -1.0


def test_overflow_truncates_and_costs() -> None:
    env = start(max_context_tokens=1_100)
    truncated, steps = False, 0
    while not truncated:
        _, _, _, truncated, info = env.step("malformed " * 50)
        steps += 1
    assert info["episode"].stop_reason is StopReason.CONTEXT_OVERFLOW
    assert info["reward_breakdown"].penalty == -0.5
    assert info["tokens_used"] > info["token_budget"]
    assert steps < 15


def test_the_record_rebuilds_what_the_model_saw(
    call: Callable[..., str], answer: Callable[[str], str]
) -> None:
    env = start()
    seen = [state_of(env).context.render(10**6)]
    done = False
    while not done:
        action = call("Filter_context", criteria="town") if len(seen) % 3 else answer("noted")
        observation, _, terminated, truncated, info = env.step(action)
        seen.append(observation)
        done = terminated or truncated
    episode = info["episode"]
    for step, observation in zip(episode.steps, seen, strict=False):
        shown = [episode.messages[i] for i in step.visible]
        assert "\n\n".join(f"[{m.kind.role}]\n{m.content}" for m in shown) == observation
        assert sum(m.tokens for m in shown) == step.context_tokens


def test_a_failing_judge_makes_the_reward_nan_never_zero(answer: Callable[[str], str]) -> None:
    class Down(LexicalJudge):
        def answer(self, case: Case, prediction: str) -> Verdict:
            return Verdict(None, "judge answer: server down")

    env = start(judge=Down())
    to_question(env, answer)
    _, reward, _, _, info = env.step(answer("x"))
    assert math.isnan(reward)
    assert info["reward_breakdown"].total is None
    assert info["episode"].metrics["judge"] is None
    assert info["episode"].errors == ("judge answer: server down",)
    assert info["success"] is False  # the benchmark's own, which needs no judge


@pytest.mark.parametrize("verdict", [Verdict(5.0), Verdict(math.nan), Verdict(-0.1), None])
def test_a_judge_that_talks_nonsense_leaves_the_score_open(
    answer: Callable[[str], str], verdict: Verdict | None
) -> None:
    class Odd(LexicalJudge):
        def answer(self, case: Case, prediction: str) -> Verdict:
            return verdict or 1 / 0  # type: ignore[return-value]

    env = start(judge=Odd(), stages="task")
    _, reward, _, _, info = env.step(answer("x"))
    assert math.isnan(reward)
    assert info["reward_breakdown"].task is None
    assert len(info["episode"].errors) == 1


def test_bad_arguments_are_named() -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"judge": "lexcal"}, "Did you mean 'lexical'"),
        ({"encoder": "mini"}, "minilm"),
        ({"memory": "redis"}, "redis"),
        ({"summarizer": "x"}, "extractive"),
        ({"token_counter": "x"}, "approximate"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 11}, "top_k"),
        ({"top_k": 2.5}, "top_k"),
        ({"max_context_tokens": "x"}, "max_context_tokens"),
        ({"judge": None}, "judge"),
        ({"tools": None}, "tools"),
        ({"reward": {"task_weight": math.nan}}, "task_weight"),
        ({"max_context_tokens": 200}, "system prompt"),
        ({"max_context_tokens": 0}, "max_context_tokens"),
        ({"filter_threshold": 2.0}, "filter_threshold"),
        ({"rounds_per_message": 0}, "rounds_per_message"),
        ({"splitt": "train"}, "splitt"),
        ({"split": "dev"}, "split"),
        ({"noise": -1}, "noise"),
    )
    for options, match in cases:
        with pytest.raises(ConfigurationError, match=match):
            gym.make(ID, **({"protocol": "full"} | options))


def test_a_memory_that_holds_something_is_not_emptied() -> None:
    store = MemoryStore(make_encoder("hashing"))
    store.add("precious")
    with pytest.raises(ConfigurationError, match="1 items"):
        gym.make(ID, protocol="full", memory=store)
    assert len(store) == 1


def test_environments_may_share_a_qdrant_folder_and_leave_nothing_in_it(tmp_path: Path) -> None:
    one, other = (gym.make(ID, protocol="full", memory=f"qdrant:{tmp_path}") for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=0)
    one.close()
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_an_overflow_that_the_caller_found_is_scored() -> None:
    env = start()
    _, reward, terminated, truncated, info = env.overflow()
    episode = info["episode"]
    assert (terminated, truncated) == (False, True)
    assert reward == episode.reward.total
    assert episode.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert episode.reward is not None
    assert episode.reward.penalty == -0.5
    assert episode.success is False
    with pytest.raises(gym.error.ResetNeeded):
        env.overflow()


def test_render_is_the_context(answer: Callable[[str], str]) -> None:
    env = gym.make(ID, protocol="full", render_mode="ansi")
    observation, _ = env.reset(seed=0)
    assert env.render() == observation
    assert start().render() is None
