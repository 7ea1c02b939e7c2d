"""The output protocol as a GBNF grammar, for constrained decoding.

llama.cpp reads it, and so does vLLM's xgrammar, whose EBNF has the same form. It is stricter
than the protocol: required arguments only, and as many calls and characters as the tokens of a
reply allow, so that even a small model always closes its tags.
"""

from __future__ import annotations

from collections.abc import Iterable

from agemem_envs.tools import Parameter, Tool
from agemem_envs.turns import MAX_CALLS

ANSWER_CHARS = 100
STRING_CHARS = 240
"""About 70 tokens; of a call among several more, since few are that long."""
ROOM = 384
"""Tokens of a reply from which on it may hold several calls, one for each :data:`CALL_TOKENS`."""
CALL_TOKENS = 100

_TYPES = {"string": "string", "integer": "[1-9]", "boolean": '"true"', "object": '"{}"'}


def protocol_grammar(tools: Iterable[Tool], max_tokens: int = 256) -> str:
    """The grammar of well-formed outputs with these tools.

    Args:
        tools: The tools.
        max_tokens: Most tokens of a reply.
    """
    calls = 1 if max_tokens < ROOM else min(max_tokens // CALL_TOKENS, MAX_CALLS)
    thought, text = 120 * min(calls, 3), STRING_CHARS * min(calls, 2)
    rules = [f"{_rule(tool)} ::= {_call(tool)}" for tool in tools]
    names = [rule.split(" ")[0] for rule in rules]
    body = "answer"
    if names:
        body = "( call | answer )"
        further = f' ( ", " one ){{0,{calls - 1}}}' if calls > 1 else ""
        rules.append(f"one ::= {' | '.join(names)}")
        rules.append(f'call ::= "<tool_call>[" one{further} "]</tool_call>"')
    head = [
        f'root ::= "<think>" thought "</think>" {body}',
        f"thought ::= [^<>\\n]{{1,{thought}}}",
        f'answer ::= "<answer>" [^<>\\n]{{1,{ANSWER_CHARS}}} "</answer>"',
        f'string ::= "\\"" char{{1,{text}}} "\\""',
        'char ::= [^"\\\\<>\\x00-\\x1f] | "\\\\" ["\\\\]',
    ]
    return "\n".join(head + rules) + "\n"


def _rule(tool: Tool) -> str:
    return tool.name.lower().replace("_", "-")


def _call(tool: Tool) -> str:
    required = [parameter for parameter in tool.parameters if parameter.required]
    arguments = ' ", " '.join(map(_argument, required))
    return f'"{{\\"name\\": \\"{tool.name}\\", \\"arguments\\": {{" {arguments} "}}}}"'


def _argument(parameter: Parameter) -> str:
    value = '"\\"all\\""' if parameter.name == "span" else _TYPES[parameter.type]
    return f'"\\"{parameter.name}\\": " {value}'
