"""The parts of the reward ``effective``, and the metrics of stale memory, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from agemem_envs.episode import (
    UNKNOWN,
    Change,
    Episode,
    MemoryItem,
    Message,
    MessageKind,
    Step,
    StopReason,
    ToolCall,
    ToolResult,
)
from agemem_envs.judging.effective import Reading, withdrawn
from agemem_envs.judging.judges import LexicalJudge
from agemem_envs.judging.rewards import REWARDS
from agemem_envs.judging.scoring import rescored, stale_share
from agemem_envs.metrics import METRICS
from agemem_envs.stages import Stage
from tests.conftest import episode_settings
from tests.envs.told_task import ToldTask

LODGE = "At Harbour Lodge, the mug 1 is in the drawer 3."
OLD = "At Harbour Lodge, the mug 1 is in the drawer 2."
OTHER = "At Willow Court, the mug 1 is in the drawer 3."
DENIED = "At Harbour Lodge, it is not known whether the mug 1 is in the drawer 3."
UNSAID = "It is not known where the mug 1 is at Harbour Lodge."


def message(id_: int, kind: MessageKind, content: str, tokens: int, round_: int) -> Message:
    return Message(id_, kind, content, tokens, round_)


def recorded(
    told_: Sequence[str],
    steps: Sequence[tuple[Stage, Sequence[ToolResult]]],
    changes: Sequence[Change] = (),
    gold: Sequence[str] = (LODGE,),
) -> Episode:
    """An episode in which one message of 100 tokens arrives before each step; calls cost 30."""
    messages: list[Message] = []
    made: list[Step] = []
    visible: list[int] = []
    memory: dict[str, str] = {}
    for index, (stage, results) in enumerate(steps):
        if index < len(told_):
            visible.append(len(messages))
            messages.append(message(len(messages), MessageKind.INCOMING, told_[index], 100, index))
        shown = tuple(visible)
        calls = tuple(ToolCall(result.name) for result in results)
        made.append(Step(index, stage, shown, 100 * len(shown), "", "", calls, tuple(results)))
        for kind in (MessageKind.ASSISTANT, MessageKind.TOOL_RESULT):
            messages.append(message(len(messages), kind, "words", 15, index))
        for result in results:
            visible = [i for i in visible if i not in result.data.get("removed", ())]
            if result.name in ("Add_memory", "Update_memory"):
                memory[result.data["memory_id"]] = result.data["content"]
            if result.name == "Delete_memory":
                memory.pop(result.data["memory_id"])
    return Episode(
        env_id="e",
        task_id="t",
        seed=0,
        source=ToldTask.source,
        category="",
        difficulty="",
        query="Where is the mug 1?",
        reference="drawer 3",
        gold_facts=tuple(gold),
        key_items=(),
        settings=episode_settings(max_context_tokens=1_000),
        changes=tuple(changes),
        messages=tuple(messages),
        steps=tuple(made),
        memories=tuple(MemoryItem(key, text) for key, text in memory.items()),
    )


def done(name: str, **data: Any) -> ToolResult:
    return ToolResult(name, True, "", data)


def stored(text: str, key: str = "m1") -> ToolResult:
    return done("Add_memory", memory_id=key, content=text)


def filtered(*ids: int) -> ToolResult:
    return done("Filter_context", removed=list(ids), tokens_saved=0)


ONE, TWO, THREE = Stage.CONSTRUCTION, Stage.DISTRACTION, Stage.REASONING


@pytest.mark.parametrize(
    ("steps", "share"),
    [
        ([(ONE, []), (TWO, [filtered(0)])], 0.35),  # (100 - 30) of 200
        ([(ONE, []), (TWO, [filtered(1, 2)])], 0.0),  # only the model's own words
        ([(ONE, []), (TWO, [filtered()])], 0.0),
        ([(ONE, []), (TWO, [ToolResult("Filter_context", False, "error")])], 0.0),
        ([(ONE, []), (TWO, [filtered(0), filtered()])], 0.35),  # of the tested tokens alone
    ],
)
def test_prevention_by_hand(steps: Any, share: float) -> None:
    assert Reading(recorded(["a grey sky", "a blue sky"], steps)).prevention() == share


def test_what_is_needed_must_not_be_lost() -> None:
    told_ = [f"Did you know? {LODGE}", OTHER]
    assert Reading(recorded(told_, [(ONE, []), (TWO, [filtered(0)])])).prevention() == 0.0
    kept = recorded(told_, [(ONE, [stored(LODGE)]), (TWO, [filtered(0)])])
    assert Reading(kept).prevention() == 0.35
    kept_wrong = recorded(told_, [(ONE, [stored(OTHER)]), (TWO, [filtered(0)])])
    assert Reading(kept_wrong).prevention() == 0.0
    together = recorded(told_, [(ONE, []), (TWO, [filtered(0), stored(LODGE)])])
    assert Reading(together).prevention() == 0.35
    deleted = done("Delete_memory", memory_id="m1")
    lost = recorded(told_, [(ONE, [stored(LODGE), deleted]), (TWO, [filtered(0)])])
    assert Reading(lost).prevention() == 0.0


def test_a_statement_is_needed_until_it_is_corrected() -> None:
    change = Change(OLD, LODGE, True, 1)
    told_ = [OLD, "What was in the drawer 2 at Harbour Lodge is in the drawer 3 now.", "x", "y"]
    early = recorded(told_, [(ONE, []), (ONE, []), (ONE, [filtered(0)])], [change])
    assert Reading(early).prevention() == pytest.approx(70 / 300)
    told_first = [OLD, "grey", told_[1]]
    late = replace(change, message=2)
    before = recorded(told_first, [(ONE, []), (ONE, [filtered(0)]), (ONE, [])], [late])
    assert Reading(before).prevention() == 0.0
    unread = recorded(told_, [(ONE, []), (ONE, []), (ONE, [filtered(3)])], [change])
    assert Reading(unread).prevention() == 0.0, "the correction names no mug, and is needed"


def test_after_an_overflow_nothing_counts() -> None:
    record = recorded(["grey", "blue"], [(ONE, []), (TWO, [filtered(0)])])
    small = replace(record, settings=episode_settings(max_context_tokens=150))
    assert Reading(small).prevention() == 0.0


def test_storage_is_of_the_memory_at_the_query() -> None:
    steps = [(ONE, [stored(LODGE)]), (THREE, [stored("Grey skies.", "m2")])]
    assert Reading(recorded(["x"], steps)).storage() == 1.0
    late = [(ONE, []), (THREE, [stored(LODGE)])]
    assert Reading(recorded(["x"], late)).storage() == 0.0
    twice = [(ONE, [stored(LODGE), stored(LODGE, "m2")])]
    assert Reading(recorded(["x"], twice)).storage() == pytest.approx(2 / 3)
    stale = Reading(recorded(["x"], [(ONE, [stored(OLD)])]))
    assert 0.5 < stale.storage() < 1.0
    own = replace(recorded(["x"], [(ONE, [])]), memories=(MemoryItem("a", LODGE),))
    assert Reading(own).storage() == 1.0, "an agent's own memory system"


def updated(text: str) -> ToolResult:
    return done("Update_memory", memory_id="m1", content=text, before=OLD)


DELETED = done("Delete_memory", memory_id="m1")


@pytest.mark.parametrize(
    ("change", "first", "second", "right"),
    [
        (Change(OLD, LODGE, True, 1), [stored(OLD)], [updated(LODGE)], 1.0),
        (Change(OLD, LODGE, True, 1), [stored(OLD)], [], 0.0),
        (Change(OLD, LODGE, True, 1), [stored(OLD)], [DELETED], 0.0),
        (Change(OLD, LODGE, True, 1), [stored(OLD)], [stored(LODGE, "m2")], 0.0),
        (Change(OLD, LODGE, True, 1), [stored(OLD)], [updated(f"{OLD} {LODGE}")], 0.0),
        (Change(OLD, LODGE, True, 1), [], [stored(LODGE)], 1.0),
        (Change(OLD, LODGE, True, 1), [], [stored(OTHER)], 0.0),
        (Change(LODGE, UNSAID, True, 1), [stored(LODGE)], [DELETED], 1.0),
        (Change(LODGE, UNSAID, True, 1), [stored(LODGE)], [updated(UNSAID)], 1.0),
        (Change(LODGE, UNSAID, True, 1), [stored(LODGE)], [], 0.0),
        (Change(LODGE, UNSAID, True, 1), [stored(LODGE)], [updated(DENIED)], 1.0),
        (Change(LODGE, UNSAID, True, 1), [stored(LODGE)], [stored(DENIED, "m2")], 0.0),
        (Change(LODGE, UNSAID, True, 1), [], [], 0.0),
        (Change(LODGE, UNSAID, True, 1), [], [stored(LODGE), DELETED], 0.0),
    ],
)
def test_maintenance_by_hand(
    change: Change, first: list[ToolResult], second: list[ToolResult], right: float
) -> None:
    record = recorded(["a", "b"], [(ONE, first), (ONE, second), (THREE, [])], [change])
    assert Reading(record).maintenance() == right


def test_maintenance_needs_a_needed_change() -> None:
    unneeded = Change(OLD, LODGE, False, 0)
    assert Reading(recorded(["a"], [(ONE, [])], [unneeded])).maintenance() is None
    assert (withdrawn(Change(LODGE, UNSAID, True, 0)), withdrawn(unneeded)) == (True, False)


def test_a_summary_holds_a_key_item_only_if_a_message_did() -> None:
    messages = (
        message(0, MessageKind.INCOMING, "The Marlow family lives here.", 10, 0),
        message(1, MessageKind.ASSISTANT, "I look for Norwood.", 10, 0),
        message(2, MessageKind.SUMMARY, "Marlow and Norwood.", 10, 0),
    )
    summary = Step(0, THREE, (0, 1), 20, "", results=(done("Summary_context", removed=[0, 1]),))
    record = replace(
        recorded([], []), messages=messages, steps=(summary, Step(1, THREE, (2,), 10, ""))
    )
    assert Reading(replace(record, key_items=("Marlow",))).preservation() == 1.0
    assert Reading(replace(record, key_items=("Norwood",))).preservation() == 0.0


# -- metrics -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "prediction", "stale", "precision", "recall"),
    [
        ("drawer 3", "the drawer 2", 1.0, None, None),
        ("drawer 3", "drawer 3", 0.0, None, None),
        ("drawer 3", "Unknown.", 0.0, 0.0, None),
        ("drawer 3", None, 0.0, None, None),
        (UNKNOWN, "It is not known.", 0.0, 1.0, 1.0),
        (UNKNOWN, "drawer 2", 1.0, None, 0.0),
    ],
)
def test_stale_answers_and_abstentions(
    reference: str,
    prediction: str | None,
    stale: float,
    precision: float | None,
    recall: float | None,
) -> None:
    record = replace(
        recorded([], []),
        reference=reference,
        prediction=prediction,
        stale_answers=("drawer 2",),
        success=False,
    )
    names = ("stale_answer", "abstention_precision", "abstention_recall")
    assert [METRICS[name].of(record) for name in names] == [stale, precision, recall]
    assert METRICS["stale_answer"].of(replace(record, stale_answers=())) is None
    assert METRICS["stale_answer"].of(replace(record, success=None)) is None


def test_stale_share_is_of_the_sentences_at_the_query() -> None:
    change = Change(OLD, LODGE, True, 0)
    steps = [(ONE, [stored(f"{OLD} {LODGE}")]), (THREE, [updated(LODGE)])]
    assert stale_share(recorded(["a"], steps, [change])) == 0.5
    assert stale_share(recorded(["a"], [(ONE, [])], [change])) == 0.0
    assert stale_share(recorded(["a"], steps)) is None
    scored_ = rescored(
        replace(recorded(["a"], steps, [change]), stop_reason=StopReason.ANSWERED, success=False),
        LexicalJudge(),
        REWARDS["effective"],
    )
    assert METRICS["stale_share"].of(scored_) == 0.5
