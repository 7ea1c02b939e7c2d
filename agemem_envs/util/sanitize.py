"""Text of unknown origin: made fit to send, or read as a number. Pure."""

from __future__ import annotations

MAX_DIGITS = 18
"""Of a number in an id: it fits into 64 bits, and converting it is cheap."""


def sendable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 has no form for, replaced by ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def natural_number(text: str) -> int | None:
    """The number that a text of at most :data:`MAX_DIGITS` ASCII digits is; else None."""
    valid = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return int(text) if valid else None
