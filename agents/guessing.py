"""Guesses at an answer by fixed rules, for agents and models that understand nothing."""

from __future__ import annotations

import re
from collections import Counter

_NAME = re.compile(r"[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*")
_OPTIONS = re.compile(r"([A-Z][^\s,]*(?: [A-Z][^\s,]*)*|\S+),? or \S")
_YES_OR_NO = re.compile(r"(?:is|are|was|were|do|does|did|can|has|have)\b")


def guess(question: str, text: str) -> str:
    """The first of two options for "X or Y", "yes" for a yes/no question, else a name."""
    options = _OPTIONS.search(question)
    if options:
        return options[1].strip(" ,")
    if _YES_OR_NO.match(question.lower()):
        return "yes"
    return likeliest_name(question, text)


def likeliest_name(question: str, text: str, *, identifiers: bool = True) -> str:
    """The most frequent capitalised name of ``text`` that is not in the question.

    Args:
        question: The question.
        text: What is known.
        identifiers: Whether words with an underscore, such as the names of tools, count.

    Returns:
        The name, the first in alphabetical order among equals; "unknown" if there is none.
    """
    names = Counter(
        name
        for name in _NAME.findall(text)
        if name not in question and (identifiers or "_" not in name)
    )
    return min(names, key=lambda name: (-names[name], name)) if names else "unknown"
