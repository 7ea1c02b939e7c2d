"""The output protocol as a GBNF grammar, for constrained decoding.

llama.cpp reads it, and so does vLLM's xgrammar, whose EBNF has the same form. It is stricter
than the protocol: one call, with its required arguments only, and bounded lengths, so that
even a small model always closes its tags (within about 250 tokens).
"""

from __future__ import annotations

from collections.abc import Iterable

from agemem_envs.tools import Parameter, Tool

THOUGHT_CHARS = 120
ANSWER_CHARS = 100
STRING_CHARS = 240

_TYPES = {"string": "string", "integer": "[1-9]", "boolean": '"true"', "object": '"{}"'}


def protocol_grammar(tools: Iterable[Tool]) -> str:
    """The grammar of well-formed outputs with these tools."""
    rules = [f"{_rule(tool)} ::= {_call(tool)}" for tool in tools]
    names = [rule.split(" ")[0] for rule in rules]
    body = "answer"
    if names:
        body = "( call | answer )"
        rules.append(f'call ::= "<tool_call>[" ( {" | ".join(names)} ) "]</tool_call>"')
    head = [
        f'root ::= "<think>" thought "</think>" {body}',
        f"thought ::= [^<>\\n]{{1,{THOUGHT_CHARS}}}",
        f'answer ::= "<answer>" [^<>\\n]{{1,{ANSWER_CHARS}}} "</answer>"',
        f'string ::= "\\"" [^"\\\\<>\\x00-\\x1f]{{1,{STRING_CHARS}}} "\\""',
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
