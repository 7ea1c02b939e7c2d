"""Functions for untrusted text."""

from __future__ import annotations

MAX_DIGITS = 18
"""Most digits of a number in an id, so that it fits into 64 bits."""


def sendable(text: str) -> str:
    """Replace lone surrogates, for which UTF-8 has no form, by ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def natural_number(text: str) -> int | None:
    """Parse a text of at most :data:`MAX_DIGITS` ASCII digits; None for any other text."""
    valid = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return int(text) if valid else None
