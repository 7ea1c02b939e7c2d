"""Splitting of texts into sentences."""

from __future__ import annotations

import re

_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")


def split_sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without white space around them; none is empty."""
    return [piece.strip() for piece in _BREAK.split(text) if piece.strip()]
