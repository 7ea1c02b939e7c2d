"""The output protocol: parses text to :class:`Turn` or :class:`Malformed`, and renders it.

A well-formed output is ``<think>...</think>`` followed by exactly one of
``<tool_call>[{"name": ..., "arguments": {...}}, ...]</tool_call>`` and
``<answer>...</answer>``, with nothing but white space around (AgeMem, appendix).

The text is untrusted. Tags inside JSON strings are data: the array is read by a JSON
decoder, not searched for its closing tag. An answer or a thought that contains a tag of
the protocol is ambiguous, hence malformed.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from agemem_envs.episode import ToolCall

MAX_ACTION_CHARS = 32_768
"""Longest action that is parsed; the paper's 2,048 response tokens are about 8,000."""
MAX_CALLS = 8
"""Most tool calls in one output."""
MAX_JSON_DEPTH = 16
"""Deepest nesting of tool arguments."""

_TAG = re.compile(r"</?(?:think|tool_call|answer)>")


@dataclass(frozen=True, slots=True)
class Turn:
    """A well-formed output: a thought, then either tool calls or an answer."""

    thought: str
    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """An output outside the protocol; ``reason`` is written for the model to read."""

    reason: str


def parse(text: object) -> Turn | Malformed:
    """Parse a model's output. Never raises.

    Args:
        text: Any object; anything but a ``str`` is malformed.
    """
    if not isinstance(text, str):
        return Malformed(f"the action must be text, not {type(text).__name__}")
    if len(text) > MAX_ACTION_CHARS:
        return Malformed(f"the output has {len(text)} characters, the limit is {MAX_ACTION_CHARS}")
    body = text.strip()
    if not body.startswith("<think>"):
        return Malformed("the output must begin with <think>")
    thought, closed, rest = body[len("<think>") :].partition("</think>")
    if not closed:
        return Malformed("<think> is not closed by </think>")
    if _TAG.search(thought):
        return Malformed("the thought contains a tag of the protocol")
    rest = rest.strip()
    if rest.startswith("<answer>"):
        return _parse_answer(thought.strip(), rest)
    if rest.startswith("<tool_call>"):
        return _parse_calls(thought.strip(), rest[len("<tool_call>") :].lstrip())
    return Malformed("</think> must be followed by <tool_call> or <answer>")


def _parse_answer(thought: str, rest: str) -> Turn | Malformed:
    if not rest.endswith("</answer>") or len(rest) < len("<answer></answer>"):
        return Malformed("<answer> is not closed by </answer> at the end of the output")
    answer = rest[len("<answer>") : -len("</answer>")]
    if _TAG.search(answer):
        return Malformed("the answer contains a tag of the protocol; write exactly one <answer>")
    return Turn(thought, answer=answer.strip())


def _parse_calls(thought: str, rest: str) -> Turn | Malformed:
    try:
        value, end = _DECODER.raw_decode(rest)
    except json.JSONDecodeError as error:
        return Malformed(f"<tool_call> must hold a JSON array: {error.msg} at {error.pos}")
    except (ValueError, RecursionError) as error:
        return Malformed(f"<tool_call> must hold a JSON array: {str(error)[:100]}")
    if rest[end:].strip() != "</tool_call>":
        return Malformed("the JSON array must be followed by </tool_call> and nothing else")
    if not isinstance(value, list) or not value:
        return Malformed("<tool_call> must hold a JSON array of at least one call")
    if len(value) > MAX_CALLS:
        return Malformed(f"{len(value)} tool calls at once, the limit is {MAX_CALLS}")
    calls = []
    for call in value:
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            return Malformed('each call must be an object with a "name" and "arguments"')
        arguments = call.get("arguments", {})
        if not isinstance(arguments, dict) or len(call) > 1 + ("arguments" in call):
            return Malformed('each call must be {"name": <string>, "arguments": <object>}')
        if _depth_exceeds(arguments, MAX_JSON_DEPTH):
            return Malformed(f"tool arguments are nested deeper than {MAX_JSON_DEPTH}")
        calls.append(ToolCall(call["name"], arguments))
    return Turn(thought, calls=tuple(calls))


def render(turn: Turn) -> str:
    """Render a turn: ``parse(render(turn)) == turn`` up to surrounding white space.

    Raises:
        ValueError: The protocol has no form for the turn: it has neither or both of calls
            and answer, or a tag of the protocol in its thought or answer.
    """
    if bool(turn.calls) == (turn.answer is not None):
        raise ValueError("a turn has either tool calls or an answer")
    if _TAG.search(turn.thought) or _TAG.search(turn.answer or ""):
        raise ValueError("a thought or an answer must not contain a tag of the protocol")
    head = f"<think>{turn.thought}</think>"
    if turn.answer is not None:
        return f"{head}<answer>{turn.answer}</answer>"
    calls = [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
    return f"{head}<tool_call>{json.dumps(calls, ensure_ascii=False)}</tool_call>"


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Whether JSON containers are nested deeper than ``limit``, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_reject_constant, strict=False)
