"""The diligent demonstrator: all six tools, and nothing that its prompt could not tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem.agents.rollout import Job, rollout
from agemem.train.diligent import DiligentDemonstrator
from agemem.train.tiny import PieceCounter
from agemem_envs.episode import UNKNOWN, Episode
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.effective import withdrawn
from agemem_envs.tools import TOOLS

SMALL: Mapping[str, Any] = {
    "protocol": "memory", "facts": 8, "updates": 2, "distractors": 1, "level": "easy",
    "encoder": "hashing", "max_context_tokens": 768, "split": "train",
}  # fmt: skip
NAME = re.compile(r"[A-Z][a-z]+|\bm\d+\b|\d{3,}")


def play(count: int, **options: Any) -> list[tuple[Episode, DiligentDemonstrator]]:
    return play_with(DiligentDemonstrator, count, **options)


def play_with(
    make: Callable[[], DiligentDemonstrator], count: int, **options: Any
) -> list[tuple[Episode, DiligentDemonstrator]]:
    given = {**SMALL, **options}
    env = gym.make(
        "AgeMem-SyntheticQA-v0", disable_env_checker=True, token_counter=PieceCounter(), **given
    )
    played = []
    for seed in range(count):
        agent = make()
        (one,) = rollout([Job(env, agent, seed, f"synthetic-train-{seed}")])
        played.append((one.episode, agent))
    return played


def test_it_answers_rightly_with_all_six_tools() -> None:
    played = play(40)
    assert sum(bool(episode.success) for episode, _ in played) >= 38
    assert set(calls_of(played)) == set(TOOLS)
    assert not any(step.malformed for episode, _ in played for step in episode.steps)


def test_all_that_it_writes_is_in_its_prompt() -> None:
    """Names, numbers and ids; a word of its own thoughts is not a name."""
    own = set(NAME.findall("I Add Update Delete Retrieve Summary Filter My Noted Nothing What"))
    for _, agent in play(30):
        for step in agent.steps:
            prompt = " ".join(message["content"] for message in step.prompt)
            written = set(NAME.findall(step.action)) - own
            assert not {name for name in written if name not in prompt}


def test_it_believes_what_it_could_not_delete() -> None:
    """With one round a message, it cannot look a memory up and then delete it."""
    believed = abstained = 0
    for episode, agent in play(80, facts=2, rounds_per_message=1):
        prompt = " ".join(message["content"] for message in agent.steps[-1].prompt)
        lost = [c.stale for c in episode.changes if c.needed and withdrawn(c)]
        if lost and all(statement in prompt for statement in lost):
            believed += 1
            assert not episode.success
            assert episode.prediction in episode.stale_answers
        elif lost and episode.success:
            abstained += 1
            assert episode.prediction == UNKNOWN
    assert believed > 0
    assert abstained > 0


def test_it_keeps_to_the_budget_only_by_making_room() -> None:
    tight, wide = play(20), play(20, tools="ltm")
    assert not any(e.stop_reason == "context_overflow" for e, _ in tight)
    assert sum(e.stop_reason == "context_overflow" for e, _ in wide) >= 10


def test_the_memory_is_right_when_the_question_comes() -> None:
    kept = [e.reward.maintenance for e, _ in play(40) if e.success and e.reward is not None]
    scored = [value for value in kept if value is not None]
    assert scored
    assert sum(scored) / len(scored) >= 0.95


def calls_of(played: list[tuple[Episode, DiligentDemonstrator]]) -> Counter[str]:
    return Counter(
        call.name for episode, _ in played for step in episode.steps for call in step.calls
    )


@pytest.mark.parametrize("tool", ["Retrieve_memory", "Add_memory"])
def test_it_may_leave_out_the_calls_of_one_tool(tool: str) -> None:
    setting = {"facts": 0, "updates": 0, "noise": 0, "max_context_tokens": 2048}
    without = play_with(lambda: DiligentDemonstrator(1.0, tool), 10, **setting)
    whole = play_with(DiligentDemonstrator, 10, **setting)
    other = {"Retrieve_memory": "Add_memory", "Add_memory": "Retrieve_memory"}[tool]
    assert calls_of(without)[tool] == 0 < calls_of(whole)[tool]
    assert calls_of(without)[other] >= calls_of(whole)[other] / 2
    assert not any(episode.success for episode, _ in without)
    half = calls_of(play_with(lambda: DiligentDemonstrator(0.5, tool), 10, **setting))
    assert 0 < half[tool] < calls_of(whole)[tool]


def test_it_needs_questions() -> None:
    env = gym.make("AgeMem-BabyAI-v0", disable_env_checker=True, protocol="full")
    with pytest.raises(ConfigurationError, match="question answering"):
        DiligentDemonstrator().begin(env.unwrapped, 0)  # type: ignore[arg-type]
