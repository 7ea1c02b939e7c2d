"""The embedded questions are fair: consistent, answerable from the text, and from it alone."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from statistics import fmean

import numpy as np
import pytest

from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.tasks.qa.generator import LEVELS, PARAGRAPHS, make_record, make_world
from agemem_envs.tasks.qa.record import QARecord
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.turns import MAX_CALLS

RECORDS = [make_record(f"r{i}", f"validation/{i}") for i in range(300)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.id)
def test_a_record_is_fair(record: QARecord) -> None:
    titles = [title for title, _ in record.context]
    gold = {title for title, _ in record.supporting_facts}
    texts = {title: " ".join(sentences) for title, sentences in record.context}
    assert len(titles) == len(set(titles)) == PARAGRAPHS
    assert gold <= set(titles)
    assert record.level == LEVELS[len(gold)]
    assert record.answer.lower() not in record.question.lower()
    assert any(record.answer in texts[title] for title in gold)
    assert not any(record.answer in texts[title] for title in titles if title not in gold)
    facts = record.facts()
    assert sum(fact.needed for fact in facts) == len(gold)
    # the answer stands in a supporting sentence
    sentences = dict(record.context)
    assert any(record.answer in sentences[title][index] for title, index in record.supporting_facts)


def test_kinds_and_hops_are_all_there() -> None:
    assert {(r.type, r.level) for r in RECORDS} == {
        (kind, level) for kind in ("bridge", "comparison") for level in LEVELS.values()
    }
    assert len({record.question for record in RECORDS}) == len(RECORDS)


def test_a_comparison_is_decided_by_the_dates() -> None:
    """Follow a two-hop comparison by reading, as a person would."""
    checked = 0
    for record in RECORDS:
        if (
            record.type == "comparison"
            and record.level == "easy"
            and "born first" in record.question
        ):
            texts = dict(record.context)
            years = {
                title: int(texts[title][0].split(" in ")[-1].rstrip("."))
                for title, _ in record.supporting_facts
            }
            earlier = min(years, key=lambda title: years[title])
            later = max(years, key=lambda title: years[title])
            assert record.answer in " ".join(texts[earlier])
            assert record.answer not in texts[later][0]
            checked += 1
    assert checked > 5


def test_worlds_are_consistent() -> None:
    for seed in range(30):
        world = make_world(Random(seed))
        names = {entity.name: entity for entity in world.values()}
        for entity in world.values():
            for relation in entity.relations:
                assert relation.target in entity.sentences[relation.sentence]
                target = names.get(relation.target)
                if target is not None and relation.phrase.startswith("the teacher"):
                    assert target.year + 15 <= entity.year
                if target is not None and relation.phrase.startswith(("the author", "the founder")):
                    assert target.year + 20 <= entity.year
            assert str(entity.year) in entity.sentences[entity.dated_by]


def test_splits_are_disjoint_and_ids_strict() -> None:
    questions = {
        split: {
            SyntheticQATask(split).record(i).question
            for i in SyntheticQATask(split).task_ids(50, 0)
        }
        for split in ("train", "validation", "test")
    }
    assert not questions["train"] & questions["validation"]
    assert not questions["test"] & questions["validation"]
    task = SyntheticQATask()
    for bad in ("", "synthetic-train-1", "synthetic-validation-x", "synthetic-validation-", "9"):
        with pytest.raises(UnknownNameError):
            task.record(bad)
    with pytest.raises(ConfigurationError, match="are unlimited"):
        task.task_ids(None, 0)


def test_a_row_round_trips_through_hotpotqas_schema() -> None:
    for record in RECORDS[:20]:
        assert QARecord.from_row(record.to_row()) == record


@pytest.mark.parametrize(("level", "hops"), [("easy", 2), ("medium", 3), ("hard", 4)])
def test_questions_of_one_level(level: str, hops: int) -> None:
    task = SyntheticQATask(level=level, facts=12, updates=2)
    records = [task.record(f"synthetic-validation-{number}") for number in range(20)]
    assert {record.level for record in records} == {level}
    assert {len({title for title, _ in record.supporting_facts}) for record in records} == {hops}
    assert task.variant.endswith(f"level={level}"), "results of different levels do not mix"


def test_brief_paragraphs_say_what_the_question_uses_of_their_kind() -> None:
    whole, brief = SyntheticQATask(), SyntheticQATask(brief=True)
    counts = []
    for number in range(40):
        one, other = (task.record(f"synthetic-validation-{number}") for task in (whole, brief))
        assert replace(other, context=one.context) == one, "the same question and annotations"
        said = {title: [s for s in text if s] for title, text in other.context}
        for (title, before), (_, after) in zip(one.context, other.context, strict=True):
            assert all(new in ("", old) for old, new in zip(before, after, strict=True))
            assert said[title]
        texts = dict(other.context)
        assert all(texts[title][index] for title, index in other.supporting_facts)
        counts += [len(sentences) for sentences in said.values()]
    assert fmean(counts) < 1.3
    assert brief.variant.endswith("brief=True"), "results of different worlds do not mix"


def test_brief_worlds_are_played_in_both_styles() -> None:
    for facts in (0, 2):
        task = SyntheticQATask(brief=True, facts=facts, updates=2, distractors=1, level="easy")
        for number in range(20):
            spec = task.reset(f"synthetic-validation-{number}", np.random.default_rng(number))
            told = " ".join(talk.text for talk in (*spec.knowledge, *spec.distractors))
            assert "  " not in told
            assert ": ." not in told
            assert len(told) < 2_500
            if facts:
                talks = [*spec.knowledge, *spec.distractors]
                assert max(len(talk.facts) for talk in talks) <= MAX_CALLS, "one output stores it"


def test_an_unknown_level_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'medium'"):
        SyntheticQATask(level="medum")
