"""LangMem: the real library on a scripted model, and what faults of the model cost."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from agemem.baselines.base import MemoryAgent, Usage
from agemem.baselines.gateway import Body, Gateway
from agemem.baselines.langmem import MAX_STEPS, LangMemSystem
from agemem.baselines.rag import RAG
from agemem.baselines.scripted.langmem import answer
from agemem_envs.errors import EndpointError
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask

if importlib.util.find_spec("langmem") is None:  # importing it here would be too early
    pytest.skip("needs langmem", allow_module_level=True)

FACTS = (
    "Ada Morn was born in Zork in 1833.",
    "Ada Morn was a pupil of Brom Teld.",
    "The river Yialis flows through Zork.",
    "Brom Teld lives in Farn and keeps 3 bees.",
)
HOSTILE = (
    'He said "it\'s {\'a\': [1]}" and ```{"content": []}```',
    "  one\ntwo\n\n\tthree {0} %s \\n {langgraph_user_id}\n",
    "</session_1>\n<instance id=1 schema_type=\"Memory\">\n{'content': 'x'}\n</instance>",
    "</existing> json_doc_id=[1] " + "long " * 400,
    "Ünïcødé ✓ \u2028 next \x85 nul \x00 Zürich Łódź",
    '{"content": "json"}',
    "007",
    "?",
)
Spoil = Callable[[Body], dict[str, Any]]
"""From a request to the message that comes instead of the ideal one; or raises."""


class Model:
    """The ideal model, until it is told to spoil its next replies."""

    def __init__(self) -> None:
        self.spoil: Spoil | None = None
        self.times = 0

    def __call__(self, body: Body) -> Body:
        message = answer(body)
        assert message is not None, body["messages"]
        if self.spoil and self.times:
            self.times -= 1
            message = self.spoil(body)
        prompt, completion = (len(json.dumps(part)) // 4 for part in (body, message))
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "model",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": {**usage, "total_tokens": prompt + completion},
        }


def says(content: str | None) -> Spoil:
    return lambda _: {"role": "assistant", "content": content}


def calls(name: str, arguments: dict[str, Any] | str) -> Spoil:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": text}
    call = {"id": "call_1", "type": "function", "function": function}
    return lambda _: {"role": "assistant", "content": None, "tool_calls": [call]}


def patches(path: str, value: str = "New.", key: str | None = None) -> Spoil:
    """A patch of the first memory that the prompt shows, or of the given id."""

    def spoil(body: Body) -> dict[str, Any]:
        patch = {"op": "replace", "path": path, "value": value}
        found = {"json_doc_id": key or shown_id(body), "planned_edits": "e", "patches": [patch]}
        return calls("PatchDoc", found)(body)

    return spoil


def shown_id(body: Body) -> str:
    found = re.search(r"<instance id=(\S+) ", body["messages"][0]["content"])
    assert found
    return found[1]


def fails(_: Body) -> dict[str, Any]:
    raise EndpointError("the server is away")


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def make(model: Model) -> Iterator[Callable[..., LangMemSystem]]:
    """Systems on one gateway, with the light encoder unless said; closed at the end."""
    gateway = Gateway(model)
    made: list[LangMemSystem] = []

    def make(encoder: str = "hashing") -> LangMemSystem:
        made.append(LangMemSystem(gateway, encoder))
        return made[-1]

    yield make
    for system in made:
        system.close()
        system.close()
    gateway.close()


def tell(system: LangMemSystem, *texts: str) -> Usage:
    """Store texts as the agent does; the usage of it."""
    agent = MemoryAgent(system)
    system.usage = Usage()
    for text in texts:
        agent.observe(text)
    return system.usage


def test_what_is_told_is_recalled_and_paid_for(make: Callable[..., LangMemSystem]) -> None:
    system = make()
    usage = tell(system, *FACTS)
    assert system.memories() == list(FACTS)
    assert usage.llm_calls == len(FACTS)
    assert usage.prompt_tokens > usage.completion_tokens > 0
    assert usage.faults == usage.dropped_writes == 0
    for fact in FACTS:
        assert system.recall(fact, 1) == [fact]
    assert len(system.recall("anything", 3)) == 3
    assert usage.llm_calls == len(FACTS), "recall calls no model"


def test_it_recalls_what_similarity_recalls(make: Callable[..., LangMemSystem]) -> None:
    system, plain = make(), RAG("hashing")
    tell(system, *FACTS)
    for fact in FACTS:
        plain.observe(fact)
    query = "Who taught Ada Morn of Zork?"
    assert system.recall(query, 3) == plain.recall(query, 3)


def test_what_is_known_is_not_stored_again(make: Callable[..., LangMemSystem]) -> None:
    system = make()
    usage = tell(system, *FACTS, *FACTS)
    assert system.memories() == list(FACTS)
    assert usage.faults == usage.dropped_writes == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_stored_as_it_is(make: Callable[..., LangMemSystem], text: str) -> None:
    system = make()
    usage = tell(system, FACTS[0], text, FACTS[1], text)
    assert system.memories() == [FACTS[0], text, FACTS[1]]
    assert usage.faults == 0
    assert text in system.recall(text)


@pytest.mark.parametrize("text", ["", "  \n ", "a lone \ud800 surrogate"])
def test_no_text_harms_it(make: Callable[..., LangMemSystem], text: str) -> None:
    system = make()
    tell(system, text, FACTS[0], text)
    system.recall(text)
    assert FACTS[0] in system.recall(FACTS[0])


def test_two_at_once_share_nothing_and_reset_drops_all(
    make: Callable[..., LangMemSystem],
) -> None:
    one, other = make(), make()
    tell(one, "The canary of one sings.", *FACTS)
    tell(other, "The parrot of the other talks.")
    assert "canary" not in "".join(other.recall("canary sings") + other.memories())
    assert "parrot" not in "".join(one.recall("parrot talks") + one.memories())
    one.reset()
    assert one.memories() == one.recall("canary") == []
    tell(one, "Something new.")
    assert one.memories() == one.recall("canary") == ["Something new."]
    assert other.memories() == ["The parrot of the other talks."]


def test_a_memory_is_patched_and_removed(make: Callable[..., LangMemSystem], model: Model) -> None:
    system = make()
    tell(system, FACTS[0], FACTS[3])
    model.spoil, model.times = patches("/content", "Ada Morn was born in Farn."), 1
    assert tell(system, "Ada Morn was born in Farn, not in Zork in 1833.").faults == 0
    assert system.memories() == ["Ada Morn was born in Farn.", FACTS[3]], "in its place"
    assert system.recall("Ada Morn was born", 1) == ["Ada Morn was born in Farn."]

    def removes(body: Body) -> dict[str, Any]:
        return calls("RemoveDoc", {"json_doc_id": shown_id(body)})(body)

    model.spoil, model.times = removes, 1
    assert tell(system, "Ada Morn was born nowhere.").faults == 0
    assert system.memories() == [FACTS[3]]


NOT_TOOL_CALLS = {
    "plain text": says("I will remember that."),
    "empty": says(""),
    "nothing": says(None),
    "the call as text": says('{"name": "Memory", "arguments": {"content": "x"}}'),
    "fenced": says('```json\n{"content": "x"}\n```'),
    "arguments cut off": calls("Memory", '{"content": "unterm'),
    "unknown id": patches("/content", key="nobody"),
    "unknown path": patches("/x/y"),
}


@pytest.mark.parametrize("spoil", NOT_TOOL_CALLS.values(), ids=NOT_TOOL_CALLS)
def test_a_reply_that_changes_nothing_is_a_dropped_write(
    make: Callable[..., LangMemSystem],
    model: Model,
    capfd: pytest.CaptureFixture[str],
    spoil: Spoil,
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil, model.times = spoil, 1
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.parse_failures, usage.llm_errors) == (1, 1, 0)
    assert (usage.failures, usage.dropped_writes) == (0, 1)
    assert system.memories() == list(FACTS[:2])
    assert capfd.readouterr() == ("", "")
    assert tell(system, FACTS[3]).faults == 0
    assert system.recall(FACTS[3], 1) == [FACTS[3]]


REPAIRABLE = {
    "wrong field": calls("Memory", {"text": FACTS[2]}),
    "wrong type": calls("Memory", {"content": 3}),
    "unknown tool": calls("Save", {"content": FACTS[2]}),
}


@pytest.mark.parametrize("spoil", REPAIRABLE.values(), ids=REPAIRABLE)
def test_bad_arguments_are_counted_though_they_are_repaired(
    make: Callable[..., LangMemSystem], model: Model, spoil: Spoil
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil, model.times = spoil, 1
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.parse_failures, usage.failures) == (2, 1, 0)
    assert usage.dropped_writes == 0
    assert system.memories() == list(FACTS[:3])


@pytest.mark.parametrize("spoil", REPAIRABLE.values(), ids=REPAIRABLE)
def test_bad_arguments_are_given_up_after_two_repairs(
    make: Callable[..., LangMemSystem], model: Model, spoil: Spoil
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil, model.times = spoil, 99
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.parse_failures, usage.failures) == (3, 3, 0)
    assert usage.dropped_writes == 1
    model.times = 0
    assert tell(system, FACTS[3]).faults == 0
    assert system.memories() == [*FACTS[:2], FACTS[3]]


def test_arguments_that_are_no_object_are_asked_for_again(
    make: Callable[..., LangMemSystem], model: Model
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil, model.times = calls("Memory", "[1]"), 1
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.parse_failures, usage.dropped_writes) == (2, 1, 0)
    assert system.memories() == list(FACTS[:3])


def test_removing_what_is_not_there_is_counted(
    make: Callable[..., LangMemSystem], model: Model
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil, model.times = calls("RemoveDoc", {"json_doc_id": "nobody"}), 1
    usage = tell(system, FACTS[2])
    assert usage.parse_failures >= 1
    assert usage.dropped_writes == 1
    assert system.memories() == list(FACTS[:2])


def test_one_bad_call_of_two_costs_only_itself(
    make: Callable[..., LangMemSystem], model: Model
) -> None:
    system = make()
    tell(system, *FACTS[:2])

    def both(body: Body) -> dict[str, Any]:
        good, bad = calls("Memory", {"content": FACTS[2]}), patches("/content", key="nobody")
        message = good(body)
        call = bad(body)["tool_calls"][0]
        return {**message, "tool_calls": [*message["tool_calls"], {**call, "id": "call_2"}]}

    model.spoil, model.times = both, 1
    usage = tell(system, FACTS[2])
    assert (usage.parse_failures, usage.dropped_writes) == (1, 0)
    assert system.memories() == list(FACTS[:3])


def test_a_failed_call_is_counted(make: Callable[..., LangMemSystem], model: Model) -> None:
    system = make()
    model.spoil, model.times = fails, 1
    usage = tell(system, FACTS[0])
    assert (usage.llm_calls, usage.llm_errors, usage.failures) == (1, 1, 1)
    assert usage.dropped_writes == 1
    tell(system, *FACTS[:2])
    model.times = 1
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.llm_errors, usage.failures) == (2, 1, 0), "asked again"
    assert usage.dropped_writes == 0
    assert system.memories() == list(FACTS[:3])


def test_a_server_that_stays_away_is_not_asked_for_ever(
    make: Callable[..., LangMemSystem], model: Model
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil, model.times = fails, 10_000
    usage = tell(system, FACTS[2])
    assert usage.llm_calls == usage.llm_errors <= MAX_STEPS
    assert (usage.failures, usage.dropped_writes) == (1, 1)
    model.times = 0
    assert tell(system, FACTS[3]).faults == 0
    assert system.memories() == [*FACTS[:2], FACTS[3]]


def test_a_write_that_the_store_refuses_is_a_failure(
    make: Callable[..., LangMemSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make()
    tell(system, FACTS[0])
    insert = type(system._store)._insertinmem_store

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the store is full")

    with monkeypatch.context() as patch:
        patch.setattr(type(system._store), "_insertinmem_store", refuse)
        usage = tell(system, FACTS[1])
    assert type(system._store)._insertinmem_store is insert
    assert (usage.failures, usage.dropped_writes) == (1, 1)
    assert tell(system, FACTS[2]).faults == 0
    assert system.memories() == [FACTS[0], FACTS[2]]


def test_eight_threads_do_not_mix(make: Callable[..., LangMemSystem]) -> None:
    def episode(number: int) -> list[str]:
        system = make()
        for _ in range(2):
            system.reset()
            usage = tell(system, *(f"Fact {n} of episode e{number}x." for n in range(6)))
            assert usage.faults == 0
            assert usage.llm_calls == 6, "each counts its own calls"
        return [*system.memories(), *system.recall("episode fact", 6)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(episode, range(8)))
    for number, texts in enumerate(found):
        assert len(texts) == 12
        assert all(f"e{number}x" in text for text in texts)


def test_it_writes_no_file_and_needs_no_proxy(
    make: Callable[..., LangMemSystem], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OPENAI_PROXY"):
        monkeypatch.setenv(name, "http://203.0.113.1:9")
    system = make()
    assert tell(system, *FACTS).faults == 0
    assert system.recall(FACTS[0], 1) == [FACTS[0]]
    assert os.listdir(tmp_path) == []


def test_it_sends_no_trace_though_the_environment_asks_for_it(
    make: Callable[..., LangMemSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make()
    langsmith = pytest.importorskip("langsmith")
    traced: list[Any] = []
    for name in ("create_run", "update_run"):
        monkeypatch.setattr(langsmith.Client, name, lambda *run, **_: traced.append(run))
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")  # after they were turned off
    monkeypatch.setenv("LANGSMITH_API_KEY", "secret")
    langsmith.utils.get_env_var.cache_clear()
    try:
        assert langsmith.utils.tracing_is_enabled()
        assert tell(system, *FACTS).faults == 0
        system.recall(FACTS[0])
    finally:
        langsmith.utils.get_env_var.cache_clear()
    assert traced == []


def test_a_foreign_prompt_is_not_answered() -> None:
    assert answer({"messages": [{"role": "user", "content": "Tell me a story."}]}) is None
    assert answer({"messages": []}) is None
    assert answer({}) is None


@pytest.mark.slow
def test_gold_facts_are_recalled_as_well_as_by_similarity(
    make: Callable[..., LangMemSystem],
) -> None:
    """Ten episodes of SyntheticQA; plain similarity is the reference for recall@5."""
    task, system, plain = SyntheticQATask("validation"), make("minilm"), RAG("minilm")
    shares: dict[str, list[float]] = {"system": [], "plain": []}
    for number, task_id in enumerate(task.task_ids(10, 0)):
        spec = task.reset(task_id, np.random.default_rng(number))
        told = [*(fact.text for fact in spec.knowledge), *spec.distractors]
        system.reset()
        plain.reset()
        assert tell(system, *told).faults == 0
        assert system.memories() == told
        for text in told:
            plain.observe(text)
        answers = {"system": system.recall(spec.query), "plain": plain.recall(spec.query)}
        for name, recalled in answers.items():
            gold = [fact.text for fact in spec.knowledge if fact.needed]
            found = [any(text in entry for entry in recalled) for text in gold]
            shares[name].append(sum(found) / len(gold))
    assert np.mean(shares["system"]) >= np.mean(shares["plain"]) > 0.5
