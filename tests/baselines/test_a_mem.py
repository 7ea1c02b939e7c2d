"""A-Mem's fork: the real library on a scripted model, and what faults of the model cost."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from typing import Any

import pytest

from agemem.baselines.a_mem import AMemSystem
from agemem.baselines.scripted.a_mem import answer
from agemem.baselines.scripted.model import reply
from agemem_envs.errors import EndpointError
from agemem_envs.util.http_errors import Body
from tests.baselines.facts import RELATED as FACTS
from tests.baselines.facts import tell

if importlib.util.find_spec("agentic_memory") is None:  # importing it here would be too early
    pytest.skip("needs a-mem", allow_module_level=True)

Spoil = Callable[[dict[str, Any]], dict[str, Any]]
"""From the ideal reply's content, as data, to the message that comes instead; or raises."""


class Model:
    """The ideal model, until it is told to spoil its replies to one kind of prompt."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.spoil: dict[str, Spoil] = {}
        self.requests: list[Body] = []

    def __call__(self, body: Body) -> Body:
        self.requests.append(body)
        message = answer(body)
        assert message is not None, body["messages"]
        spoil = self.spoil.get(prompt_of(body))
        if spoil:
            message = spoil(json.loads(message["content"]))
        return reply(body, message)


def prompt_of(body: Body) -> str:
    """Which of the library's prompts a request carries."""
    schema = body["response_format"]["json_schema"]["schema"]
    return "evolution" if "should_evolve" in schema["properties"] else "analysis"


def says(content: str | None) -> Spoil:
    return lambda _: {"role": "assistant", "content": content}


def changed(**fields: Any) -> Spoil:
    return lambda ideal: {"role": "assistant", "content": json.dumps({**ideal, **fields})}


def fenced(ideal: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": f"```json\n{json.dumps(ideal)}\n```"}


def cut_off(ideal: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": json.dumps(ideal)[:25]}


def fails(_: dict[str, Any]) -> dict[str, Any]:
    raise EndpointError("the server is away")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture
def make(build: Callable[..., AMemSystem]) -> Callable[..., AMemSystem]:
    return functools.partial(build, "a-mem-fork")


def test_what_is_told_is_recalled_and_paid_for(make: Callable[..., AMemSystem]) -> None:
    system = make()
    usage = tell(system, *FACTS)
    assert system.memories() == list(FACTS)
    assert usage.llm_calls == 2 * len(FACTS) - 1
    assert usage.prompt_tokens > usage.completion_tokens > 0
    assert usage.faults == usage.dropped_writes == 0
    for fact in FACTS:
        assert fact in system.recall(fact, 1)[0]
    assert len(system.recall("anything", 3)) == 3
    assert usage.llm_calls == 2 * len(FACTS) - 1, "recall calls no model"


def test_the_report_names_it_as_a_fork() -> None:
    assert AMemSystem.name == "a-mem-fork"
    assert AMemSystem.uses_llm


def test_a_linked_note_follows_the_note_that_links_to_it(
    make: Callable[..., AMemSystem],
) -> None:
    system = make()
    tell(system, FACTS[0], "Nothing else is near.", "More of the same here.", FACTS[1])
    first, second = system.recall("a pupil of Brom Teld was", 2)
    assert FACTS[1] in first
    assert FACTS[0] in second, "both name Ada Morn"


def test_neighbours_are_revised(make: Callable[..., AMemSystem], model: Model) -> None:
    system = make()
    tell(system, FACTS[0])
    model.spoil["evolution"] = changed(
        should_evolve=True,
        actions=["update_neighbor"],
        new_context_neighborhood=["The life of a sculptor."],
        new_tags_neighborhood=[["sculpture"]],
    )
    usage = tell(system, FACTS[1])
    assert usage.faults == 0
    assert "sculptor" in "".join(system.recall(FACTS[0], 2))
    assert system.memories() == [FACTS[0], FACTS[1]], "order and texts stay"


def test_the_same_episode_gives_the_same_prompts_and_memories(
    make: Callable[..., AMemSystem], model: Model
) -> None:
    seen = []
    for system in (make(), make()):
        model.requests.clear()
        tell(system, *FACTS)
        seen.append((list(model.requests), system.recall("Who taught Ada Morn?")))
    assert seen[0] == seen[1]


UNREADABLE = {
    "not JSON": says("I see."),
    "fenced": fenced,
    "cut off": cut_off,
    "empty": says(""),
    "nothing": says(None),
    "a list": says("[1]"),
    "no field": says("{}"),
    "wrong types of an analysis": changed(keywords="a", context=None, tags=[1]),
}


@pytest.mark.parametrize("prompt", ["analysis", "evolution"])
@pytest.mark.parametrize("spoil", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_reply_is_counted_and_costs_no_text(
    make: Callable[..., AMemSystem],
    model: Model,
    capfd: pytest.CaptureFixture[str],
    spoil: Spoil,
    prompt: str,
) -> None:
    if prompt == "evolution" and spoil is UNREADABLE["wrong types of an analysis"]:
        spoil = changed(should_evolve=True, actions=["strengthen"], suggested_connections=[{}])
    system = make()
    tell(system, *FACTS[:2])
    model.spoil[prompt] = spoil
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.parse_failures, usage.llm_errors) == (2, 1, 0)
    assert (usage.failures, usage.dropped_writes) == (0, 0)
    assert capfd.readouterr() == ("", ""), "the library prints its errors"
    model.spoil.clear()
    assert tell(system, FACTS[3]).faults == 0
    assert system.memories() == list(FACTS)
    assert FACTS[2] in system.recall(FACTS[2], 1)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"actions": ["strengthen"], "suggested_connections": ["nobody"]},
        {"actions": ["update_neighbor"], "new_tags_neighborhood": [["one"]]},
        {"actions": ["dance"]},
    ],
    ids=["unknown id", "wrong length", "unknown action"],
)
def test_a_decision_that_is_partly_passed_over_is_counted(
    make: Callable[..., AMemSystem], model: Model, fields: dict[str, Any]
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil["evolution"] = changed(should_evolve=True, **fields)
    usage = tell(system, FACTS[2])
    assert (usage.parse_failures, usage.failures, usage.dropped_writes) == (1, 0, 0)
    model.spoil.clear()
    assert tell(system, FACTS[3]).faults == 0
    assert len(system.recall(FACTS[2], 4)) == 4


@pytest.mark.parametrize("prompt", ["analysis", "evolution"])
def test_a_server_error_is_counted_and_costs_no_text(
    make: Callable[..., AMemSystem], model: Model, prompt: str
) -> None:
    system = make()
    tell(system, *FACTS[:2])
    model.spoil[prompt] = fails
    usage = tell(system, FACTS[2])
    assert (usage.llm_calls, usage.llm_errors, usage.parse_failures) == (2, 1, 0)
    assert (usage.failures, usage.dropped_writes) == (0, 0)
    model.spoil.clear()
    assert tell(system, FACTS[3]).faults == 0
    assert system.memories() == list(FACTS)


def test_a_note_that_the_store_refuses_is_a_dropped_write(
    make: Callable[..., AMemSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make()
    tell(system, FACTS[0])

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the store is full")

    with monkeypatch.context() as patch:
        patch.setattr(system._retriever.collection, "add", refuse)
        usage = tell(system, FACTS[1])
    assert (usage.failures, usage.dropped_writes) == (1, 1)
    assert tell(system, FACTS[2]).faults == 0
    assert system.memories() == [FACTS[0], FACTS[2]]
