"""The ideal model for A-Mem's two prompts.

A note's keywords are the names in it. Two notes that share a name of several words are linked
(too many notes share a single word, such as a year or a town), and nothing else changes. A reply
depends on the prompt's text alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ANALYSIS = "Generate a structured analysis of the following content by:"
_CONTENT = "Content for analysis:"
_EVOLUTION = "You are an AI memory evolution agent"
_NOTE = re.compile(
    r"\n\s*content: (.*)\n\s*keywords: .*\n\n\s*The nearest neighbors memories", re.DOTALL
)
_NEIGHBOUR = re.compile(
    r"^memory_id:(\S+)\ttalk start time:\d*\tmemory content: (.*?)\tmemory context: ",
    re.DOTALL | re.MULTILINE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_FULL_NAME = re.compile(r"[A-Z][\w'’-]*(?: [A-Z][\w'’-]*)+")
_KEYWORDS = 8
_FUNCTION_WORDS = frozenset(
    "a an and are as at but by for from he her his i if in is it its my of on or our she so that "
    "the their there these they this those to was we were what when where which who with you "
    "your".split()
)
"""Words that begin sentences and are not names."""


def answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The assistant's message, or None for a prompt that is not A-Mem's."""
    prompt = str((body.get("messages") or [{}])[-1].get("content"))
    if prompt.lstrip().startswith(_ANALYSIS):
        return _message(_analysis(prompt.partition(_CONTENT)[2].strip()))
    if prompt.lstrip().startswith(_EVOLUTION):
        return _message(_evolution(prompt))
    return None


def _message(reply: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": json.dumps(reply)}


def _analysis(text: str) -> dict[str, Any]:
    keywords = _keywords(text)
    return {
        "keywords": keywords,
        "context": f"About {', '.join(keywords[:3])}.",
        "tags": keywords[:3],
    }


def _evolution(prompt: str) -> dict[str, Any]:
    note = _NOTE.search(prompt)
    text = note[1] if note else ""
    names = set(_FULL_NAME.findall(text))
    neighbours = _NEIGHBOUR.findall(prompt[note.end() :] if note else prompt)
    related = [key for key, content in neighbours if names & set(_FULL_NAME.findall(content))]
    return {
        "should_evolve": bool(related),
        "actions": ["strengthen"] if related else [],
        "suggested_connections": related,
        "tags_to_update": _keywords(text)[:3],
        "new_context_neighborhood": [],
        "new_tags_neighborhood": [],
    }


def _keywords(text: str) -> list[str]:
    """At least one word: first the names, in order, then the longest other words."""
    words = list(dict.fromkeys(_WORD.findall(text)))
    names = _names(text)
    first = [word for word in words if word in names]
    rest = sorted((word for word in words if word not in names), key=len, reverse=True)
    return (first + rest)[:_KEYWORDS] or ["text"]


def _names(text: str) -> set[str]:
    """Words with a capital that are not function words, and numbers of several digits."""
    words = _WORD.findall(text)
    return {
        word
        for word in words
        if (word[0].isupper() and word.lower() not in _FUNCTION_WORDS)
        or (word[0].isdigit() and len(word) > 2)
    }
