"""The ideal model for the one prompt of Mem0 2: each message is one fact, whole.

A fact is not extracted if the prompt shows it as an existing memory, word for word. A reply
depends on the prompt's text alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ROLE = "# ROLE\n\nYou are a Memory Extractor"
_ASKED = re.compile(
    r"\n\n## Existing Memories\n(\[.*\])\n\n## New Messages\nuser: ((?s:.*))\n\n\n"
    r"## Observation Date\n"
)


def answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The assistant's message, or None for a prompt that is not Mem0's."""
    messages = body.get("messages") or [{}]
    asked = _ASKED.search(str(messages[-1].get("content")))
    if not asked or not str(messages[0].get("content")).lstrip().startswith(_ROLE):
        return None
    known, fact = {entry["text"] for entry in json.loads(asked[1])}, asked[2]
    entry: dict[str, Any] = {
        "id": "0",
        "text": fact,
        "attributed_to": "user",
        "linked_memory_ids": [],
    }
    new = [entry] if fact.strip() and fact not in known else []
    return {"role": "assistant", "content": json.dumps({"memory": new})}
