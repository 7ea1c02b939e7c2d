"""The ideal model for LangMem's prompts: each message becomes a memory, whole, once.

It patches and removes nothing, since no message of an episode retracts another. It repairs
calls that trustcall could not read.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

_TOOLS = {"Memory", "PatchFunctionErrors"}
"""Every request offers one of them: to store, or to repair."""
_SESSION = re.compile(r"<session_([0-9a-f-]{36})>\n(.*)\n</session_\1>", re.DOTALL)
_EXISTING = re.compile(r'<instance id=(\S+) schema_type="Memory">\n(.*?)\n</instance>', re.DOTALL)
_BROKEN = re.compile(r"json_doc_id=\[([^\]\s]+)\]")


def answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The assistant's message, or None for a prompt that is not LangMem's."""
    messages = body.get("messages") or [{}]
    system = str(messages[0].get("content"))
    names = {tool["function"]["name"] for tool in body.get("tools") or ()}
    told = [found for m in messages if (found := _SESSION.search(str(m.get("content"))))]
    if not told or not names & _TOOLS:
        return None
    # the session is one message under a heading
    fact = told[0][2].partition("\n\n")[2]
    if "PatchFunctionErrors" in names:
        return _repair(str(messages[-1].get("content")), fact)
    for key, record in _EXISTING.findall(system):
        if record == str({"content": fact}):
            return _call("PatchDoc", json_doc_id=key, planned_edits="It is known.", patches=[])
    return _call("Memory", content=fact)


def _repair(error: str, fact: str) -> dict[str, Any]:
    found = _BROKEN.search(error)
    key = found[1] if found else ""
    if "Unrecognized tool name" in error:
        reasoning = ["There is no such tool.", "Memory is the tool that stores."]
        return _call("PatchFunctionName", json_doc_id=key, reasoning=reasoning, fixed_name="Memory")
    patch = {"op": "add", "path": "/content", "value": fact}
    return _call(
        "PatchFunctionErrors", json_doc_id=key, planned_edits="Add the text.", patches=[patch]
    )


def _call(name: str, **arguments: Any) -> dict[str, Any]:
    text = json.dumps(arguments)
    call = {
        "id": f"call_{zlib.crc32(text.encode()):08x}",
        "type": "function",
        "function": {"name": name, "arguments": text},
    }
    return {"role": "assistant", "content": None, "tool_calls": [call]}
