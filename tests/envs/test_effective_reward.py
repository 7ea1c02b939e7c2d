"""The reward ``effective``: what pays is what a call does, and only with the right answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import agemem_envs  # noqa: F401  (registers the environments)
from agemem_envs.env import MemoryEnv
from agemem_envs.episode import (
    Change,
    Episode,
    RewardBreakdown,
    StopReason,
    ToolCall,
    ToolResult,
)
from agemem_envs.judging.judges import LexicalJudge
from agemem_envs.judging.rewards import REWARDS
from agemem_envs.judging.scoring import rescored
from agemem_envs.tasks.base import TaskSpec
from agemem_envs.turns import Turn, render
from tests.conftest import core, not_none
from tests.envs.told_task import ToldTask

Calls = list[ToolCall]
Script = list[list[Calls]]
"""The tool calls of each message, turn by turn; the last message is the question."""
WRONG = "a wrong answer"


class Brief:
    """A summarizer that keeps nothing."""

    name = "brief"

    def summarize(self, texts: Sequence[str]) -> str:
        return "They talked."


def told(budget: int = 8_192, **options: Any) -> MemoryEnv:
    return MemoryEnv(
        ToldTask(**options),
        protocol="memory",
        max_context_tokens=budget,
        summarizer=Brief(),
        max_top_k=10,
    )


def synthetic() -> MemoryEnv:
    env = gym.make(
        "AgeMem-SyntheticQA-v0",
        protocol="full",
        reward="effective",
        summarizer=Brief(),
    )
    return core(env)


def begin(env: MemoryEnv, task: int | str) -> TaskSpec:
    env.reset(seed=0, options={"task_id": str(task)})
    return not_none(env.state).spec


def play(env: MemoryEnv, task: int | str, script: Script, final: str, thought: str = "") -> Episode:
    """Play a script: each message gets its calls and then an answer, the last one ``final``."""
    begin(env, task)
    for index, turns in enumerate(script):
        spoken = [Turn(thought, calls=tuple(calls)) for calls in turns if calls]
        text = final if index == len(script) - 1 else "Noted."
        for turn in (*spoken, Turn(thought, answer=text)):
            *_, terminated, truncated, info = env.step(render(turn))
            if terminated or truncated:
                episode: Episode = info["episode"]
                return episode
    raise AssertionError("the script ended before the episode")


def total(episode: Episode) -> float:
    return not_none(reward(episode).total)


def reward(episode: Episode) -> RewardBreakdown:
    return not_none(episode.reward)


def add(text: str) -> ToolCall:
    return ToolCall("Add_memory", {"content": text})


def update(key: str, text: str) -> ToolCall:
    return ToolCall("Update_memory", {"memory_id": key, "content": text})


def delete(key: str) -> ToolCall:
    return ToolCall("Delete_memory", {"memory_id": key, "confirmation": True})


def retrieve(query: str, count: int = 1) -> ToolCall:
    return ToolCall("Retrieve_memory", {"query": query, "top_k": count})


def drop(criteria: str) -> ToolCall:
    return ToolCall("Filter_context", {"criteria": criteria})


SUMMARY = ToolCall("Summary_context", {"span": "all"})

# -- a call without effect never pays ----------------------------------------------------


def random_script(spec: TaskSpec, generator: np.random.Generator) -> Script:
    """Random calls, some of them without effect, for every message of a task."""
    messages = [talk.text for talk in (*spec.knowledge, *spec.distractors)]
    heard: list[str] = []
    script: Script = []
    for text in (*messages, spec.query):
        heard.append(text)
        turns = []
        for _ in range(int(generator.integers(3))):
            count = 1 + int(generator.integers(2))
            turns.append([_random_call(spec, heard, generator) for _ in range(count)])
        script.append(turns)
    return script


def _random_call(spec: TaskSpec, heard: list[str], generator: np.random.Generator) -> ToolCall:
    def one(texts: Sequence[str]) -> str:
        return texts[int(generator.integers(len(texts)))]

    key = f"m{1 + int(generator.integers(6))}"
    facts = [*spec.gold_facts, *(change.stale for change in spec.changes)]
    calls: list[Callable[[], ToolCall]] = [
        lambda: add(one(facts)),
        lambda: add(one(heard)),
        lambda: update(key, one(facts)),
        lambda: delete(key),
        lambda: drop(one(heard)),
        lambda: drop("zzzz qqqq"),
        lambda: drop(""),
        lambda: SUMMARY,
        lambda: retrieve(one(heard)),
        lambda: ToolCall("Retrieve_memory", {"query": "x", "metadata_filter": {"no": "such"}}),
        lambda: update("m1", spec.gold_facts[0]),  # often the same text again
    ]
    return calls[int(generator.integers(len(calls)))]()


def without_effect(result: ToolResult) -> bool:
    if not result.ok:
        return True
    if result.name in ("Filter_context", "Summary_context"):
        return not result.data["removed"]
    if result.name == "Update_memory":
        return bool(result.data["content"] == result.data["before"])
    return result.name == "Retrieve_memory" and not result.data["items"]


def idle_calls(episode: Episode, script: Script) -> list[tuple[int, int, int]]:
    """Where a script has calls without effect: message, turn and number.

    A call among others of its turn is part of their messages, and so of what a later filter
    compares. It is left out if there is one.
    """
    steps = iter(episode.steps)
    found = []
    filtered = [s.index for s, r in episode.results("Filter_context") if r.data["removed"]]
    last_filter = max(filtered, default=-1)
    for message, turns in enumerate(script):
        for turn, calls in enumerate(turns):
            if not calls:
                continue
            step = next(steps, None)
            for number, result in enumerate(step.results if step else ()):
                alone = len(calls) == 1 or not_none(step).index > last_filter
                if without_effect(result) and alone:
                    found.append((message, turn, number))
        next(steps, None)  # the answer
    return found


def cut(script: Script, where: tuple[int, int, int]) -> Script:
    return [
        [
            [call for n, call in enumerate(calls) if (m, t, n) != where]
            for t, calls in enumerate(turns)
        ]
        for m, turns in enumerate(script)
    ]


@pytest.mark.parametrize("budget", [8_192, 1_400])
@pytest.mark.parametrize("seed", range(12))
def test_a_call_without_effect_never_pays(seed: int, budget: int) -> None:
    generator = np.random.default_rng(seed)
    env = told(budget)
    script = random_script(begin(env, seed), generator)
    final = not_none(env.state).spec.reference if seed % 3 else WRONG
    with_calls = play(env, seed, script, final)
    idle = idle_calls(with_calls, script)
    for where in idle[:: max(1, len(idle) // 6)]:
        without = play(env, seed, cut(script, where), final)
        assert total(without) >= total(with_calls), where


@pytest.mark.parametrize("seed", range(6))
def test_a_call_without_effect_never_pays_where_nothing_changes(seed: int) -> None:
    generator = np.random.default_rng(seed)
    env = synthetic()
    task = env.task.task_ids(8, 0)[seed]
    script = random_script(begin(env, task), generator)
    final = not_none(env.state).spec.reference
    with_calls = play(env, task, script, final)
    for where in idle_calls(with_calls, script)[:6]:
        assert total(play(env, task, cut(script, where), final)) >= total(with_calls), where


# -- policies ------------------------------------------------------------------------------


class Policy:
    """The ideal policy, of which variants change single habits.

    Stage 1 stores each needed statement and revises it when a change is announced. Before each
    reset and at the question everything in the context is filtered away.
    """

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec
        self.final = spec.reference
        self.thought = ""
        self.changes = {change.stale: change for change in spec.changes if change.needed}
        talks = (*spec.knowledge, *spec.distractors)
        self.talks = talks
        self.keys: dict[str, str] = {}
        self.script: Script = []

    def store(self, text: str) -> ToolCall:
        self.keys[text] = f"m{len(self.keys) + 1}"
        return add(text)

    def of_message(self, index: int) -> list[Calls]:
        talk = self.talks[index]
        calls = [self.store(fact.gold) for fact in talk.facts if fact.gold]
        calls += [call for change in talk.changes if change.needed for call in self.revise(change)]
        turns = [calls[i : i + 8] for i in range(0, len(calls), 8)]
        if index == len(self.spec.knowledge) - 1:
            turns.append(self.clear())
        return turns

    def revise(self, change: Change) -> Calls:
        if change.stale not in self.keys:  # a rumour
            return []
        key = self.keys.pop(change.stale)
        self.keys[change.valid] = key
        return [update(key, change.valid)]

    def clear(self) -> Calls:
        """Away with all messages: each of them holds one of these pairs of words."""
        return [SUMMARY]

    def of_question(self) -> list[Calls]:
        return [self.clear(), [retrieve(text) for text in self.keys]]

    def made(self) -> Script:
        return [*(self.of_message(i) for i in range(len(self.talks))), self.of_question()]


class NoUpdate(Policy):
    def revise(self, change: Change) -> Calls:
        return []


class KeepsBoth(Policy):
    def revise(self, change: Change) -> Calls:
        return [self.store(change.valid)] if change.stale in self.keys else []


class BelievesRumours(Policy):
    def revise(self, change: Change) -> Calls:
        if change.stale in self.keys:
            return super().revise(change)
        key = self.keys.pop(change.valid)
        self.keys[change.stale] = key
        return [update(key, change.stale)]


class Deletes(Policy):
    """Deletes what changed in place of revising it: right only about what is not known."""

    def revise(self, change: Change) -> Calls:
        return [delete(self.keys[change.stale])] if change.stale in self.keys else []

    def of_question(self) -> list[Calls]:
        held = [text for text in self.keys if text not in self.changes]
        return [self.clear(), [retrieve(text) for text in held]]


class NoReduction(Policy):
    def clear(self) -> Calls:
        return []


class IdleReduction(Policy):
    def clear(self) -> Calls:
        return [drop("zzzz qqqq")]


class ClearsTwice(Policy):
    def clear(self) -> Calls:
        return [SUMMARY, SUMMARY]


class ClearsBeforeStoring(Policy):
    """Removes the messages of stage 1 without having stored what they said."""

    def of_message(self, index: int) -> list[Calls]:
        last = index == len(self.spec.knowledge) - 1
        return [self.clear()] if last else []

    def of_question(self) -> list[Calls]:
        return [self.clear()]


class NoRetrieval(Policy):
    def of_question(self) -> list[Calls]:
        return [self.clear()]


class RetrievesTwice(Policy):
    def of_question(self) -> list[Calls]:
        retrieval = [retrieve(text) for text in self.keys]
        return [self.clear(), retrieval, retrieval]


class FarmsRetrievals(Policy):
    """Retrieves and filters again, over and over."""

    def of_question(self) -> list[Calls]:
        first = next(iter(self.keys))
        farmed = [[retrieve(first)], [drop(first)]] * 3
        return [self.clear(), *farmed, [retrieve(text) for text in self.keys]]


class FarmsThoughts(Policy):
    """Thinks at length and filters its own thoughts."""

    def __init__(self, spec: TaskSpec) -> None:
        super().__init__(spec)
        self.thought = "I think about the harvest of apples and pears. " * 8

    def of_question(self) -> list[Calls]:
        return [self.clear(), [drop("harvest apples pears")], *super().of_question()[1:]]


class NoStorage(Policy):
    def store(self, text: str) -> ToolCall:
        self.keys[text] = "m1"
        return retrieve(text)

    def revise(self, change: Change) -> Calls:
        return []


class StoresTwice(Policy):
    def of_message(self, index: int) -> list[Calls]:
        again = [add(fact.gold) for fact in self.talks[index].facts if fact.gold]
        return (
            [*super().of_message(index), again] if index < 0 or again else super().of_message(index)
        )

    def of_question(self) -> list[Calls]:
        return [self.clear(), [retrieve(text, 1) for text in self.keys]]


class StoresAll(Policy):
    """Every statement, needed or not."""

    def of_message(self, index: int) -> list[Calls]:
        calls = [add(fact.text) for fact in self.talks[index].facts]
        self.keys |= {fact.gold: "" for fact in self.talks[index].facts if fact.gold}
        turns = [calls[i : i + 8] for i in range(0, len(calls), 8)]
        if index == len(self.spec.knowledge) - 1:
            turns.append(self.clear())
        return turns


class Blob(Policy):
    """All of stage 1 in one item, and an update that changes nothing."""

    def of_message(self, index: int) -> list[Calls]:
        if index != len(self.spec.knowledge) - 1:
            return []
        said = "\n".join(talk.text for talk in self.spec.knowledge)
        return [[add(said), update("m1", said)], self.clear()]

    def of_question(self) -> list[Calls]:
        return [self.clear(), [retrieve("everything")]]


class SystemPrompt(Policy):
    """Stores what the system prompt says, too."""

    def of_message(self, index: int) -> list[Calls]:
        prompt = [add("You are an assistant who remembers. You have a short-term context.")]
        return [*super().of_message(index), *([prompt] if index == len(self.talks) - 1 else [])]


class StoresLate(Policy):
    """Writes the memory when the question is known."""

    def of_message(self, index: int) -> list[Calls]:
        last = index == len(self.spec.knowledge) - 1
        return [self.clear()] if last else []

    def of_question(self) -> list[Calls]:
        gold = self.spec.gold_facts
        return [self.clear(), [add(text) for text in gold], [retrieve(text) for text in gold]]


class AddsAndDeletes(Policy):
    """Adds what does not hold, after it was corrected, and deletes it for the reward."""

    def of_message(self, index: int) -> list[Calls]:
        turns = super().of_message(index)
        if index < len(self.talks) - 1:
            return turns
        spare = len(self.keys) + 1
        farm = [
            call
            for n, stale in enumerate(self.changes)
            for call in (add(stale), delete(f"m{spare + n}"))
        ]
        return [*turns, farm[:8]]


VARIANTS: list[type[Policy]] = [
    NoUpdate, KeepsBoth, BelievesRumours, Deletes, NoReduction, IdleReduction, ClearsTwice,
    ClearsBeforeStoring, NoRetrieval, RetrievesTwice, FarmsRetrievals, FarmsThoughts, NoStorage,
    StoresTwice, StoresAll, Blob, SystemPrompt, StoresLate, AddsAndDeletes,
]  # fmt: skip


def played(
    env: MemoryEnv, task: int | str, kind: type[Policy], final: str | None = None
) -> Episode:
    policy = kind(begin(env, task))
    script = policy.made()
    return play(env, task, script, policy.final if final is None else final, policy.thought)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_ideal_policy_is_the_best(variant: type[Policy]) -> None:
    env = told()
    ideal = [total(played(env, task, Policy)) for task in range(8)]
    other = [total(played(env, task, variant)) for task in range(8)]
    assert all(best >= value for best, value in zip(ideal, other, strict=True))
    assert variant is AddsAndDeletes or sum(ideal) > sum(other)


def test_the_ideal_policy_gets_nearly_all() -> None:
    env = told()
    for task in range(8):
        parts = reward(played(env, task, Policy))
        assert (parts.task, parts.storage, parts.relevance) == (1.0, 1.0, 1.0), task
        assert parts.maintenance in (None, 1.0), task
        assert parts.preservation == 1.0
        assert parts.preventive > 0.3
        assert parts.penalty == 0.0


def test_every_wrong_answer_is_below_every_right_one() -> None:
    env = told()
    right, wrong = [], []
    kinds: list[type[Policy]] = [Policy, *VARIANTS]
    for task in range(4):
        for kind in kinds:
            right.append(total(played(env, task, kind)))
            wrong.append(total(played(env, task, kind, WRONG)))
    assert max(wrong) < min(right)


# -- exploits ------------------------------------------------------------------------------


class NoTools(Policy):
    """Knows the answer without any memory."""

    def made(self) -> Script:
        return [[] for _ in range(len(self.talks) + 1)]


class UselessTools(NoTools):
    """A filter that removes nothing, and a dummy that is stored and deleted."""

    def made(self) -> Script:
        script = super().made()
        script[0] = [[add("A note to myself.")]]
        script[-1] = [[drop("zzzz qqqq"), delete("m1")]]
        return script


class BlobAndTools(Blob):
    """The exploit that the paper's formula pays most for."""

    def of_question(self) -> list[Calls]:
        return [[drop("zzzz qqqq"), retrieve("everything")]]


class NeverAnswers(Policy):
    def of_question(self) -> list[Calls]:
        return 12 * [[retrieve("anything else")]]


@pytest.mark.parametrize("make", [told, synthetic])
def test_exploits_do_not_pay(make: Callable[[], MemoryEnv]) -> None:
    env = make()
    for task in env.task.task_ids(4, 0):
        honest, plain = total(played(env, task, Policy)), total(played(env, task, NoTools))
        assert honest > plain
        assert honest > total(played(env, task, BlobAndTools))
        assert plain > total(played(env, task, UselessTools))
        for kind in (NoTools, UselessTools, BlobAndTools, SystemPrompt, Policy):
            assert total(played(env, task, kind, WRONG)) < 1 / 3 < plain
        wrong = reward(played(env, task, BlobAndTools, WRONG))
        assert wrong.context > 0
        assert wrong.total == pytest.approx(not_none(wrong.task) / 3)


def test_the_papers_formula_pays_for_what_effective_does_not() -> None:
    """The reason for the second reward: tools pay, whatever the answer."""
    env = MemoryEnv(ToldTask(), protocol="full", reward="all-returns", summarizer=Brief())
    hack = [total(played(env, task, BlobAndTools, WRONG)) for task in range(8)]
    plain = [total(played(env, task, NoTools, WRONG)) for task in range(8)]
    assert min(hack) > max(plain) + 0.2


def test_all_bad_ends_cost_the_same() -> None:
    env = told()
    never = reward(played(env, 1, NeverAnswers))
    long = NoTools(begin(env, 1))
    script = long.made()
    script[-1] = [[retrieve("x" * 8_000)]] * 12
    burst = play(told(2_000), 1, script, long.final)
    assert burst.stop_reason == "context_overflow"
    assert (never.penalty, reward(burst).penalty) == (-1.0, -1.0)
    assert not_none(never.total) == not_none(reward(burst).total)
    world = replace(burst, interactive=True, prediction="go", stop_reason=StopReason.WORLD_ENDED)
    dead, done = replace(world, success=False), replace(world, success=True)
    config = REWARDS["effective"]
    scores = [
        rescored(replace(e, metrics={"judge": 0.0}), LexicalJudge(), config) for e in (dead, done)
    ]
    assert [reward(e).penalty for e in scores] == [-1.0, 0.0]
