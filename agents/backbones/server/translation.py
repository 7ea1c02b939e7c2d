"""Translate OpenAI requests into constrained llama.cpp requests, and the replies back.

llama.cpp obeys a JSON schema or a grammar. With a chat template that does not support tools,
it never shows them to the model, and ``tool_choice`` has no effect. So this module describes
the tools in the system prompt, constrains the reply to a call (under ``auto`` to a call or an
answer), and reads the JSON back into ``tool_calls`` or ``content``. A reply holds at most one
call.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.agents.backbones.server.schemas import JSON_OBJECT_GRAMMAR, bounded
from agemem_envs.util.http_errors import Body, RequestError

MAX_TOKENS = 2_048
"""Maximum tokens of a completion whose request names no limit."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CUT_CALL = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]+)"\s*,\s*"arguments"\s*:\s*(.*)', re.DOTALL)
_CUT_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"((?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*)')
_CONSTRAINED_ELSEWHERE = ("grammar", "json_schema", "response_format")


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    description: str
    parameters: Body


@dataclass(frozen=True, slots=True)
class Exchange:
    """A translated request, and the way to read its reply.

    Attributes:
        request: The body for llama.cpp.
        calls: Whether the reply's content is JSON: a tool call or an answer.
    """

    request: Body
    calls: bool = False

    def reply(self, body: Body, model: str) -> Body:
        """The reply for the client.

        Raises:
            RequestError: llama.cpp did not obey the constraint.
        """
        body = {**body, "model": model}
        if self.calls:
            body["choices"] = [_read_choice(choice) for choice in body["choices"]]
        return body


def translate(body: Body) -> Exchange:
    """Translate a client's request.

    Raises:
        RequestError: The request is malformed, or asks for something that is not supported.
    """
    if body.get("functions") or body.get("function_call"):
        raise RequestError("functions are not supported: use tools", param="functions")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise RequestError("messages must be a list of objects", param="messages")
    request = {k: v for k, v in body.items() if v is not None}
    request["messages"] = [_plain(m, messages) for m in messages]
    if "max_tokens" not in request and "max_completion_tokens" not in request:
        request["max_tokens"] = MAX_TOKENS
    tools = _chosen_tools(request)
    choice = request.pop("tool_choice", "auto")
    for key in ("tools", "parallel_tool_calls", "stream", "stream_options"):
        request.pop(key, None)
    if tools:
        return _with_tools(request, tools, must_call=choice != "auto")
    return Exchange(_constrained(request))


def _constrained(request: Body) -> Body:
    """The request, with its ``response_format`` as a constraint that llama.cpp obeys."""
    form = request.pop("response_format", {"type": "text"})
    kind = form.get("type") if isinstance(form, dict) else form
    if kind == "text":
        return request
    if "grammar" in request or "json_schema" in request:
        raise RequestError("response_format and grammar exclude each other", param="grammar")
    if kind == "json_object":
        return {**request, "grammar": JSON_OBJECT_GRAMMAR}
    if kind == "json_schema":
        given = form.get("json_schema")
        if not isinstance(given, dict) or "schema" not in given:
            raise RequestError("json_schema has no schema", param="response_format")
        return {**request, "response_format": _schema_format(bounded(given["schema"]))}
    raise RequestError(
        f"unknown response_format {kind!r}: use text, json_object or json_schema",
        param="response_format",
    )


def _schema_format(schema: Body) -> Body:
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}


def _chosen_tools(request: Body) -> list[_Tool]:
    """The tools that may be called, by ``tools`` and ``tool_choice``."""
    given = request.get("tools") or []
    choice = request.get("tool_choice", "auto")
    if not isinstance(given, list):
        raise RequestError("tools must be a list", param="tools")
    tools = [_tool(tool) for tool in given]
    if len({tool.name for tool in tools}) < len(tools):
        raise RequestError("two tools have the same name", param="tools")
    if choice == "none" or (choice == "auto" and not tools):
        return []
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name") if _is_function(choice) else None
        tools = [tool for tool in tools if tool.name == name]
        if not tools:
            raise RequestError(
                f"tool_choice names {name!r}, which is not in tools", param="tool_choice"
            )
    elif choice not in ("auto", "required"):
        raise RequestError(
            f"unknown tool_choice {str(choice)[:80]!r}: use auto, none, required or a function",
            param="tool_choice",
        )
    elif not tools:
        raise RequestError("tool_choice is required, but there are no tools", param="tools")
    return tools


def _is_function(given: Any) -> bool:
    if not isinstance(given, dict) or given.get("type", "function") != "function":
        return False
    return isinstance(given.get("function"), dict)


def _tool(given: Any) -> _Tool:
    function = given["function"] if _is_function(given) else {}
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(f"not a function tool with a name: {str(given)[:80]}", param="tools")
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise RequestError(f"the parameters of {name} are not a schema", param="tools")
    return _Tool(name, str(function.get("description") or ""), parameters)


def _with_tools(request: Body, tools: Sequence[_Tool], *, must_call: bool) -> Exchange:
    for key in _CONSTRAINED_ELSEWHERE:
        form = request.pop(key, None)
        if form is not None and not must_call and form != {"type": "text"}:
            raise RequestError(
                f"{key} and tools exclude each other, unless tool_choice requires a call", param=key
            )
    request["messages"] = _with_system(request["messages"], _manual(tools, must_call=must_call))
    forms = [_call_schema(tool) for tool in tools]
    if not must_call:
        forms.append(_object({"answer": {"type": "string"}}))
    schema: Body = {
        "$defs": {t.name: bounded(t.parameters, f"#/$defs/{t.name}") for t in tools},
        **(forms[0] if len(forms) == 1 else {"anyOf": forms}),
    }
    return Exchange({**request, "response_format": _schema_format(schema)}, calls=True)


def _call_schema(tool: _Tool) -> Body:
    return _object({"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{tool.name}"}})


def _object(properties: Body) -> Body:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _manual(tools: Sequence[_Tool], *, must_call: bool) -> str:
    lines = [
        json.dumps(
            {"name": t.name, "description": t.description, "parameters": t.parameters},
            ensure_ascii=False,
        )
        for t in tools
    ]
    call = 'Call one with {"name": "<tool>", "arguments": {...}}.'
    if not must_call:
        call += ' To reply without a tool, write {"answer": "<text>"}.'
    return "\n".join(["You have these tools:", *lines, call])


def _with_system(messages: list[Body], text: str) -> list[Body]:
    """The messages with ``text`` at the end of the system prompt."""
    if not messages or messages[0].get("role") != "system":
        return [{"role": "system", "content": text}, *messages]
    content = messages[0].get("content")
    if isinstance(content, list):
        content = [*content, {"type": "text", "text": text}]
    else:
        content = f"{content or ''}\n\n{text}".strip()
    return [{**messages[0], "content": content}, *messages[1:]]


def _plain(message: Body, messages: Sequence[Mapping[str, Any]]) -> Body:
    """A message for any chat template: without tool calls and the role ``tool``."""
    role, calls = message.get("role"), message.get("tool_calls")
    if role == "tool":
        name = _called(message.get("tool_call_id"), messages)
        return {"role": "user", "content": f"Result of {name}: {_text(message.get('content'))}"}
    if role == "assistant" and calls:
        lines = [_text(message.get("content")), *map(_written, calls)]
        return {"role": "assistant", "content": "\n".join(line for line in lines if line)}
    if role == "developer":
        return {**message, "role": "system"}
    return message


def _written(call: Any) -> str:
    """A past call, in the form in which the model is asked to write one."""
    try:
        function = call["function"]
        name, arguments = function["name"], function["arguments"]
    except (KeyError, TypeError):
        raise RequestError("a tool call has no function", param="messages") from None
    return f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'


def _called(identity: Any, messages: Sequence[Mapping[str, Any]]) -> str:
    for message in messages:
        for call in message.get("tool_calls") or ():
            if isinstance(call, dict) and call.get("id") == identity and _is_function(call):
                return str(call["function"].get("name"))
    return "the tool"


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _read_choice(choice: Body) -> Body:
    content = choice["message"].get("content") or ""
    try:
        read = json.loads(content)
    except ValueError:
        if choice.get("finish_reason") == "length":
            return _read_cut(choice, content)
        raise _disobeyed(content) from None
    if isinstance(read, dict) and isinstance(read.get("answer"), str):
        return _said(choice, read["answer"])
    if isinstance(read, dict) and {"name", "arguments"} <= read.keys():
        arguments = json.dumps(read["arguments"], ensure_ascii=False)
        return _called_tool(choice, str(read["name"]), arguments, "tool_calls")
    raise _disobeyed(content)


def _read_cut(choice: Body, content: str) -> Body:
    """A reply cut off at ``max_tokens``: its beginning, with OpenAI's finish reason."""
    if call := _CUT_CALL.fullmatch(content):
        return _called_tool(choice, call[1], call[2], "length")
    if answer := _CUT_ANSWER.match(content):
        return _said(choice, json.loads(f'"{answer[1]}"', strict=False))
    return _said(choice, "")


def _said(choice: Body, text: str) -> Body:
    return {**choice, "message": {**choice["message"], "content": text}}


def _called_tool(choice: Body, name: str, arguments: str, finish: str) -> Body:
    call = {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    message = {**choice["message"], "content": None, "tool_calls": [call]}
    return {**choice, "message": message, "finish_reason": finish}


def _disobeyed(content: str) -> RequestError:
    return RequestError(
        f"llama.cpp did not follow the schema: {content[:200]!r}", 502, "bad_upstream_reply"
    )
