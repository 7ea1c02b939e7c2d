"""Every reward component against hand-worked numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agemem_envs.episode import (
    DataSource,
    Episode,
    MemoryItem,
    Message,
    MessageKind,
    Step,
    StopReason,
    ToolCall,
    ToolResult,
)
from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.judges import Case, LexicalJudge, Verdict
from agemem_envs.judging.rewards import (
    REWARDS,
    Assessment,
    RewardConfig,
    assess,
    breakdown,
    compression,
    maintenance,
    make_reward,
    penalty,
    preservation,
    preventive,
    retrieved,
    stored_in_stage_1,
)
from agemem_envs.stages import Stage
from agemem_envs.tasks.qa.key_items import key_items
from tests.conftest import episode_settings

GOLD = ("Velmor: The river Tasp flows through Velmor.", "Ada Ruk: Ada Ruk was born in Velmor.")


def step(
    index: int, stage: Stage, tokens: int, visible: tuple[int, ...], *results: ToolResult
) -> Step:
    calls = tuple(ToolCall(result.name) for result in results)
    return Step(index, stage, visible, tokens, "raw", calls=calls, results=results)


def added(content: str) -> ToolResult:
    return ToolResult("Add_memory", True, "stored", {"memory_id": "m1", "content": content})


def found(*contents: str) -> ToolResult:
    items = [{"memory_id": "m1", "content": content, "score": 0.5} for content in contents]
    return ToolResult("Retrieve_memory", True, "\n".join(contents), {"query": "q", "items": items})


def episode(*steps: Step, **changes: Any) -> Episode:
    base = Episode(
        env_id="e",
        task_id="t",
        seed=0,
        source=DataSource("d", "embedded", "test", "1", "x"),
        category="bridge",
        difficulty="easy",
        query="Which river flows through the town where Ada Ruk was born?",
        reference="Tasp",
        gold_facts=GOLD,
        key_items=("Ada Ruk",),
        settings=episode_settings(max_context_tokens=1000),
        messages=(
            Message(0, MessageKind.SYSTEM, "system Ada Ruk", 10),
            Message(1, MessageKind.QUERY, "Which river ... Ada Ruk ...?", 10),
            Message(2, MessageKind.ASSISTANT, "thinking of Ada Ruk", 10, round=0),
            Message(3, MessageKind.TOOL_RESULT, "[m1] ada ruk was born in Velmor", 10, round=0),
            Message(4, MessageKind.FEEDBACK, "not understood: Ada Ruk", 10, round=0),
        ),
        steps=steps,
        stop_reason=StopReason.ANSWERED,
        prediction="Tasp",
    )
    return replace(base, **changes)


def test_compression_is_the_free_share_when_the_answer_is_given() -> None:
    assert (
        compression(episode(step(0, Stage.REASONING, 900, ()), step(1, Stage.REASONING, 250, ())))
        == 0.75
    )
    assert compression(episode(step(0, Stage.REASONING, 1500, ()))) == 0.0
    assert compression(episode()) == 0.0


def test_preventive_counts_a_reduction_before_any_overflow() -> None:
    filtered = ToolResult("Filter_context", True, "ok")
    summary = ToolResult("Summary_context", True, "ok")
    refused = ToolResult("Summary_context", False, "error")
    assert preventive(episode(step(0, Stage.DISTRACTION, 10, (), filtered))) == 1.0
    assert preventive(episode(step(0, Stage.REASONING, 10, (), summary))) == 1.0
    assert preventive(episode(step(0, Stage.DISTRACTION, 10, (), refused))) == 0.0
    assert preventive(episode(step(0, Stage.DISTRACTION, 10, ()))) == 0.0
    late = (step(0, Stage.DISTRACTION, 1001, ()), step(1, Stage.DISTRACTION, 10, (), filtered))
    assert preventive(episode(*late)) == 0.0


def test_preservation_looks_outside_the_question_and_the_models_own_words() -> None:
    good = ToolResult("Retrieve_memory", True, "[m1] ada ruk was born in Velmor")
    refused = ToolResult("Delete_memory", False, "error: no memory has the id 'Ada Ruk'")
    assert preservation(episode(step(0, Stage.REASONING, 10, (0, 1, 2, 4), good))) == 0.0
    assert preservation(episode(step(0, Stage.REASONING, 10, (0, 1, 2, 3), good))) == 1.0
    assert preservation(episode(step(0, Stage.REASONING, 10, (0, 1, 2, 3), refused))) == 0.0
    both = ("Ada Ruk", "1812")
    assert preservation(episode(step(0, Stage.REASONING, 10, (3,), good), key_items=both)) == 0.0
    part = ("Ruk was bor",)  # not whole words
    assert preservation(episode(step(0, Stage.REASONING, 10, (3,), good), key_items=part)) == 0.0
    assert preservation(episode(step(0, Stage.REASONING, 10, ()), key_items=())) == 1.0


def test_maintenance_counts_carried_out_updates_and_deletes() -> None:
    updated = ToolResult("Update_memory", True, "ok")
    deleted = ToolResult("Delete_memory", True, "ok")
    refused = ToolResult("Delete_memory", False, "error")
    assert maintenance(episode(step(0, Stage.CONSTRUCTION, 1, (), updated))) == 1.0
    assert maintenance(episode(step(0, Stage.REASONING, 1, (), deleted))) == 1.0
    assert maintenance(episode(step(0, Stage.CONSTRUCTION, 1, (), refused, added("x")))) == 0.0


def test_penalties() -> None:
    config = RewardConfig()
    assert penalty(episode(), config) == 0.0
    assert penalty(episode(stop_reason=StopReason.ROUND_LIMIT), config) == -1.0
    assert penalty(episode(stop_reason=StopReason.CONTEXT_OVERFLOW), config) == -0.5
    full = episode(step(0, Stage.REASONING, 1001, ()))  # answered, but over the budget of 1000
    assert penalty(full, config) == -0.5


def test_after_an_overflow_the_tokens_that_overflowed_count() -> None:
    burst = episode(
        step(0, Stage.REASONING, 400, ()),
        stop_reason=StopReason.CONTEXT_OVERFLOW,
        final_tokens=2_000,
    )
    assert compression(burst) == 0.0
    assert compression(replace(burst, final_tokens=900)) == pytest.approx(0.1)


def test_storage_counts_stage_1_and_relevance_stage_3() -> None:
    record = episode(
        step(0, Stage.CONSTRUCTION, 1, (), added("one"), added("two")),
        step(1, Stage.DISTRACTION, 1, (), added("late"), found("early")),
        step(2, Stage.REASONING, 1, (), added("later"), found("a", "b"), found("b")),
    )
    assert stored_in_stage_1(record) == ["one", "two"]
    assert retrieved(record) == ["a", "b"]


def test_the_whole_reward_by_hand() -> None:
    record = episode(
        step(0, Stage.CONSTRUCTION, 100, (), added(GOLD[0]), added("The sky is grey.")),
        step(1, Stage.DISTRACTION, 100, (), ToolResult("Filter_context", True, "ok")),
        step(2, Stage.REASONING, 100, (), found(GOLD[0], GOLD[1], "The sky is grey.")),
        step(3, Stage.REASONING, 400, (0, 1, 3)),
        messages=(*episode().messages[:3], replace(episode().messages[3], round=2)),
        memories=(MemoryItem("m1", GOLD[0]), MemoryItem("m2", "The sky is grey.")),
    )
    judged = assess(record, LexicalJudge(), score=None)
    parts = breakdown(record, judged, RewardConfig(), answered=True)
    assert parts.task == 1.0
    assert (parts.compression, parts.preventive, parts.preservation) == (0.6, 1.0, 1.0)
    assert parts.context == pytest.approx(2.6 / 3)
    assert (parts.storage, parts.maintenance) == (0.5, 0.0)
    assert parts.relevance == pytest.approx(2 / 3)
    assert parts.memory == pytest.approx((0.5 + 2 / 3) / 3)
    assert parts.total == pytest.approx((1 + 2.6 / 3 + (0.5 + 2 / 3) / 3) / 3)
    # one of two memories is good, one of two gold facts is covered
    assert judged.memory_quality.score == pytest.approx(0.5)
    only = breakdown(record, judged, REWARDS["answer-only"], answered=True)
    assert only.total == 1.0


def test_no_answer_costs_one() -> None:
    record = episode(prediction=None, stop_reason=StopReason.ROUND_LIMIT)
    judged = assess(record, LexicalJudge(), score=None)
    parts = breakdown(record, judged, RewardConfig(), answered=False)
    assert parts.task == -1.0
    assert parts.total == pytest.approx(-1 / 3 - 1.0)  # no steps: context and memory are 0
    only = breakdown(record, judged, REWARDS["answer-only"], answered=False)
    assert only.total == -1.0


def test_a_failed_judge_leaves_the_total_unscored_never_zero() -> None:
    record = episode(step(0, Stage.REASONING, 1, ()))
    failed = Verdict(None, "down")
    judged = Assessment(Verdict(1.0), failed, Verdict(1.0), Verdict(1.0))
    parts = breakdown(record, judged, RewardConfig(), answered=True)
    assert parts.storage is None
    assert parts.memory is None
    assert parts.total is None
    assert judged.errors == ("down",)
    # the ablation gives memory no weight, so it is not held up by it
    assert breakdown(record, judged, REWARDS["answer-only"], answered=True).total == 1.0


def test_a_native_score_needs_no_judge() -> None:
    assert assess(episode(), LexicalJudge(), score=0.25).task == Verdict(0.25)


@pytest.mark.parametrize(
    ("query", "items"),
    [
        ("Which river flows through the town where Ada Ruk was born?", ("Ada Ruk",)),
        ("Were Scott Derrickson and Ed Wood of the same nationality?", ("Scott Derrickson", "Ed Wood")),
        ('Who wrote "the long night" in 1984?', ("the long night", "1984")),
        ("What is the name of the University of North Tarn?", ("University of North Tarn",)),
        ("What was Tom Hanks's first film in the U.S. Navy's archive?", ("Tom Hanks", "U.S. Navy")),
        ("who was it?", ()),
    ],
)  # fmt: skip
def test_key_items(query: str, items: tuple[str, ...]) -> None:
    assert key_items(query) == items


def test_reward_names_and_fields() -> None:
    assert make_reward("answer-only") is REWARDS["answer-only"]
    assert make_reward({"task_weight": 0.5}).task_weight == 0.5
    invalid: tuple[Any, ...] = ("answeronly", {"task_wieght": 1.0}, {"task_weight": "x"})
    for bad in invalid:
        with pytest.raises(ConfigurationError):
            make_reward(bad)


def test_lexical_judge_of_answers() -> None:
    case = Case("q", "Velmor Town", ())
    assert LexicalJudge().answer(case, "the velmor town.").score == 1.0
    assert LexicalJudge().answer(case, "Velmor").score == pytest.approx(2 / 3)
    assert LexicalJudge().answer(case, "Tasp").score == 0.0
