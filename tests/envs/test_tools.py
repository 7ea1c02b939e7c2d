"""The six tools through the environment: effects, aliases, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs.env import MemoryEnv
from agemem_envs.episode import ToolCall, ToolResult
from agemem_envs.errors import UnknownNameError
from agemem_envs.spaces import sample_action
from agemem_envs.tools import (
    MAX_CONTENT_CHARS,
    TOOL_SETS,
    TOOLS,
    Parameter,
    Tool,
    add_memory,
    choose_tools,
)
from agemem_envs.turns import Turn, parse
from tests.conftest import core, state_of


@pytest.fixture
def env() -> Iterator[MemoryEnv]:
    made = gym.make("AgeMem-SyntheticQA-v0", protocol="full", rounds_per_message=50)
    made.reset(seed=0)
    yield core(made)
    made.close()


def results(env: gym.Env[Any, Any]) -> tuple[ToolResult, ...]:
    return state_of(env).steps[-1].results


def test_add_update_delete_retrieve(env: MemoryEnv, call: Callable[..., str]) -> None:
    env.step(call("Add_memory", content="the river tasp", metadata={"k": 1}, memory_type="fact"))
    assert results(env)[0].data == {"memory_id": "m1", "content": "the river tasp"}
    env.step(call("Update_memory", memory_id="m1", content="the river gorn"))
    assert results(env)[0].data["before"] == "the river tasp"
    observation = env.step(call("Retrieve_memory", query="river", top_k=5))[0]
    assert "[m1]" in observation
    assert results(env)[0].data["items"][0]["content"] == "the river gorn"
    env.step(call("Retrieve_memory", query="river", metadata_filter={"k": 2}))
    assert results(env)[0].text == "no memories found"
    env.step(call("Delete_memory", memory_id="m1", confirmation=False))
    assert not results(env)[0].ok
    env.step(call("Delete_memory", memory_id="m1", confirmed=True))
    assert results(env)[0].data == {"memory_id": "m1", "before": "the river gorn"}
    assert len(state_of(env).memory) == 0


def test_several_calls_in_one_turn_are_carried_out_in_order(env: MemoryEnv) -> None:
    text = (
        '<think></think><tool_call>[{"name": "Add_memory", "arguments": {"content": "one"}}, '
        '{"name": "Nonsense", "arguments": {}}, '
        '{"name": "Delete_memory", "arguments": {"memory_id": "m1", "confirmation": true}}]</tool_call>'
    )
    env.step(text)
    assert [result.ok for result in results(env)] == [True, False, True]


@pytest.mark.parametrize("span", ["all", "full", "ALL", "1", 1, 2.0, "7"])
def test_spans_that_are_understood(
    env: MemoryEnv, call: Callable[..., str], span: str | float
) -> None:
    env.step(call("Summary_context", span=span))
    assert results(env)[0].ok


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("Add_memory", {}, "missing argument 'content'"),
        ("Add_memory", {"content": ""}, "empty"),
        ("Add_memory", {"content": ["a"]}, "type string"),
        ("Add_memory", {"content": "x" * (MAX_CONTENT_CHARS + 1)}, "limit"),
        ("Add_memory", {"content": "a", "metadata": "b"}, "type object"),
        ("Add_memory", {"content": "a", "metadata": {"k": "x" * 3000}}, "limit"),
        ("Add_memory", {"content": "a", "colour": "b"}, "unknown argument 'colour'"),
        ("Update_memory", {"memory_id": "m7", "content": "a"}, "no memory has the id 'm7'"),
        ("Delete_memory", {"memory_id": "m1", "confirmation": "true"}, "type boolean"),
        ("Retrieve_memory", {"query": "a", "top_k": 0}, "between"),
        ("Retrieve_memory", {"query": "a", "top_k": 10**30}, "between"),
        ("Retrieve_memory", {"query": "a", "top_k": True}, "type integer"),
        ("Summary_context", {"span": "0"}, "positive"),
        ("Summary_context", {"span": "some"}, "positive"),
        ("Filter_context", {"criteria": " "}, "empty"),
        ("add_memory", {"content": "a"}, "Did you mean 'Add_memory'"),
    ],
)
def test_refusals_tell_the_model_why(
    env: MemoryEnv, call: Callable[..., str], name: str, arguments: dict[str, Any], complaint: str
) -> None:
    observation = env.step(call(name, **arguments))[0]
    assert not results(env)[0].ok
    assert complaint in results(env)[0].text
    assert complaint in observation


def test_tool_sets(answer: Callable[[str], str], call: Callable[..., str]) -> None:
    assert [len(choose_tools(name)) for name in ("all", "ltm", "stm", "none")] == [6, 4, 2, 0]
    assert list(choose_tools(["Filter_context", "Add_memory"])) == ["Add_memory", "Filter_context"]
    unknown: tuple[str | list[str], ...] = ("every", ["Add"])
    for bad in unknown:
        with pytest.raises(UnknownNameError):
            choose_tools(bad)
    env = gym.make("AgeMem-SyntheticQA-v0", protocol="full", tools="none")
    _, info = env.reset(seed=0)
    assert info["tools"] == []
    assert "tool" not in info["messages"][0]["content"].replace("memory tools", "")
    env.step(call("Add_memory", content="x"))
    assert not results(env)[0].ok


@pytest.mark.parametrize("name", TOOLS)
def test_the_examples_of_a_tool_are_valid_arguments(name: str) -> None:
    tool = TOOLS[name]
    assert tool.validate(tool.example) == tool.example


def test_a_new_tool_is_sampled_from_its_own_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Parameter("text", "string", "What to note.", "the river")
    label = Parameter("label", "string", "A label.", required=False)
    monkeypatch.setitem(TOOLS, "Note", Tool("Note", "Note.", (text, label), add_memory, "ltm"))
    actions = [sample_action(np.random.default_rng(seed), ["Note"]) for seed in range(20)]
    calls = [turn.calls for turn in map(parse, actions) if isinstance(turn, Turn) and turn.calls]
    assert calls
    assert all(call == (ToolCall("Note", {"text": "the river"}),) for call in calls)
    with pytest.raises(ValueError, match="'text' has no example"):
        Parameter("text", "string", "What to note.")


def test_schemas_are_json_schemas_of_the_parameters() -> None:
    assert list(TOOLS) == list(TOOL_SETS["all"])
    for tool in TOOLS.values():
        schema = tool.schema["parameters"]
        assert set(schema["required"]) <= set(schema["properties"])
