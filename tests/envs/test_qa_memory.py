"""The memory style of question answering: many sentences, some of which change, one question."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs.episode import UNKNOWN, MessageKind
from agemem_envs.errors import ConfigurationError
from agemem_envs.protocols import PROTOCOLS
from agemem_envs.tasks.base import TaskSpec
from agemem_envs.tasks.qa.cases import VERDICTS, anchored, holds, replaced, stated
from agemem_envs.tasks.qa.fictional_case import FictionalCase
from agemem_envs.tasks.qa.generator import make_question, make_record
from agemem_envs.tasks.qa.hotpotqa import HotpotQATask
from agemem_envs.tasks.qa.key_items import supported_key_items
from agemem_envs.tasks.qa.record import QARecord
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.tasks.qa.task import QATask
from agemem_envs.tasks.qa.text_case import TextCase
from tests.conftest import answer, outputs_of_processes, state_of

FACTS, UPDATES, DISTRACTORS = 60, 6, 12
SPECS = 60
FORMER = "059fcb2614424365"
"""Hash of what 20 questions told before there was a memory style."""


def make_synthetic() -> SyntheticQATask:
    return SyntheticQATask(facts=FACTS, updates=UPDATES, distractors=DISTRACTORS)


def specs_of(task: QATask, count: int | None) -> list[TaskSpec]:
    ids = task.task_ids(count, 0)
    return [task.reset(i, np.random.default_rng(seed)) for seed, i in enumerate(ids)]


@pytest.fixture(scope="module")
def specs() -> list[TaskSpec]:
    return specs_of(make_synthetic(), SPECS)


def messages(spec: TaskSpec) -> list[str]:
    return [talk.text for talk in (*spec.knowledge, *spec.distractors)]


def check(spec: TaskSpec) -> None:
    """What holds of every episode."""
    told = messages(spec)
    first = "\n".join(talk.text for talk in spec.knowledge)
    assert sum(len(talk.facts) for talk in spec.knowledge) >= FACTS
    assert len(spec.distractors) >= DISTRACTORS
    assert len(spec.changes) <= UPDATES
    for change in spec.changes:
        announcing = told[change.message]
        facts = [f.text for t in spec.knowledge[: change.message] for f in t.facts]
        assert (change.stale in facts) != (change.valid in facts)  # one of them was told first
        assert announcing
        assert change.stale != change.valid
    withdrawn = [c for c in spec.changes if c.needed and spec.reference == UNKNOWN]
    assert (spec.reference == UNKNOWN) <= bool(withdrawn)
    assert spec.reference not in spec.stale_answers
    assert all(holds(first, item) for item in spec.key_items)
    plain = [talk.text for talk in spec.distractors if not talk.changes]
    assert len(plain) == DISTRACTORS
    assert all(400 <= len(text) <= 1_100 for text in plain)
    if spec.key_items:
        assert not all(holds("\n".join(plain), item) for item in spec.key_items)
    for text in (spec.reference, *spec.stale_answers):
        assert text.lower() in VERDICTS or not any(holds(message, text) for message in plain)
    stale = {change.stale for change in spec.changes if change.needed}
    assert not stale & set(spec.gold_facts)
    assert "answer: unknown" in spec.query


def test_synthetic_episodes_are_consistent(specs: list[TaskSpec]) -> None:
    for spec in specs:
        check(spec)
        assert len(spec.changes) == UPDATES
        assert sum(c.needed for c in spec.changes) <= len(spec.gold_facts)
    assert sum(any(c.needed for c in spec.changes) for spec in specs) > 0.6 * SPECS


def test_few_answers_are_withdrawn() -> None:
    share = [spec.reference == UNKNOWN for spec in specs_of(make_synthetic(), 200)]
    assert 0.05 < np.mean(share) < 0.2


def test_a_withdrawn_answer_is_unknown_and_its_former_value_stale(specs: list[TaskSpec]) -> None:
    task = make_synthetic()
    withdrawn = [spec for spec in specs if spec.reference == UNKNOWN]
    assert withdrawn
    for spec in withdrawn:
        assert task.record(spec.id).answer in spec.stale_answers
        assert sum(fact.startswith("Nobody knows") for fact in spec.gold_facts) == 1


def test_an_answer_stands_only_where_it_is_needed(specs: list[TaskSpec]) -> None:
    for spec in specs:
        gold = (
            set(spec.gold_facts) | {c.stale for c in spec.changes} | {c.valid for c in spec.changes}
        )
        record = make_synthetic().record(spec.id)
        titles = {title for title, _ in record.supporting_facts}
        own = {s for t, sentences in record.context if t in titles for s in sentences}
        others = [
            fact.text
            for talk in spec.knowledge
            for fact in talk.facts
            if not talk.changes and fact.text not in gold | own
        ]
        assert others
        assert not any(holds(text, record.answer) for text in others)


def test_a_wrong_sentence_leads_to_a_told_answer() -> None:
    """Who follows the wrong version finds every sentence of the way in the told paragraphs."""
    followed = 0
    for number in range(40):
        case = FictionalCase(make_question("q", f"validation/{number}"))
        for variant in case.variants([], np.random.default_rng(number)):
            assert variant.stale != case.record.answer
            assert holds(variant.wrong, variant.wrong_value)
            assert not holds(variant.wrong, variant.value)
            for title in variant.companions:
                assert not case.tells(case.paragraph(title))
            told = [variant.wrong] + [
                sentence
                for title in (*variant.companions, *(t for t, _ in case.gold))
                for sentence in case.paragraph(title)[1]
            ]
            assert any(holds(sentence, variant.stale) for sentence in told)
            followed += 1
    assert followed > 60


def test_without_facts_everything_is_as_before() -> None:
    told = [
        [
            spec.query,
            spec.reference,
            [talk.text for talk in spec.knowledge],
            [talk.text for talk in spec.distractors],
            list(spec.gold_facts),
        ]
        for spec in specs_of(SyntheticQATask(), 20)
    ]
    assert hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] == FORMER


PROGRAM = """
import numpy as np
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.tasks.qa.text_case import TextCase
task = SyntheticQATask(facts=60, updates=6, distractors=12)
for seed, task_id in enumerate(task.task_ids(6, 0)):
    print(task.reset(task_id, np.random.default_rng(seed)))
    case = TextCase(task.record(task_id))
    print(case.variants(["He met Ann Lee in Rome."], np.random.default_rng(seed)))
"""


def test_a_seed_gives_the_same_episode_in_every_process() -> None:
    assert len(outputs_of_processes(PROGRAM, (1, 2))) == 1


def test_settings_are_recorded_and_checked() -> None:
    assert make_synthetic().variant == "distractors=12, facts=60, updates=6"
    assert SyntheticQATask().variant == ""
    assert SyntheticQATask(noise=1).variant == "noise=1, distractors=5"
    with pytest.raises(ConfigurationError, match="facts must be at least 0"):
        SyntheticQATask(facts=-1)
    with pytest.raises(ConfigurationError, match="updates must be at least 0"):
        SyntheticQATask(updates=-1)


def test_too_few_questions_are_an_error(tmp_path: Path) -> None:
    file = tmp_path / "hotpot_dev.json"
    file.write_text(json.dumps([make_record(f"r{i}", f"test/{i}").to_row() for i in range(3)]))
    task = HotpotQATask(data=file, facts=60, updates=6)
    with pytest.raises(ConfigurationError, match="too few questions for facts=60"):
        task.reset("r0", np.random.default_rng(0))


def test_abstentions_are_one_answer() -> None:
    task = make_synthetic()
    forms = ("unknown", "Unknown.", "not known", "It is not known.", "I don't know", "Nobody knows")
    for seed, task_id in enumerate(task.task_ids(SPECS, 0)):
        spec = task.reset(task_id, np.random.default_rng(seed))
        for text in forms:
            outcome = task.step(text)
            assert outcome.success == (spec.reference == UNKNOWN)
            assert outcome.progress == float(outcome.success)


def test_the_judge_takes_every_abstention_for_unknown() -> None:
    task = make_synthetic()
    withdrawn = next(s for s in specs_of(task, SPECS) if s.reference == UNKNOWN)
    env = gym.make("AgeMem-SyntheticQA-v0", encoder="hashing", protocol="memory")
    for seed in itertools.count():
        env.reset(seed=seed, options={"task_id": withdrawn.id})
        if state_of(env).spec.reference == UNKNOWN:
            break
    while True:
        asking = any(m.kind is MessageKind.QUERY for m in state_of(env).context.messages)
        state_of(env).context.remove(lambda m: m.kind is MessageKind.INCOMING)
        _, _, terminated, _, info = env.step(answer("I don't know." if asking else "Noted."))
        if terminated:
            break
    assert info["success"]
    assert info["episode"].metrics["judge"] == info["episode"].metrics["em"] == 1.0


def test_the_budget_binds() -> None:
    env = gym.make("AgeMem-SyntheticQA-v0", encoder="hashing")
    budget = PROTOCOLS["memory"].benchmarks["syntheticqa"]["max_context_tokens"]
    for seed in range(3):
        env.reset(seed=seed)
        truncated = False
        while not truncated:
            tokens = [m.tokens for m in state_of(env).context.messages]
            assert max(tokens[1:]) <= 0.15 * budget
            _, _, terminated, truncated, _ = env.step(answer("Noted."))
            assert not terminated


def text_record(question: str, answer_: str, kind: str, gold: dict[str, list[str]]) -> QARecord:
    return QARecord(
        id="q",
        question=question,
        answer=answer_,
        supporting_facts=tuple((title, 0) for title in gold),
        context=tuple((title, tuple(sentences)) for title, sentences in gold.items()),
        type=kind,
    )


POOL = ("She was born in Lisbon and taught by Vera Stone.", "They met in Oslo in 1999.")


def test_a_name_is_replaced_by_another_after_the_same_word() -> None:
    record = text_record(
        "Where was the film by Ada Moss made?",
        "Rome",
        "bridge",
        {"Ada Moss": ["Ada Moss directed The Gull."], "The Gull": ["It was made in Rome."]},
    )
    found = {v.place: v for v in TextCase(record).variants(POOL, np.random.default_rng(0))}
    variant = found["The Gull", 0]
    assert variant.wrong in ("It was made in Lisbon.", "It was made in Oslo.")
    assert variant.stale == variant.wrong_value
    assert (
        variant.unknown == 'The Gull: it is not known what is true instead of "was made in Rome".'
    )
    bridge = found["Ada Moss", 0]
    assert bridge.value == "The Gull"
    assert not bridge.unknown


def test_a_number_is_replaced_by_another_of_its_kind() -> None:
    for right in ("1838", "250 million", "13 seasons", "60,000", "six", "April 1, 1949"):
        record = text_record("How many?", right, "bridge", {"A Fact": [f"It had {right} then."]})
        for seed in range(5):
            (variant,) = TextCase(record).variants(POOL, np.random.default_rng(seed))
            assert variant.wrong_value != right
            assert len(variant.wrong_value.split()) == len(right.split())


def test_a_comparison_is_turned_by_a_year() -> None:
    record = text_record(
        "Which was founded first, Alpha (band) or Beta?",
        "Beta",
        "comparison",
        {"Alpha (band)": ["It was formed in 1984."], "Beta": ["It was formed in 1979."]},
    )
    variants = TextCase(record).variants(POOL, np.random.default_rng(0))
    assert [v.stale for v in variants] == ["Alpha", "Alpha"]
    years = {v.place[0]: int(v.wrong_value) for v in variants}
    assert years["Alpha (band)"] < 1979
    assert years["Beta"] > 1984


def test_verdicts_and_answers_of_the_question_are_not_replaced() -> None:
    gold = {"A": ["A is in Rome."], "B": ["B is in Rome."]}
    for question, right in (("Are A and B in one town?", "yes"), ("Is A in Rome or Oslo?", "Rome")):
        record = text_record(question, right, "comparison", gold)
        assert TextCase(record).variants(POOL, np.random.default_rng(0)) == []


def test_key_items_are_held_by_the_needed_sentences() -> None:
    question = "Who founded the Grey Guild of Old Town?"
    assert supported_key_items(question, "The Grey Guild of Old Town is old.", ()) == (
        "Grey Guild of Old Town",
    )
    question = "who wrote green hills?"
    assert supported_key_items(question, "Green Hills is a book.", ("Green Hills",)) == (
        "Green Hills",
    )


def test_sentences_are_complete_and_anchored() -> None:
    assert stated("The Gull", "It was made in Rome.") == "The Gull: It was made in Rome."
    assert stated("Rome", "Rome is a town.") == "Rome is a town."
    assert stated("Rome", "He lived in Rome.") == "Rome: He lived in Rome."
    assert anchored("It was made in Rome.", "Rome") == "was made in Rome"
    assert replaced("Rome, not Romeo.", "Rome", "Oslo") == "Oslo, not Romeo."


def test_real_questions_in_the_memory_style(real_data: Path) -> None:
    task = HotpotQATask(facts=FACTS, updates=UPDATES, distractors=DISTRACTORS)
    real = specs_of(task, 100)
    satisfied, turned, withdrawn = 0, 0, 0
    for spec in real:
        first = "\n".join(talk.text for talk in spec.knowledge)
        held = all(holds(first, item) for item in spec.key_items)
        satisfied += held
        if held:
            check(spec)
        withdrawn += spec.reference == UNKNOWN
        turned += spec.reference not in (UNKNOWN, task.record(spec.id).answer)
    assert satisfied >= 0.95 * len(real)
    assert 0.05 < withdrawn / len(real) < 0.2
    assert turned > 0.05 * len(real)
