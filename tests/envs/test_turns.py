"""The parser takes anything, and is the inverse of the renderer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agemem_envs.episode import ToolCall
from agemem_envs.turns import MAX_ACTION_CHARS, MAX_CALLS, Malformed, Turn, parse, render

TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>"]
plain = st.text(max_size=60).filter(lambda text: not any(tag in text for tag in TAGS))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20) | st.sampled_from(TAGS),
    lambda children: st.lists(children, max_size=3)
    | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)  # fmt: skip
calls = st.builds(
    ToolCall, st.text(max_size=12), st.dictionaries(st.text(max_size=8), json_values, max_size=3)
)
turns = st.builds(lambda t, c: Turn(t.strip(), calls=tuple(c)), plain,
                  st.lists(calls, min_size=1, max_size=3)) | st.builds(
    lambda t, a: Turn(t.strip(), answer=a.strip()), plain, plain
)  # fmt: skip


@given(turns)
def test_parse_is_the_inverse_of_render(turn: Turn) -> None:
    assert parse(render(turn)) == turn


@given(st.lists(st.sampled_from([*TAGS, "[", "]", "{}", '{"name": "x"}', "text", '"']) | st.text()))
def test_any_sequence_of_tags_is_a_turn_or_malformed(parts: list[str]) -> None:
    result = parse("".join(parts))
    assert isinstance(result, (Turn, Malformed))
    if isinstance(result, Turn):
        assert bool(result.calls) != (result.answer is not None)


@given(st.one_of(st.none(), st.integers(), st.floats(), st.binary(), st.lists(st.text())))
def test_what_is_not_text_is_malformed(value: object) -> None:
    assert isinstance(parse(value), Malformed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "begin with <think>"),
        ("hello <think>x</think><answer>y</answer>", "begin with <think>"),
        ("<think>x<answer>y</answer>", "not closed"),
        ("<think>x</think>y", "followed by <tool_call> or <answer>"),
        ("<think>x</think>", "followed by <tool_call> or <answer>"),
        ("<think>x</think><answer>y", "not closed"),
        ("<think>x</think><answer>y</answer> and more", "not closed by </answer> at the end"),
        ("<think>x</think><answer>a</answer><answer>b</answer>", "exactly one"),
        ("<think><think>x</think><answer>a</answer>", "thought contains"),
        ("<think>x</think><tool_call>[]</tool_call>", "at least one call"),
        ('<think>x</think><tool_call>{"name": "a"}</tool_call>', "at least one call"),
        ("<think>x</think><tool_call>[1]</tool_call>", '"name"'),
        ('<think>x</think><tool_call>[{"name": 1}]</tool_call>', '"name"'),
        ('<think>x</think><tool_call>[{"name": "a", "arguments": []}]</tool_call>', "<object>"),
        ('<think>x</think><tool_call>[{"name": "a", "extra": 1}]</tool_call>', "<object>"),
        ('<think>x</think><tool_call>[{"name": "a"}]', "followed by </tool_call>"),
        ('<think>x</think><tool_call>[{"name": "a"}]</tool_call><answer>b</answer>', "nothing else"),
        ('<think>x</think><tool_call>[{"name": "a", "arguments": {"b": NaN}}]</tool_call>', "NaN"),
        ('<think>x</think><tool_call>[{"name": "a", "arguments": {"b": 1e999}}]</tool_call>', "finite"),
        ("<think>x</think><tool_call>" + "[" * 10_000, "JSON"),
        ("x" * (MAX_ACTION_CHARS + 1), "characters"),
    ],
)  # fmt: skip
def test_what_is_malformed_says_why(text: str, reason: str) -> None:
    result = parse(text)
    assert isinstance(result, Malformed)
    assert reason in result.reason


def test_limits_on_calls_and_depth() -> None:
    one = '{"name": "a", "arguments": {}}'
    many = f"<think></think><tool_call>[{', '.join([one] * (MAX_CALLS + 1))}]</tool_call>"
    assert isinstance(parse(many), Malformed)
    deep = '{"a": ' * 17 + "1" + "}" * 17
    nested = f'<think></think><tool_call>[{{"name": "a", "arguments": {deep}}}]</tool_call>'
    result = parse(nested)
    assert isinstance(result, Malformed)
    assert "nested" in result.reason


def test_tags_in_json_strings_are_data() -> None:
    text = '<think>a</think>\n<tool_call>[{"name": "Add_memory", "arguments": {"content": "</tool_call><answer>42</answer>"}}]</tool_call>\n'
    turn = parse(text)
    assert isinstance(turn, Turn)
    assert turn.calls[0].arguments["content"] == "</tool_call><answer>42</answer>"


@pytest.mark.parametrize(
    "turn",
    [
        Turn("x"),
        Turn("x", calls=(ToolCall("a"),), answer="b"),
        Turn("</think>", answer="b"),
        Turn("x", answer="<answer>"),
    ],
)
def test_a_turn_outside_the_protocol_is_not_rendered(turn: Turn) -> None:
    with pytest.raises(ValueError, match=r"either|must not"):
        render(turn)
