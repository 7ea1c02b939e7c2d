"""A-Mem's fork: the real library on a scripted model, and what faults of the model cost."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from agemem.baselines.a_mem import AMemSystem
from agemem.baselines.base import MemoryAgent, Usage
from agemem.baselines.gateway import Body, Gateway
from agemem.baselines.rag import RAG
from agemem.baselines.scripted.a_mem import answer
from agemem_envs.errors import EndpointError
from agemem_envs.tasks.qa.synthetic_qa import SyntheticQATask

if importlib.util.find_spec("agentic_memory") is None:  # importing it here would be too early
    pytest.skip("needs a-mem", allow_module_level=True)

FACTS = (
    "Ada Morn was born in Zork in 1833.",
    "Ada Morn was a pupil of Brom Teld.",
    "The river Yialis flows through Zork.",
    "Brom Teld lives in Farn and keeps 3 bees.",
)
HOSTILE = (
    'He said "it\'s {\'a\': [1]}" and ```{"keywords": []}```',
    "one\ntwo\n\n\tthree {0} %s \\n {context} {nearest_neighbors_memories}",
    "memory_id:1\ttalk start time:2\tmemory content: x\tmemory context: y",
    "Content for analysis: The nearest neighbors memories keywords: " + "long " * 400,
    "Ünïcødé ✓ \u2028 next \x85 Zürich Łódź",
    '{"a": [1, 2]}',
    "007",
    "?",
)
Spoil = Callable[[dict[str, Any]], dict[str, Any]]
"""From the ideal reply's content, as data, to the message that comes instead; or raises."""


class Model:
    """The ideal model, until it is told to spoil its replies to one kind of prompt."""

    def __init__(self) -> None:
        self.spoil: dict[str, Spoil] = {}
        self.requests: list[Body] = []

    def __call__(self, body: Body) -> Body:
        self.requests.append(body)
        message = answer(body)
        assert message is not None, body["messages"]
        spoil = self.spoil.get(prompt_of(body))
        if spoil:
            message = spoil(json.loads(message["content"]))
        prompt, completion = (len(json.dumps(part)) // 4 for part in (body, message))
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": prompt, "completion_tokens": completion}
        return {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "model",
            "choices": [choice],
            "usage": {**usage, "total_tokens": prompt + completion},
        }


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


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def make(model: Model) -> Iterator[Callable[..., AMemSystem]]:
    """Systems on one gateway, with the light encoder unless said; closed at the end."""
    gateway = Gateway(model)
    made: list[AMemSystem] = []

    def make(encoder: str = "hashing") -> AMemSystem:
        made.append(AMemSystem(gateway, encoder))
        return made[-1]

    yield make
    for system in made:
        system.close()
        system.close()
    gateway.close()


def tell(system: AMemSystem, *texts: str) -> Usage:
    """Store texts as the agent does; the usage of it."""
    agent = MemoryAgent(system)
    system.usage = Usage()
    for text in texts:
        agent.observe(text)
    return system.usage


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


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_stored_as_it_is(make: Callable[..., AMemSystem], text: str) -> None:
    system = make()
    usage = tell(system, FACTS[0], text, FACTS[1], text)
    assert system.memories() == [FACTS[0], text, FACTS[1], text]
    assert usage.faults == 0
    assert text in "\n".join(system.recall(text, 5))


@pytest.mark.parametrize("text", ["", "  \n ", "a lone \ud800 surrogate", "nul \x00 inside"])
def test_no_text_harms_it(make: Callable[..., AMemSystem], text: str) -> None:
    system = make()
    tell(system, text, FACTS[0], text)
    system.recall(text)
    assert FACTS[0] in system.memories()
    assert FACTS[0] in "\n".join(system.recall(FACTS[0]))


def test_two_at_once_share_nothing_and_reset_drops_all(make: Callable[..., AMemSystem]) -> None:
    one, other = make(), make()
    tell(one, "The canary of one sings.", *FACTS)
    tell(other, "The parrot of the other talks.")
    assert "canary" not in "".join(other.recall("canary sings") + other.memories())
    assert "parrot" not in "".join(one.recall("parrot talks") + one.memories())
    one.reset()
    assert one.memories() == one.recall("canary") == []
    tell(one, "Something new.")
    assert one.memories() == ["Something new."]
    assert len(one.recall("canary")) == 1
    assert other.memories() == ["The parrot of the other talks."]


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


def test_eight_threads_do_not_mix(make: Callable[..., AMemSystem]) -> None:
    def episode(number: int) -> list[str]:
        system = make()
        for _ in range(2):
            system.reset()
            usage = tell(system, *(f"Fact {n} of episode e{number}x." for n in range(6)))
            assert usage.faults == 0
            assert usage.llm_calls == 11, "each counts its own calls"
        return [*system.memories(), *system.recall("episode fact", 6)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(episode, range(8)))
    for number, texts in enumerate(found):
        assert len(texts) == 12
        assert all(f"e{number}x" in text for text in texts)
        assert not any(f"e{n}x" in text for n in range(8) if n != number for text in texts)


def test_it_writes_no_file_and_needs_no_proxy(
    make: Callable[..., AMemSystem], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://203.0.113.1:9")
    system = make()
    assert tell(system, *FACTS).faults == 0
    system.close()
    assert os.listdir(tmp_path) == []


def test_a_foreign_prompt_is_not_answered() -> None:
    assert answer({"messages": [{"role": "user", "content": "Tell me a story."}]}) is None
    assert answer({"messages": []}) is None
    assert answer({}) is None


@pytest.mark.slow
def test_gold_facts_are_recalled_as_well_as_by_similarity(
    make: Callable[..., AMemSystem],
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
