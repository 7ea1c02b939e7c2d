"""The ideal model for SimpleMem's prompts: each message of a window is one entry, whole.

The query itself is the only query, and what it finds suffices. A reply depends on the prompt's
text alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_WINDOW = re.compile(
    r"\n\[Current Window Dialogues\]\nUser: (.*)\n\n\[Requirements\]\n1\. \*\*Complete", re.DOTALL
)
_QUESTION = re.compile(
    r"\n(?:Original )?Question: (.*?)\n\n(?:Think step|Information Requirements Analysis:)",
    re.DOTALL,
)


def answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The assistant's message, or None for a prompt that is not SimpleMem's."""
    messages = body.get("messages") or [{}]
    rule = _RULES.get(str(messages[0].get("content")).partition(". ")[0])
    found = rule(str(messages[-1].get("content"))) if rule else None
    return None if found is None else {"role": "assistant", "content": json.dumps(found)}


def _entries(prompt: str) -> list[dict[str, Any]] | None:
    found = _WINDOW.search(prompt)
    if found is None:
        return None
    said = [text for text in found[1].split("\nUser: ") if text.strip()]
    return [{"lossless_restatement": text, "keywords": []} for text in said]


def _plan(prompt: str) -> dict[str, Any]:
    needed = {"info_type": "fact", "description": "what is asked", "priority": "high"}
    return {"question_type": "factual", "key_entities": [], "required_info": [needed]}


def _queries(prompt: str) -> dict[str, Any] | None:
    found = _QUESTION.search(prompt)
    return None if found is None else {"reasoning": "It is enough.", "queries": [found[1]]}


def _complete(prompt: str) -> dict[str, Any]:
    return {"assessment": "complete", "reasoning": "It is.", "coverage_percentage": 100}


_RULES: dict[str, Callable[[str], Any]] = {
    "You are a professional information extraction assistant, skilled at extracting structured, "
    "unambiguous information from conversations": _entries,
    "You are an intelligent information requirement analyst": _plan,
    "You are a query generation specialist": _queries,
    "You are an information completeness evaluator": _complete,
    "You are a missing information query generator": lambda _: {"targeted_queries": []},
}
"""By the first sentence of the system's prompt."""
