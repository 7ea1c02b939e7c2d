"""LangMem: the real library on a scripted model, and what faults of the model cost."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from agemem.baselines.langmem import MAX_STEPS, LangMemSystem
from agemem.baselines.rag import RAG
from agemem.baselines.scripted.langmem import answer
from agemem.baselines.scripted.model import reply
from agemem_envs.errors import EndpointError
from agemem_envs.util.http_errors import Body
from tests.baselines.facts import RELATED as FACTS
from tests.baselines.facts import tell

if importlib.util.find_spec("langmem") is None:  # importing it here would be too early
    pytest.skip("needs langmem", allow_module_level=True)

Spoil = Callable[[Body], dict[str, Any]]
"""From a request to the message that comes instead of the ideal one; or raises."""


class Model:
    """The ideal model, until it is told to spoil its next replies."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spoil: Spoil | None = None
        self.times = 0

    def __call__(self, body: Body) -> Body:
        message = answer(body)
        assert message is not None, body["messages"]
        if self.spoil and self.times:
            self.times -= 1
            message = self.spoil(body)
        return reply(body, message)


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


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def make(build: Callable[..., LangMemSystem]) -> Callable[..., LangMemSystem]:
    return functools.partial(build, "langmem")


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


def test_it_is_built_by_one_thread_at_a_time(
    make: Callable[..., LangMemSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = [make() for _ in range(4)]
    langmem = pytest.importorskip("langmem")
    build, alone, overlaps = langmem.create_memory_store_manager, threading.Lock(), []

    def slow(*arguments: Any, **options: Any) -> Any:
        if not alone.acquire(blocking=False):
            overlaps.append(threading.current_thread().name)
            return build(*arguments, **options)
        try:
            time.sleep(0.01)
            return build(*arguments, **options)
        finally:
            alone.release()

    monkeypatch.setattr(langmem, "create_memory_store_manager", slow)
    with ThreadPoolExecutor(len(systems)) as pool:
        list(pool.map(LangMemSystem.reset, systems))
    assert overlaps == []


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
