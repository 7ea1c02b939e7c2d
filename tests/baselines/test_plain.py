"""The memory systems without a library, through the agent that wraps any of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import pytest

from agemem.agents.agemem import AgeMemAgent
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.rollout import Job, rollout
from agemem.baselines.base import TOP_K, MemoryAgent, MemorySystem
from agemem.baselines.gateway import Gateway
from agemem.baselines.registry import SYSTEMS, make_system, system_class
from agemem.baselines.running_summary import RunningSummary
from agemem.baselines.scripted.model import complete
from agemem_envs import prompts
from agemem_envs.encoders import HashingEncoder
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import ToolCall
from agemem_envs.errors import ConfigurationError, EndpointError, UnknownNameError
from agemem_envs.memory.store import MemoryStore
from agemem_envs.metrics import METRICS
from agemem_envs.turns import Turn, render
from tests.conftest import core, not_none

PLAIN = ("no-memory", "full-context", "rag", "running-summary")
TASK = "synthetic-validation-5"


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway(complete)
    yield made
    made.close()


def make_env(**options: Any) -> MemoryEnv:
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full", tools="none", **options).unwrapped
    assert isinstance(env, MemoryEnv)
    return env


def is_told(fact: str, text: str) -> bool:
    """Whether every sentence of a gold fact, whose paragraph has more, is in a text."""
    return all(part in text for part in re.split(r"(?<=\.) ", fact.partition(": ")[2]))


def play(system: MemorySystem, task_id: str = TASK) -> tuple[list[list[dict[str, str]]], Any]:
    """The prompts of the backbone, and the episode."""
    seen: list[list[dict[str, str]]] = []

    def rule(messages: list[dict[str, str]]) -> str:
        seen.append(messages)
        return "<think>.</think><answer>unknown</answer>"

    (played,) = rollout([Job(make_env(), MemoryAgent(system), 1, task_id)], ScriptedBackbone(rule))
    return seen, played.episode


@pytest.mark.parametrize("name", [n for n in SYSTEMS if n in PLAIN])
def test_the_backbone_is_asked_in_stage_3_alone(name: str, gateway: Gateway) -> None:
    prompts_seen, episode = play(make_system(name, gateway))
    assert len(prompts_seen) == 1
    assert all(step.answer == "Noted." for step in episode.steps[:-1])
    assert episode.query in prompts_seen[0][-1]["content"]
    assert episode.metrics["memory_dropped_writes"] == 0


def test_what_is_recalled_stands_before_the_question(gateway: Gateway) -> None:
    head = prompts.RECALLED.partition("{")[0]
    for name, shown in (("full-context", 1.0), ("running-summary", 1.0), ("no-memory", 0.0)):
        ((chat,), episode) = play(make_system(name, gateway))
        told = chat[-1]["content"]
        facts = episode.gold_facts
        assert sum(is_told(fact, told) for fact in facts) / len(facts) == shown, name
        assert told.startswith(head) == bool(shown)


def test_rag_recalls_what_is_similar_and_nothing_more() -> None:
    system = make_system("rag")
    system.reset()
    texts = [f"The {colour} house stands in {town}." for colour, town in
             (("red", "Tarn"), ("blue", "Orly"), ("green", "Bath"), ("grey", "Ulm"))]  # fmt: skip
    for text in texts:
        system.observe(text)
    assert system.recall("Where is the blue house?", 1) == [texts[1]]
    assert len(system.recall("house", 3)) == 3
    assert system.memories() == texts


def test_memory_quality_judges_what_the_system_stored(gateway: Gateway) -> None:
    _, episode = play(make_system("full-context", gateway))
    assert len(episode.memories) == len(episode.steps) - 1
    assert episode.metrics["memory_quality"] > 0
    _, empty = play(make_system("no-memory", gateway))
    assert empty.memories == ()
    assert empty.metrics["memory_quality"] == 0


def test_the_tools_leave_what_is_judged_alone() -> None:
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full", tools="ltm").unwrapped
    assert isinstance(env, MemoryEnv)
    with pytest.raises(gym.error.ResetNeeded):
        env.use_memory(MemoryStore(HashingEncoder()))
    env.reset(seed=0)
    own = MemoryStore(HashingEncoder())
    own.add("Kept by the agent.")
    env.use_memory(own)
    env.step(render(Turn(".", calls=(ToolCall("Add_memory", {"content": "By a tool."}),))))
    assert [item.content for item in env.record().memories] == ["Kept by the agent."]
    assert env.recall("tool") == ["By a tool."]
    env.reset(seed=0)
    assert env.record().memories == ()


def test_the_summary_is_rewritten_and_its_calls_are_counted(gateway: Gateway) -> None:
    system = make_system("running-summary", gateway)
    _, episode = play(system)
    metrics = episode.metrics
    assert metrics["memory_llm_calls"] >= 1
    assert metrics["memory_prompt_tokens"] > metrics["memory_completion_tokens"] > 0
    assert metrics["memory_llm_errors"] == metrics["memory_parse_failures"] == 0


def test_the_costs_of_building_and_of_answering_are_apart(gateway: Gateway) -> None:
    """Together they are all tokens; a system that recalls by the model answers with them."""

    class Asking(RunningSummary):
        """Asks the model about every query."""

        def recall(self, query: str, top_k: int = TOP_K) -> list[str]:
            self._rewrite()
            return super().recall(query, top_k)

    _, episode = play(Asking(gateway))
    metrics = {name: metric.of(episode) or 0.0 for name, metric in METRICS.items()}
    own = metrics["memory_prompt_tokens"] + metrics["memory_completion_tokens"]
    agent = [step for step in episode.steps if step.prompt_tokens is not None]
    spent = sum(not_none(step.prompt_tokens) + not_none(step.completion_tokens) for step in agent)
    recalled = metrics["memory_recall_tokens"]
    assert 0 < recalled < own
    assert metrics["answering_tokens"] == spent + recalled
    assert metrics["building_tokens"] == own - recalled
    env = gym.make("AgeMem-SyntheticQA-v0", level="easy", facts=0, noise=0, distractors=1)
    (played,) = rollout([Job(env, AgeMemAgent(), 1)], ScriptedBackbone())
    tools = played.episode
    built, answered = (METRICS[f"{name}_tokens"].of(tools) for name in ("building", "answering"))
    assert min(not_none(built), not_none(answered)) > 0
    for one in (episode, tools):
        prompt = one.messages[0]
        assert METRICS["instruction_tokens"].of(one) == prompt.tokens > 50


def test_a_failing_model_loses_nothing_but_the_rewriting() -> None:
    """A model that has answered once: one that never does leaves the episode unscored."""
    calls: list[int] = []

    def fail(body: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        if len(calls) == 1:
            return {"choices": [{"message": {"content": ""}}]}
        raise EndpointError("down")

    gateway = Gateway(fail)
    ((chat,), episode) = play(make_system("running-summary", gateway))
    gateway.close()
    assert episode.metrics["memory_llm_errors"] > 0
    assert all(is_told(fact, chat[-1]["content"]) for fact in episode.gold_facts)


class Broken(MemorySystem):
    """Raises whenever it can."""

    name = "broken"

    def __init__(self, forget: Callable[[], None] = lambda: None) -> None:
        super().__init__()

    def reset(self) -> None:
        pass

    def observe(self, text: str) -> None:
        raise KeyError(text)

    def recall(self, query: str, top_k: int = 5) -> list[str]:
        raise RuntimeError("no")

    def memories(self) -> list[str]:
        return []


def test_a_system_that_raises_is_counted_and_never_ends_the_run() -> None:
    prompts_seen, episode = play(Broken())
    stored = len(episode.steps) - 1
    assert len(prompts_seen) == 1
    assert episode.metrics["memory_failures"] == stored + 1
    assert episode.metrics["memory_dropped_writes"] == stored
    assert not episode.errors


def test_observations_of_a_world_are_stored_too(gateway: Gateway) -> None:
    pytest.importorskip("minigrid")
    env = gym.make("AgeMem-BabyAI-v0", protocol="full", tools="none", encoder="hashing").unwrapped
    assert isinstance(env, MemoryEnv)
    system = make_system("full-context")
    backbone = ScriptedBackbone(lambda messages: "<think>.</think><answer>turn left</answer>")
    (played,) = rollout([Job(env, MemoryAgent(system), 1)], backbone)
    stored = system.memories()
    assert sum("You turned left." in text for text in stored) >= 5
    assert not any(text.startswith("Your task") for text in stored)
    assert played.episode.stop_reason is not None


def test_names_and_gateways_are_checked() -> None:
    with pytest.raises(UnknownNameError, match="full-context"):
        system_class("full-contxt")
    with pytest.raises(ConfigurationError, match="gateway"):
        make_system("running-summary")


def small_env(**options: Any) -> MemoryEnv:
    """An environment whose stage 2 alone exceeds the budget."""
    env = gym.make(
        "AgeMem-SyntheticQA-v0", protocol="full", tools=MemoryAgent.tools,
        **({"max_context_tokens": 800} | options),
    ).unwrapped  # fmt: skip
    assert isinstance(env, MemoryEnv)
    return env


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_harness_keeps_the_context_within_the_budget(rounds: int) -> None:
    system = make_system("full-context")
    backbone = ScriptedBackbone(lambda messages: "<think>.</think><answer>unknown</answer>")
    env = small_env(rounds_per_message=rounds)
    (played,) = rollout([Job(env, MemoryAgent(system), 1, TASK)], backbone)
    episode = played.episode
    reductions = [step for step in episode.steps if step.calls]
    assert reductions
    assert {call.name for step in reductions for call in step.calls} == {"Summary_context"}
    assert all(step.prompt_tokens is None for step in reductions), "no call of the backbone"
    assert episode.stop_reason == "context_overflow", "the whole memory does not fit"
    assert episode.steps[-1].context_tokens <= episode.settings.max_context_tokens
    told = [text.content for text in episode.messages if text.kind == "incoming"]
    assert system.memories() == told, "every message, and neither tool results nor summaries"


def test_without_the_rule_the_same_episode_overflows() -> None:
    backbone = ScriptedBackbone(lambda messages: "<think>.</think><answer>unknown</answer>")
    env = make_env(max_context_tokens=800 - 160)  # without tools the system prompt is shorter
    (played,) = rollout([Job(env, MemoryAgent(make_system("no-memory")), 1, TASK)], backbone)
    assert played.episode.stop_reason == "context_overflow"


class Counting(MemorySystem):
    """Counts for how many texts it is asked."""

    name = "counting"

    def reset(self) -> None:
        self.asked: list[int] = []

    def observe(self, text: str) -> None:
        pass

    def recall(self, query: str, top_k: int = 99) -> list[str]:
        self.asked.append(top_k)
        return []

    def memories(self) -> list[str]:
        return []


@pytest.mark.parametrize(("own", "expected"), [(None, 2), (7, 7)])
def test_all_methods_recall_as_many_texts_as_the_environment_says(
    own: int | None, expected: int
) -> None:
    system = Counting()
    backbone = ScriptedBackbone(lambda messages: "<think>.</think><answer>unknown</answer>")
    rollout_ = rollout([Job(make_env(top_k=2), MemoryAgent(system, own), 1, TASK)], backbone)
    (played,) = rollout_
    assert system.asked == [expected]
    assert played.episode.settings.top_k == 2


def test_a_tool_result_of_the_backbone_is_no_message(gateway: Gateway) -> None:
    system = make_system("full-context")
    replies = iter(
        (
            render(Turn("I filter.", calls=(ToolCall("Filter_context", {"criteria": "x"}),))),
            "<think>.</think><answer>unknown</answer>",
        )
    )
    backbone = ScriptedBackbone(lambda messages: next(replies))
    env = small_env(max_context_tokens=8192)
    (played,) = rollout([Job(env, MemoryAgent(system), 1, TASK)], backbone)
    assert played.episode.stop_reason == "answered"
    assert not any("tool_response" in text for text in system.memories())
    assert not any(played.episode.query in text for text in system.memories())


@pytest.mark.parametrize(
    ("name", "reason"), [("full-context", "context_overflow"), ("rag", "answered")]
)
def test_no_model_is_called_with_a_prompt_over_the_budget(name: str, reason: str) -> None:
    """All of the memory does not fit; three memories do, in a context that was reduced."""
    asked: list[Any] = []

    def answer(messages: list[dict[str, str]]) -> str:
        asked.append(messages)
        return render(Turn(".", answer="x"))

    env = core(gym.make("AgeMem-SyntheticQA-v0", tools="stm", encoder="hashing"))
    agent = MemoryAgent(make_system(name))
    (played,) = rollout([Job(env, agent, seed=3)], ScriptedBackbone(answer))
    episode = played.episode
    assert episode.stop_reason == reason
    assert len(asked) == (reason == "answered")
    budget = episode.settings.max_context_tokens
    assert all(step.context_tokens <= budget for step in episode.steps)
    assert (episode.final_tokens > budget) == (reason == "context_overflow")
