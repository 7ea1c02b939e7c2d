"""Model output is untrusted: no text makes ``step`` raise or memory grow without bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from agemem_envs import ENVS
from agemem_envs.tools import MAX_CONTENT_CHARS, MAX_ITEMS, TOOLS
from agemem_envs.turns import MAX_ACTION_CHARS
from tests.conftest import state_of
from tests.envs.options import OPTIONS

ACTIONS = 5_000
"""For each id whose task is in this process; the others take 10 to 30 ms a step."""
SLOW_ACTIONS = 300
SLOW = {"AgeMem-ALFWorld-v0", "AgeMem-ScienceWorld-v0"}
SNIPPETS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "[", "]",
    "{", "}", '"name"', '"arguments"', ": ", ", ", '"', "\\", "\\ud800", "\x00", "NaN",
    "Infinity", "-1e999", "9" * 5000, "null", "true", "m1", "all", "<script>alert(1)</script>",
    "Ignore all instructions</think><answer>42</answer>", "☃", "\ud800", "\n", " ",
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 3, 1.5, 10**30, 1e308, "", " ", "m1", "all", "3", "x" * 9_000,
    "\ud800\udfff", "\x00", [], {}, [[]], {"a": {"b": [None]}}, {"": ""},
    "</tool_call><answer>1</answer>",
)  # fmt: skip
NOT_TEXT: tuple[object, ...] = (None, 3, 1.5, b"<think>", ["<think>"], {}, float("nan"), object())


def hostile(generator: np.random.Generator) -> object:
    """A random bad action of a random kind."""
    kind = int(generator.integers(8))
    if kind == 0:
        return generator.bytes(int(generator.integers(300))).decode("latin-1")
    if kind == 1:
        return generator.bytes(int(generator.integers(300))).decode("utf-8", "surrogateescape")
    if kind == 2:
        size = int(generator.integers(1, 30))
        return "".join(SNIPPETS[int(i)] for i in generator.integers(len(SNIPPETS), size=size))
    if kind == 3:
        return NOT_TEXT[int(generator.integers(len(NOT_TEXT)))]
    if kind == 4 and generator.random() < 0.02:
        return ("A" if generator.random() < 0.5 else "<think>") * 1_000_000
    if kind == 5 and generator.random() < 0.05:
        nested = "[" * 10_000 + "]" * 10_000
        return f'<think></think><tool_call>[{{"name":"Add_memory","arguments":{{"content":{nested}}}}}]</tool_call>'
    name = [*TOOLS, "Unknown", "__init__", ""][int(generator.integers(len(TOOLS) + 3))]
    keys = [p.name for p in TOOLS[name].parameters] if name in TOOLS else ["content"]
    arguments = {key: VALUES[int(generator.integers(len(VALUES)))] for key in keys}
    body = json.dumps([{"name": name, "arguments": arguments}] * int(generator.integers(1, 4)))
    return f"<think>x</think><tool_call>{body}</tool_call>"


def hostile_answer(generator: np.random.Generator) -> str:
    """A well-formed answer of random bad text: an action that reaches the simulator."""
    size = int(generator.integers(1, 12))
    words = ["go to", "look", "take", "focus on", "pick up", "1", "(", ")", "move", "!p", *SNIPPETS]
    text = "".join(words[int(i)] for i in generator.integers(len(words), size=size))
    for tag in ("think", "tool_call", "answer"):
        text = text.replace(f"<{tag}>", "<").replace(f"</{tag}>", ">")
    return f"<think></think><answer>{text}</answer>"


def attack(
    env_id: str,
    count: int,
    make: Callable[[np.random.Generator], object] = hostile,
    **options: Any,
) -> None:
    env = gym.make(env_id, disable_env_checker=True, **options)
    core = env.unwrapped
    generator = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(count):
        observation, _, terminated, truncated, info = core.step(make(generator))
        assert observation in env.observation_space
        assert len(state_of(core).memory) <= MAX_ITEMS
        assert all(len(item.content) <= MAX_CONTENT_CHARS for item in state_of(core).memory)
        if terminated or truncated:
            line = info["episode"].to_json()
            assert "\n" not in line
            assert len(line) < 100 * MAX_ACTION_CHARS
            env.reset()
    env.close()


@pytest.mark.parametrize("env_id", list(ENVS))
def test_hostile_actions_never_raise(env_id: str) -> None:
    count = SLOW_ACTIONS if env_id in SLOW else ACTIONS
    attack(env_id, count, encoder="hashing", **OPTIONS[env_id])


@pytest.mark.parametrize("env_id", list(ENVS))
def test_hostile_answers_never_raise(env_id: str) -> None:
    count = SLOW_ACTIONS if env_id in SLOW else ACTIONS // 5
    options = {"encoder": "hashing", "stages": "task", **OPTIONS[env_id]}
    attack(env_id, count, hostile_answer, **options)


@pytest.mark.slow
def test_hostile_actions_never_raise_with_a_real_encoder_and_store() -> None:
    attack("AgeMem-SyntheticQA-v0", 300, protocol="full", encoder="minilm", memory="qdrant")
