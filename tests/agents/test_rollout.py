"""The episode loop: batching, seeds, and failures that stay in their own episode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import gymnasium as gym
import pytest

from agemem.agents.agemem import EXAMPLES, AgeMemAgent
from agemem.agents.backbones.base import Backbone, Completion, Request, Sampling
from agemem.agents.backbones.scripted import ScriptedBackbone
from agemem.agents.base import Agent, RolloutEnv
from agemem.agents.guessing import guess
from agemem.agents.policies import POLICIES
from agemem.agents.random_actions import RandomAgent
from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import PolicyAgent, policy_agent
from agemem_envs.episode import StopReason, ToolCall
from agemem_envs.errors import (
    ConfigurationError,
    EndpointError,
    PromptTooLongError,
    SimulatorError,
)
from agemem_envs.summarizers import LLMSummarizer
from agemem_envs.turns import Turn, render
from agemem_envs.util.endpoint import ChatEndpoint
from tests.conftest import core, not_none
from tests.openai_stub import OpenAIStub

ID = "AgeMem-SyntheticQA-v0"


def jobs(count: int, agent: Callable[[], Agent] = AgeMemAgent, **options: Any) -> list[Job]:
    return [
        Job(
            gym.make(ID, disable_env_checker=True, protocol="full", **options),
            agent(),
            seed,
            f"synthetic-validation-{seed}",
        )
        for seed in range(count)
    ]


class Recording(Backbone):
    name = engine = "recording"

    def __init__(self, fail: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.batches: list[list[Request]] = []
        self.fail = fail
        self.inner = ScriptedBackbone()

    def generate(
        self, requests: Sequence[Request], sampling: Sampling
    ) -> list[Completion | EndpointError]:
        self.batches.append(list(requests))
        done = cast(list[Completion], self.inner.generate(requests, sampling))
        return [
            EndpointError("down") if request.seed in self.fail else
            Completion(reply.text, prompt_tokens=10 + index, completion_tokens=3, seconds=0.5)
            for index, (request, reply) in enumerate(zip(requests, done, strict=True))
        ]  # fmt: skip


def test_a_batch_plays_the_same_episodes_as_one_by_one() -> None:
    together = {r.job: r for r in rollout(jobs(4), ScriptedBackbone())}
    for job, result in together.items():
        alone = next(iter(rollout([jobs(4)[job]], ScriptedBackbone())))
        assert alone.episode.messages == result.episode.messages
        assert alone.episode.reward == result.episode.reward


def test_one_generation_a_round_for_all_that_live() -> None:
    backbone = Recording()
    results = list(rollout(jobs(3), backbone))
    rounds = [len(result.episode.steps) for result in results]
    assert len(backbone.batches) == max(rounds)
    assert sum(map(len, backbone.batches)) == sum(rounds)
    first = [request.first for batch in backbone.batches for request in batch]
    assert first == [True] * 3 + [False] * (sum(rounds) - 3)
    seeds = [request.seed for batch in backbone.batches for request in batch]
    assert len(set(seeds)) == len(seeds)


def test_the_backbones_counts_are_in_the_record() -> None:
    result = next(iter(rollout(jobs(1), Recording())))
    assert all(step.prompt_tokens == 10 for step in result.episode.steps)
    assert all(step.seconds == 0.5 for step in result.episode.steps)
    assert len(result.prompts) == len(result.completions) == len(result.episode.steps)
    assert [not_none(c).text for c in result.completions] == [
        s.action for s in result.episode.steps
    ]


def test_a_failing_endpoint_ends_its_own_episode_unscored() -> None:
    backbone = Recording(fail={1 * 10_007 + 4})  # the fifth call of the episode with seed 1
    results = {r.job: r.episode for r in rollout(jobs(3), backbone)}
    failed = results[1]
    assert failed.stop_reason is StopReason.ENDPOINT_ERROR
    assert failed.success is None
    assert failed.reward is None
    assert failed.errors == ("EndpointError: down",)
    assert len(failed.steps) == 4
    assert all(results[job].stop_reason is StopReason.ANSWERED for job in (0, 2))


def test_a_prompt_over_the_servers_window_is_the_agents_overflow() -> None:
    class Narrow(Recording):
        def generate(
            self, requests: Sequence[Request], sampling: Sampling
        ) -> list[Completion | EndpointError]:
            return [PromptTooLongError("8192") for _ in requests]

    episode = next(iter(rollout(jobs(1), Narrow()))).episode
    assert episode.stop_reason is StopReason.CONTEXT_OVERFLOW
    assert episode.success is False
    assert episode.reward is not None


def test_a_dead_summarizer_leaves_the_episode_unscored() -> None:
    with OpenAIStub(lambda body: (500, b"{}")) as server:
        endpoint = ChatEndpoint("s", server.url, attempts=1)
        played = jobs(1, Summarizing, summarizer=LLMSummarizer(endpoint))
        episode = next(iter(rollout(played))).episode
    assert episode.stop_reason is StopReason.ENDPOINT_ERROR
    assert episode.success is None
    assert "500" in episode.errors[0]


class Summarizing(PolicyAgent):
    policy = POLICIES["oracle-no-memory"]

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        if info["round"] == 3:
            return render(Turn("x", calls=(ToolCall("Summary_context", {"span": "all"}),)))
        return super().act(observation, info)


def test_a_failing_simulator_is_recorded_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played = jobs(2, policy_agent("oracle"))
    env = played[0].env
    assert isinstance(env, gym.Env)
    monkeypatch.setattr(core(env).task, "step", lambda action: 1 / 0)
    bad = Job(played[1].env, policy_agent("oracle")(), 5, "no such task")
    results = {r.job: r.episode for r in rollout([played[0], bad])}
    assert results[0].stop_reason is StopReason.ENVIRONMENT_ERROR
    assert "ZeroDivisionError" in results[0].errors[0]
    assert results[1].stop_reason is StopReason.ENVIRONMENT_ERROR
    assert "no such task" in results[1].errors[0]
    assert next(iter(rollout([played[1]]))).episode.success is True


def test_a_model_agent_without_a_backbone_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="backbone"):
        list(rollout(jobs(1)))


def test_only_a_rollout_env_is_played() -> None:
    wrapped = jobs(1, policy_agent("oracle"))[0]
    assert isinstance(wrapped.env, gym.Wrapper)
    assert isinstance(wrapped.env.unwrapped, RolloutEnv)
    with pytest.raises(ConfigurationError, match="CartPoleEnv cannot be played"):
        list(rollout([replace(wrapped, env=gym.make("CartPole-v1"))]))


def test_an_agent_that_needs_the_environment_is_not_given_a_proxy() -> None:
    with pytest.raises(ConfigurationError, match="its own process, not a object"):
        policy_agent("oracle")().begin(object(), 0)  # type: ignore[arg-type]


def test_the_oracle_needs_its_memory() -> None:
    oracle = [not_none(r.episode.success) for r in rollout(jobs(20, policy_agent("oracle")))]
    without = [
        not_none(r.episode.success) for r in rollout(jobs(20, policy_agent("oracle-no-memory")))
    ]
    off = [
        not_none(r.episode.success) for r in rollout(jobs(20, policy_agent("oracle"), tools="none"))
    ]
    alone = [
        not_none(r.episode.success)
        for r in rollout(jobs(20, policy_agent("oracle"), stages="task"))
    ]
    assert sum(oracle) == 20
    assert sum(without) == sum(off) == sum(alone) == 0


def test_the_oracle_keeps_its_context_clean() -> None:
    episode = next(iter(rollout(jobs(1, policy_agent("oracle"))))).episode
    reward = not_none(episode.reward)
    assert reward.preventive == 1.0
    assert reward.storage == 1.0
    assert reward.relevance == 1.0
    assert episode.metrics["memory_quality"] == 1.0


@pytest.mark.parametrize(
    ("question", "visible", "expected"),
    [
        ("Is Ada Ruk older or younger than Bo Lim?", "", "older"),
        ("Were both born in Tarn?", "Ada", "yes"),
        ("Who wrote it, Ada Ruk or Bo Lim?", "", "Ada Ruk"),
        ("Who taught Ada Ruk?", "Bo Lim met Ada Ruk. Bo Lim left.", "Bo Lim"),
        ("who?", "nothing here", "unknown"),
    ],
)
def test_the_guess_rule(question: str, visible: str, expected: str) -> None:
    assert guess(question, visible) == expected


def test_random_agents_are_seeded() -> None:
    def actions() -> list[str]:
        return [s.action for r in rollout(jobs(1, RandomAgent)) for s in r.episode.steps]

    assert actions() == actions()


def test_few_shot_examples_follow_the_system_prompt() -> None:
    info = {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    chat = AgeMemAgent(few_shot=True).act("", info)
    assert len(chat) == 2 + 2 * len(EXAMPLES)
    assert [m["role"] for m in chat[1:]] == ["user", "assistant"] * len(EXAMPLES) + ["user"]
    assert AgeMemAgent().act("", info) == info["messages"]


def test_sampling_defaults_to_greedy() -> None:
    assert Sampling().temperature == 0.0


class Stumbling(PolicyAgent):
    policy = POLICIES["oracle"]

    """An agent whose simulator fails it."""

    def act(self, observation: str, info: Mapping[str, Any]) -> str:
        raise SimulatorError("its process died")


def test_an_agent_that_raises_spoils_its_own_episode_only() -> None:
    one, other = jobs(2, policy_agent("oracle"))
    played = list(rollout([replace(one, agent=Stumbling()), other]))
    by_job = {rollout_.job: rollout_.episode for rollout_ in played}
    assert by_job[0].stop_reason is StopReason.ENVIRONMENT_ERROR
    assert "its process died" in by_job[0].errors[0]
    assert by_job[1].success is True
