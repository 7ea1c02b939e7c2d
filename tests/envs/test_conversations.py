"""Conversations: how they are read, told and asked about."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agemem.agents.rollout import Job, rollout
from agemem.agents.scripted_policy import policy_agent
from agemem_envs.episode import UNKNOWN, Asked, Question
from agemem_envs.errors import DataFormatError, DataNotFoundError, UnknownNameError
from agemem_envs.tasks.base import TaskSpec
from agemem_envs.tasks.conversations.locomo import LoCoMoTask, cited
from agemem_envs.tasks.conversations.locomo_audit import CITATION
from agemem_envs.tasks.conversations.longmemeval import LongMemEvalTask
from agemem_envs.tasks.conversations.messages import MESSAGE_CHARS, told
from agemem_envs.tasks.conversations.record import Conversation, Session, Turn
from agemem_envs.tasks.conversations.structmemeval import StructMemEvalTask, transitions
from agemem_envs.tasks.conversations.task import HOW_TO_ABSTAIN, ConversationTask
from tests.conftest import core
from tests.envs.conversation_files import (
    AUDIT,
    LOCOMO,
    write_locomo,
    write_longmemeval,
    write_structmemeval,
)

IDS = ("AgeMem-LoCoMo-v0", "AgeMem-LongMemEval-v0", "AgeMem-StructMemEval-v0")
TASKS: tuple[Callable[..., ConversationTask], ...] = (
    LoCoMoTask,
    LongMemEvalTask,
    StructMemEvalTask,
)
Data = Path


def spec_of(task: ConversationTask, task_id: str) -> TaskSpec:
    return task.reset(task_id, np.random.default_rng(0))


def by_query(spec: TaskSpec) -> dict[str, Question]:
    return {q.query.removesuffix(HOW_TO_ABSTAIN): q for q in spec.questions}


def asked_by(policy: str, env_id: str, count: int | None, **options: Any) -> list[Asked]:
    """The questions of some episodes that a scripted policy plays."""
    with gym.make(env_id, encoder="hashing", **options) as env:
        asked: list[Asked] = []
        for index, task_id in enumerate(core(env).task.task_ids(count, 0)):
            (played,) = rollout([Job(env, policy_agent(policy)(), index, task_id)])
            assert not played.episode.errors
            asked += played.episode.asked
    return asked


def f1(asked: list[Asked]) -> float:
    return fmean(one.score for one in asked)


# -- embedded conversations ------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_who_answers_from_the_evidence_is_right_and_who_has_no_memory_is_not(env_id: str) -> None:
    oracle = asked_by("oracle", env_id, 5, data="embedded")
    assert f1(oracle) == 1.0
    without = asked_by("oracle-no-memory", env_id, 5, data="embedded")
    known = [one for one in without if one.question.reference != UNKNOWN]
    assert f1(known) < 0.25
    assert f1([one for one in without if one not in known] or oracle) == 1.0


@pytest.mark.parametrize("make", TASKS)
def test_generated_conversations_are_told_and_asked_about(
    make: Callable[..., ConversationTask],
) -> None:
    task = make(data="embedded")
    assert (task.source.kind, task.source.location) == ("embedded", "generated_conversations")
    ids = task.task_ids(20, 0)
    assert spec_of(task, ids[0]) == spec_of(make(data="embedded"), ids[0])
    texts = [spec_of(task, id_).knowledge[0].text for id_ in ids]
    assert len(set(texts)) == 20
    for id_ in ids:
        spec = spec_of(task, id_)
        assert {q.category for q in spec.questions} == set(task.types.values())
        told = "\n".join(talk.text for talk in (*spec.knowledge, *spec.distractors))
        for question in spec.questions:
            assert question.gold_facts
            assert all(fact.partition(": ")[2] in told for fact in question.gold_facts)
            parts = question.reference.split(", ")
            assert not any(part in question.query for part in parts if part != UNKNOWN)


def test_of_a_generated_question_nobody_can_answer_the_other_person_is_asked() -> None:
    task = LoCoMoTask(data="embedded")
    for id_ in task.task_ids(30, 1):
        spec = spec_of(task, id_)
        for question in spec.questions:
            if question.reference == UNKNOWN:
                asked = question.query.split()[2]
                (fact,) = question.gold_facts
                assert asked not in fact, "what the other one said"
                skill = question.query.partition(" learn ")[2].partition("?")[0]
                talks = (*spec.knowledge, *spec.distractors)
                lines = [line for talk in talks for line in talk.text.splitlines()]
                assert not any(f"{asked}: I am learning {skill}" in line for line in lines)


def test_the_sessions_come_in_their_order_and_the_last_one_in_stage_2() -> None:
    spec = spec_of(LoCoMoTask(data="embedded"), "locomo-test-3")
    headings = [talk.text.partition("\n")[0] for talk in (*spec.knowledge, *spec.distractors)]
    sessions = list(dict.fromkeys(headings))
    assert len(sessions) >= 10
    assert headings == sorted(headings, key=sessions.index), "no session comes back"
    late = {talk.text.partition("\n")[0] for talk in spec.distractors}
    assert late == {sessions[-1]}


def test_a_long_session_is_several_messages_below_its_heading() -> None:
    long, short = "rain " * 100, "Hello."
    turns = tuple(Turn(str(n), "Ann", text) for n, text in enumerate([short, *5 * [long], short]))
    session = Session("2 May", turns)
    conversation = Conversation("c", "a talk", (session, Session("3 May", turns[:1])), ())
    knowledge, distractors = told(conversation, {"1"})
    assert [len(talk.facts) for talk in knowledge] == [3, 2, 2]
    assert all(talk.text.startswith("2 May:\nAnn: ") for talk in knowledge)
    assert all(len(talk.text) <= MESSAGE_CHARS + 20 for talk in knowledge)
    assert [fact.text for talk in knowledge for fact in talk.facts if fact.needed] == [
        f"2 May: Ann: {long}"
    ]
    assert [talk.text for talk in distractors] == ["3 May:\nAnn: Hello."]


# -- LoCoMo ----------------------------------------------------------------------------


@pytest.fixture
def locomo(tmp_path: Path) -> Data:
    write_locomo(tmp_path)
    return tmp_path


def test_locomo_is_read_with_its_own_key(locomo: Data) -> None:
    task = LoCoMoTask(data=locomo, key="raw")
    assert task.variant == "key=raw"
    assert task.task_ids(None, 0) == ["conv-1"]
    spec = spec_of(task, "conv-1")
    assert spec.query == "6 questions about the conversation of Bessa and Corvin"
    assert [talk.text.partition("\n")[0] for talk in (*spec.knowledge, *spec.distractors)] == [
        "1:15 pm on 2 March, 2031:",
        "9:30 am on 4 March, 2031:",
    ]
    assert "Bessa: Look! [shares a photo: a photo of a grey pony]" in spec.distractors[0].text
    asked = by_query(spec)
    sold = asked["When did Bessa sell a painting?"]
    assert (sold.reference, sold.category, sold.scoring) == ("2031", "temporal", "whole")
    assert sold.gold_facts == ("1:15 pm on 2 March, 2031: Bessa: I sold a painting yesterday.",)
    assert asked["What does Corvin learn?"].scoring == "list"
    assert asked["Would Bessa like a museum?"].reference == "Yes"
    assert asked["What does Bessa learn?"].reference == UNKNOWN
    assert asked["Is the pony Corvin's?"].accepted == ("No",)
    assert len(asked["Where does Corvin live?"].gold_facts) == 1, "there is no turn D9:9"
    assert [q.id for q in spec.questions] == [f"locomo_0_qa{i}" for i in range(6)]


def test_the_audited_key_changes_what_the_audit_marks_as_wrong(locomo: Data) -> None:
    raw = spec_of(LoCoMoTask(data=locomo, key="raw"), "conv-1")
    audited = spec_of(LoCoMoTask(data=locomo), "conv-1")
    assert LoCoMoTask(data=locomo).variant == ""
    changed = {
        new.id: new for old, new in zip(raw.questions, audited.questions, strict=True) if old != new
    }
    assert changed.keys() == {entry["question_id"] for entry in AUDIT}
    assert changed["locomo_0_qa0"].reference == "pottery, archery", "the citation was wrong"
    assert len(changed["locomo_0_qa0"].gold_facts) == 2
    sold = changed["locomo_0_qa1"]
    assert sold.reference == "1 March 2031 (the day before)"
    assert sold.accepted == ("1 March 2031",)
    assert changed["locomo_0_qa3"].accepted == (UNKNOWN,)
    assert changed["locomo_0_qa3"].gold_facts, "no better evidence, so that of the key"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["D8:6; D9:17"], ("D8:6", "D9:17")),
        (["D9:1 D8:6"], ("D8:6",)),
        (["D:8:06", "D8:6"], ("D8:6",)),
        (["D", "", "8:6"], ()),
    ],
)
def test_citations_are_read_in_every_form(written: list[str], read: tuple[str, ...]) -> None:
    assert cited(written, {"D8:6", "D9:17"}) == read


def test_a_missing_audit_is_one_error_that_names_the_other_key(locomo: Data) -> None:
    (locomo / "audit_errors.json").unlink()
    assert LoCoMoTask(data=locomo, key="raw").task_ids(None, 0)
    with pytest.raises(DataNotFoundError, match=r'audit_errors.json.*key="raw"'):
        LoCoMoTask(data=locomo)
    with pytest.raises(UnknownNameError, match="Did you mean 'raw'"):
        LoCoMoTask(data=locomo, key="rwa")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "another?"}, "locomo_0_qa1"),
        ({"question_id": "locomo_7_qa1"}, "locomo_7_qa1"),
        ({"question_id": "locomo_0_qa0"}, "two entries"),
        ({"correct_answer": None}, "entry 0"),
    ],
)
def test_an_audit_of_other_data_is_refused(
    locomo: Data, change: dict[str, Any], message: str
) -> None:
    first, *rest = AUDIT
    (locomo / "audit_errors.json").write_text(json.dumps([{**first, **change}, *rest]), "utf-8")
    with pytest.raises(DataFormatError, match=message):
        LoCoMoTask(data=locomo)


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row.pop("qa"),
        lambda row: row.update(qa=[]),
        lambda row: row["qa"][0].pop("answer"),
        lambda row: row["qa"][0].update(category=6),
        lambda row: row["qa"][0].update(evidence="D1:2"),
        lambda row: row["conversation"].pop("session_1_date_time"),
        lambda row: row["conversation"]["session_1"][0].pop("speaker"),
        lambda row: row["conversation"].update(session_1=[], session_2=[]),
        lambda row: row.update(sample_id=7),
    ],
)
def test_a_damaged_conversation_is_one_error_with_its_place(
    locomo: Data, damage: Callable[[dict[str, Any]], None]
) -> None:
    (row,) = json.loads(json.dumps(LOCOMO))
    damage(row)
    (locomo / "locomo10.json").write_text(json.dumps([row]), "utf-8")
    with pytest.raises(DataFormatError, match=r"locomo10.json, conversation 0"):
        LoCoMoTask(data=locomo, key="raw")


def real(data: Path, key: str) -> dict[str, Question]:
    task = LoCoMoTask(data=data / "locomo", key=key)
    ids = task.task_ids(None, 0)
    assert len(ids) == 10
    return {q.id: q for id_ in ids for q in spec_of(task, id_).questions}


def test_the_real_data_has_the_published_counts(real_data: Path) -> None:
    if not (real_data / "locomo").is_dir():
        pytest.skip("needs LoCoMo")
    questions = real(real_data, "raw")
    assert len(questions) == 1_986
    assert Counter(q.category for q in questions.values()) == {
        "multi-hop": 282,
        "temporal": 321,
        "open-domain": 96,
        "single-hop": 841,
        "adversarial": 446,
    }
    assert all((q.reference == UNKNOWN) == (q.category == "adversarial")
               for q in questions.values())  # fmt: skip


def test_the_real_audit_changes_exactly_the_answers_that_it_marks(real_data: Path) -> None:
    if not (real_data / "locomo").is_dir():
        pytest.skip("needs LoCoMo")
    entries = json.loads((real_data / "locomo" / "audit_errors.json").read_text("utf-8"))
    raw, audited = real(real_data, "raw"), real(real_data, "audited")
    answers = {i for i in raw if raw[i].reference != audited[i].reference}
    assert answers == {e["question_id"] for e in entries if e["error_type"] != CITATION}
    assert len(answers) == 99
    changed = {i for i in raw if raw[i] != audited[i]}
    assert changed <= {e["question_id"] for e in entries}
    assert all(
        replace(raw[i], reference="", gold_facts=(), accepted=())
        == replace(audited[i], reference="", gold_facts=(), accepted=())
        for i in raw
    )


def test_on_the_real_data_the_oracle_is_right_and_no_memory_can_only_abstain(
    real_data: Path,
) -> None:
    if not (real_data / "locomo").is_dir():
        pytest.skip("needs LoCoMo")
    asked = asked_by("oracle", IDS[0], 2)
    assert f1(asked) == 1.0
    without = asked_by("always-unknown", IDS[0], 2)
    assert f1([one for one in without if one.question.reference == UNKNOWN]) == 1.0
    assert f1([one for one in without if one.question.reference != UNKNOWN]) < 0.01


# -- StructMemEval ---------------------------------------------------------------------


def test_structmemeval_is_read(tmp_path: Path) -> None:
    write_structmemeval(tmp_path)
    task = StructMemEvalTask(data=tmp_path)
    spec = spec_of(task, "transition_2tr_001")
    assert spec.category == "transitions-2"
    assert [talk.text for talk in (*spec.knowledge, *spec.distractors)] == [
        "Session 1:\nUser: I live in Tolvik.",
        "Session 3:\nUser: I live in Quarne now.\nAssistant: Nice!",
    ]
    (question,) = spec.questions
    assert (question.query, question.reference) == ("Where do I live?", "You live in Quarne.")
    assert (spec.query, spec.reference) == (question.query, question.reference)


@pytest.mark.parametrize(
    ("case", "type_"),
    [
        ("static_003", "transitions-0"),
        ("transition_001", "transitions-1"),
        ("transition_5tr_007", "transitions-5"),
        ("anything else", "other"),
    ],
)
def test_the_type_of_a_case_is_how_often_its_state_changes(case: str, type_: str) -> None:
    assert transitions(case) == type_


def test_a_case_that_comes_twice_or_is_damaged_is_one_error(tmp_path: Path) -> None:
    write_structmemeval(tmp_path)
    (file,) = tmp_path.glob("**/*.json")
    other = file.with_name("zz.json")
    other.write_bytes(file.read_bytes())
    with pytest.raises(DataFormatError, match=r"zz.json: the case 'transition_2tr_001'"):
        StructMemEvalTask(data=tmp_path)
    other.write_text('{"case_id": "x", "sessions": [], "queries": []}', "utf-8")
    with pytest.raises(DataFormatError, match=r"zz.json is not in StructMemEval's schema"):
        StructMemEvalTask(data=tmp_path)
    with pytest.raises(DataNotFoundError, match="no case"):
        StructMemEvalTask(data=tmp_path / "nothing")


def test_the_real_cases_change_their_state_0_to_5_times(real_data: Path) -> None:
    if not (real_data / "structmemeval").is_dir():
        pytest.skip("needs StructMemEval")
    task = StructMemEvalTask()
    types = Counter(spec_of(task, id_).category for id_ in task.task_ids(None, 0))
    assert types == {**{f"transitions-{n}": 7 for n in range(6)}, "other": 2}


# -- LongMemEval -----------------------------------------------------------------------


def test_longmemeval_is_read_in_the_order_of_its_dates(tmp_path: Path) -> None:
    write_longmemeval(tmp_path)
    task = LongMemEvalTask(data=tmp_path)
    assert task.source.location == "longmemeval_s.json"
    spec = spec_of(task, "q-1")
    assert [talk.text for talk in (*spec.knowledge, *spec.distractors)] == [
        "2031/04/01 (Tue) 09:00:\nUser: I have two cats.",
        "2031/05/02 (Fri) 08:00:\nUser: I have three cats now.\nAssistant: Lovely.",
    ]
    (question,) = spec.questions
    assert question.reference == "3"
    assert question.category == spec.category == "knowledge-update"
    assert "2031/05/20" in question.query
    assert question.gold_facts == ("2031/05/02 (Fri) 08:00: User: I have three cats now.",)
    (abstain,) = spec_of(task, "q-2_abs").questions
    assert (abstain.reference, abstain.gold_facts) == (UNKNOWN, ())
    assert abstain.accepted == ("You did not mention a dog.",)


def test_the_splits_of_longmemeval_are_its_files(tmp_path: Path) -> None:
    write_longmemeval(tmp_path)
    oracle = LongMemEvalTask("oracle", tmp_path)
    assert oracle.task_ids(None, 0) == ["q-1"]
    assert len(LongMemEvalTask("s", tmp_path).task_ids(None, 0)) == 2
    with pytest.raises(DataFormatError, match="split='oracle'"):
        LongMemEvalTask("s", tmp_path / "longmemeval_oracle.json")
    with pytest.raises(UnknownNameError, match="split"):
        LongMemEvalTask("m", tmp_path)
    (tmp_path / "longmemeval_s_cleaned.json").write_text("[]", "utf-8")
    with pytest.raises(DataFormatError, match="pass data=<file>"):
        LongMemEvalTask("s", tmp_path)


def test_a_damaged_question_is_one_error_with_its_place(tmp_path: Path) -> None:
    write_longmemeval(tmp_path)
    file = tmp_path / "longmemeval_s.json"
    rows = json.loads(file.read_text("utf-8"))
    rows[1]["haystack_dates"] = []
    file.write_text(json.dumps(rows), "utf-8")
    task = LongMemEvalTask("s", tmp_path)
    assert spec_of(task, "q-1")
    with pytest.raises(DataFormatError, match=r"longmemeval_s.json, question 1"):
        spec_of(task, "q-2_abs")


@pytest.mark.parametrize("make", TASKS)
def test_data_that_is_not_there_is_replaced_with_a_warning(
    make: Callable[..., ConversationTask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGEMEM_DATA", str(tmp_path))
    with pytest.warns(UserWarning, match=f"no {make.title} data was found"):  # type: ignore[attr-defined]
        assert make().source.kind == "embedded"
