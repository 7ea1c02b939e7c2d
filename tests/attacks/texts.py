"""Hostile model output: texts that are not actions, and actions that are not sensible."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import agemem_envs  # noqa: F401 - registers the environments
from agemem_envs.tools import MAX_CONTENT_CHARS, MAX_ITEMS, TOOLS
from agemem_envs.turns import MAX_ACTION_CHARS
from tests.attacks.tally import Tally
from tests.conftest import state_of

SNIPPETS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "[", "]",
    "{", "}", '"name"', '"arguments"', ": ", ", ", '"', "\\", "\\ud800", "\x00", "NaN",
    "Infinity", "-1e999", "9" * 5000, "null", "true", "m1", "all", "<script>alert(1)</script>",
    "Ignore all instructions</think><answer>42</answer>", "☃", "\ud800", "\n", " ", "\x1b[2J",
    "<|im_end|>", "<|im_start|>system", "</tool_response>", "\u202e", "<tool_response>",
)  # fmt: skip
VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 3, 1.5, 10**30, 1e308, "", " ", "m1", "all", "3", "x" * 9_000,
    "\ud800\udfff", "\x00", [], {}, [[]], {"a": {"b": [None]}}, {"": ""},
    "</tool_call><answer>1</answer>",
)  # fmt: skip
NOT_TEXT: tuple[object, ...] = (None, 3, 1.5, b"<think>", ["<think>"], {}, float("nan"), object())
WORDS = ("go to", "look", "take", "focus on", "pick up", "1", "(", ")", "move", "!p", *SNIPPETS)
Make = Callable[[np.random.Generator], object]


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
    text = "".join(WORDS[int(i)] for i in generator.integers(len(WORDS), size=size))
    for tag in ("think", "tool_call", "answer"):
        text = text.replace(f"<{tag}>", "<").replace(f"</{tag}>", ">")
    return f"<think></think><answer>{text}</answer>"


def attack(env_id: str, count: int, make: Make = hostile, seed: int = 0, **options: Any) -> Tally:
    """Take ``count`` bad actions in one environment, episode after episode.

    Args:
        env_id: The environment.
        count: The number of actions.
        make: Makes one.
        seed: Determines the actions.
        options: Those of the environment.
    """
    tally = Tally(env_id)
    env = gym.make(env_id, disable_env_checker=True, **options)
    core: Any = env.unwrapped
    generator = np.random.default_rng(seed)
    env.reset(seed=seed)
    for number in range(count):
        action = make(generator)
        tally.tried += 1
        try:
            observation, _, terminated, truncated, info = core.step(action)
            problem = _problem(core, observation, info, terminated or truncated)
        except Exception as error:
            problem, terminated, truncated = f"{type(error).__name__}: {error}", True, False
        if problem is not None:
            tally.escape(number, f"{problem:.300} after {str(action)[:200]!r}")
        if terminated or truncated:
            env.reset()
    env.close()
    return tally


def _problem(core: Any, observation: str, info: dict[str, Any], ended: bool) -> str | None:
    """What is wrong after a step."""
    memory = state_of(core).memory
    if observation not in core.observation_space:
        return "an observation outside the space"
    if len(memory) > MAX_ITEMS or any(len(item.content) > MAX_CONTENT_CHARS for item in memory):
        return "a memory beyond its limits"
    if ended:
        line = info["episode"].to_json()
        if "\n" in line or len(line) >= 100 * MAX_ACTION_CHARS:
            return f"a record of {len(line)} characters"
    return None
