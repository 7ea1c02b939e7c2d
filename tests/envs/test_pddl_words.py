"""PDDL in the memory style: only what stage 1 tells leads from the words to the right goal."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agemem_envs.errors import ConfigurationError
from agemem_envs.protocols import PROTOCOLS
from agemem_envs.tasks.amounts import Amounts
from agemem_envs.tasks.base import Talk, TaskSpec
from agemem_envs.tasks.pddl.generator import DOMAINS, make_problem
from agemem_envs.tasks.pddl.jobs import JOB_RULES, draw_alike
from agemem_envs.tasks.pddl.language import LANGUAGES
from agemem_envs.tasks.pddl.task import PDDLTask
from agemem_envs.tasks.pddl.words import MAX_FACTS, WORDS, make_words
from agemem_envs.tasks.sites import _FIRST, OWNERS
from tests.conftest import outputs_of_processes

pytest.importorskip("pddlgym", exc_type=ImportError)

ROW = PROTOCOLS["memory"].benchmarks["pddl"]
NUMBERS = range(6)
MEANING = re.compile(r"^At (.+), the word (\w+) stands for (\S+)\.$")
LINK = re.compile(r"^The job of the (\w+) family is done at (.+)\.$")


def worded(split: str = "test", data: str = "embedded") -> PDDLTask:
    return PDDLTask(
        split, data, facts=ROW["facts"], updates=ROW["updates"], distractors=ROW["distractors"]
    )


@functools.cache
def example(domain: str, number: int) -> TaskSpec:
    task = worded()
    spec = task.reset(f"pddl-test-{domain}-{number}", np.random.default_rng(number))
    task.close()
    return spec


def meanings(spec: TaskSpec) -> dict[str, str]:
    """The objects of the goal's words, as the needed statements tell them."""
    found = (MEANING.match(fact) for fact in spec.gold_facts)
    return {match[2]: match[3] for match in found if match}


def in_real_names(text: str, objects: dict[str, str]) -> str:
    for word, name in objects.items():
        text = re.sub(rf"\b{word}\b", name, text)
    return text


def sentences(line: str) -> list[str]:
    return sorted(line.partition(": ")[2].rstrip(".").split(". "))


def has_all(items: Sequence[str], talks: Sequence[Talk]) -> bool:
    text = " ".join(talk.text for talk in talks)
    return all(re.search(rf"\b{re.escape(item)}\b", text) for item in items)


GOLDEN = {
    "gripper": "ba106edb748359bc",
    "blocksworld": "4fa2536b9b9c28ab",
    "barman": "353d57b1e7cfa7dc",
    "tyreworld": "21b5fd494daad434",
}
"""Digests of what was told before the memory style existed."""


@pytest.mark.parametrize("domain", DOMAINS)
def test_without_facts_everything_is_as_before(domain: str) -> None:
    task, told = PDDLTask("test"), []
    for number in range(3):
        spec = task.reset(f"pddl-test-{domain}-{number}", np.random.default_rng(number))
        facts = [(fact.text, fact.gold or "") for talk in spec.knowledge for fact in talk.facts]
        texts = [talk.text for talk in spec.distractors]
        told.append(repr((spec.query, spec.opening, spec.briefing, facts, texts)))
    assert hashlib.sha256("\n".join(told).encode()).hexdigest()[:16] == GOLDEN[domain]
    assert task.variant == ""


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_needed_facts_turn_the_goal_into_the_worlds_own(domain: str) -> None:
    task = worded()
    for number in NUMBERS:
        spec = task.reset(f"pddl-test-{domain}-{number}", np.random.default_rng(number))
        line = spec.query.splitlines()[1]
        real = LANGUAGES[domain].goal(task._world.goal)
        objects = meanings(spec)
        assert len(objects) == len(spec.gold_facts) - 1 == len(spec.key_items) - 1
        assert len(set(objects.values())) == len(objects)
        assert sentences(in_real_names(line, objects)) == sentences(real)
        for name in objects.values():
            assert not re.search(rf"\b{name}\b", line)
        links = [match for match in map(LINK.match, spec.gold_facts) if match]
        assert [link[1] for link in links] == [spec.key_items[0]]
        assert {MEANING.match(f)[1] for f in spec.gold_facts if MEANING.match(f)} == {  # type: ignore[index]
            links[0][2]
        }
    task.close()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_wrong_object_makes_another_goal(domain: str) -> None:
    for number in NUMBERS:
        spec = example(domain, number)
        line, right = spec.query.splitlines()[1], meanings(spec)
        real = sentences(in_real_names(line, right))
        for change in spec.changes:
            stale, valid = MEANING.match(change.stale), MEANING.match(change.valid)
            if stale and valid and change.needed:
                assert stale.group(1, 2) == valid.group(1, 2)
                assert right[valid[2]] == valid[3]
                assert stale[3] not in right.values()
                assert sentences(in_real_names(line, {**right, valid[2]: stale[3]})) != real


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_correction_by_the_old_object_tells_which_word_it_means(domain: str) -> None:
    moved = 0
    for number in NUMBERS:
        spec = example(domain, number)
        told = [fact.text for talk in spec.knowledge for fact in talk.facts]
        for talk in (*spec.knowledge, *spec.distractors):
            for change in talk.changes:
                stale = MEANING.match(change.stale)
                if stale and "the word that I said" in talk.text:
                    same = rf"At {stale[1]}, the word \w+ stands for {stale[3]}\."
                    assert {text for text in told if re.fullmatch(same, text)} == {change.stale}
                    assert not re.search(rf"\b{stale[2]}\b", talk.text)
                    moved += 1
    assert moved


@pytest.mark.parametrize("domain", DOMAINS)
def test_five_places_explain_the_same_words_and_stage_2_never_all(domain: str) -> None:
    alone = 0
    for number in NUMBERS:
        spec = example(domain, number)
        told = [fact.text for talk in spec.knowledge for fact in talk.facts]
        assert len(told) >= ROW["facts"]
        places = {match[1] for match in map(MEANING.match, told) if match}
        for word in spec.key_items[1:]:
            about = [match for match in map(MEANING.match, told) if match and match[2] == word]
            assert {match[1] for match in about} == places
        assert len(places) == 5
        assert has_all(spec.key_items, spec.knowledge)
        alone += has_all(spec.key_items, spec.distractors)
        plain = [talk for talk in spec.distractors if not talk.changes]
        assert len(plain) == ROW["distractors"]
        assert not any(spec.key_items[0] in talk.text for talk in plain)
        assert all(400 <= len(talk.text) <= 1_000 for talk in plain)
        assert not any(place in talk.text for talk in plain for place in places)
        later = {c.valid for c in spec.changes} | set(told)
        assert set(spec.gold_facts) <= later
        assert [c.message for c in spec.changes] == [
            index
            for index, talk in enumerate((*spec.knowledge, *spec.distractors))
            for _ in talk.changes
        ]
    assert alone <= 1


@pytest.mark.parametrize("domain", DOMAINS)
def test_many_goals_read_alike(domain: str) -> None:
    """What the opening and the goal tell leaves several goals, of which one is right."""
    for number in range(20):
        problem = make_problem(domain, "test", number)
        generator = np.random.default_rng(number)
        job = JOB_RULES[domain].draw(problem, generator)
        alike = [draw_alike(JOB_RULES[domain], problem, job, generator) for _ in range(60)]
        goals = {tuple(sorted(other.goal)) for other in alike if other}
        assert len(goals) >= (6 if domain == "tyreworld" else 4), number
        assert set(job.goal) - problem.init


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_expert_succeeds_within_its_actions_and_the_explorer_by_luck(domain: str) -> None:
    task, wins = worded(), 0
    for number in NUMBERS:
        results = []
        for player in (task.expert_action, task.explorer_action):
            spec = task.reset(f"pddl-test-{domain}-{number}", np.random.default_rng(number))
            actions = spec.expert_actions
            assert actions
            outcome = None
            for _ in range(actions):
                action = player()
                assert action is not None
                outcome = task.step(action)
                if outcome.done:
                    break
            results.append(outcome is not None and outcome.success)
        assert results[0]
        wins += results[1]
    assert wins <= len(NUMBERS) // 2
    task.close()


def test_the_explorer_tries_one_goal_after_another() -> None:
    """On a table with three blocks, the right one of a few goals comes soon."""
    task = worded()
    task.reset("pddl-test-blocksworld-0", np.random.default_rng(0))
    goals = set()
    for _ in range(40):
        action = task.explorer_action()
        assert action is not None
        goals |= task._tried
        if task.step(action).done:
            break
    assert len(goals) > 1
    task.close()


def test_only_stage_1_gives_the_words() -> None:
    task = worded()
    spec = task.reset("pddl-test-gripper-1", np.random.default_rng(1), with_stage_messages=False)
    plain = PDDLTask("test").reset(
        "pddl-test-gripper-1", np.random.default_rng(1), with_stage_messages=False
    )
    assert spec == plain
    assert task.explorer_action() is None


def test_words_are_no_names_of_places_or_owners() -> None:
    names = {name.lower() for name in (*OWNERS, *_FIRST)}
    assert not names & set(WORDS)
    assert len(set(WORDS)) == len(WORDS)


def test_numbers_are_checked() -> None:
    for facts, updates, distractors, message in (
        (-1, 0, 5, "facts must be at least 0"),
        (60, -1, 5, "updates must be at least 0"),
        (60, 0, -1, "distractors must be at least 0"),
        (MAX_FACTS + 1, 0, 5, "facts must be at most"),
        (0, 3, 5, "updates need facts"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            PDDLTask("test", facts=facts, updates=updates, distractors=distractors)
    assert worded().variant == (
        f"facts={ROW['facts']}, updates={ROW['updates']}, distractors={ROW['distractors']}"
    )


def test_few_facts_still_explain_every_word() -> None:
    problem = make_problem("barman", "test", 0)
    rules, generator = JOB_RULES["barman"], np.random.default_rng(0)
    job = rules.draw(problem, generator)
    told = make_words(job, rules, problem, Amounts(1, 0, 0), generator)
    assert has_all((told.owner, *told.words), told.knowledge)
    assert told.distractors == ()


def test_agentboards_problems_all_have_jobs(real_data: Path) -> None:
    task = PDDLTask("agentboard", facts=60, updates=6, distractors=2)
    for task_id in task.task_ids(None, 0)[::4]:
        spec = task.reset(task_id, np.random.default_rng(0))
        assert 3 <= len(spec.gold_facts) <= 8
        assert spec.expert_actions
        assert spec.expert_actions <= 33
    task.close()


def test_one_seed_is_one_episode_in_every_process() -> None:
    program = (
        "import numpy as np; from agemem_envs.tasks.pddl.task import PDDLTask\n"
        "task = PDDLTask('test', facts=60, updates=6, distractors=3)\n"
        "for domain in ('gripper', 'blocksworld', 'barman', 'tyreworld'):\n"
        "    print(task.reset(f'pddl-test-{domain}-9', np.random.default_rng(4)))\n"
        "    for _ in range(25):\n"
        "        action = task.explorer_action()\n"
        "        print(action, task.step(action))\n"
        "    print(task.expert_action())\n"
        "task.close()\n"
    )
    assert len(outputs_of_processes(program, (0, 1))) == 1
