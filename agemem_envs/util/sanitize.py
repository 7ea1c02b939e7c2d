"""Functions for untrusted text."""

from __future__ import annotations

import re

MAX_DIGITS = 18
"""Most digits of a number in an id, so that it fits into 64 bits."""
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a cursor, changes a terminal, or turns a text around; not tab and newline."""
_LOGIN = re.compile(r"(?<=://)[^/\s@'\"]+@")


def sendable(text: str) -> str:
    """Replace lone surrogates, for which UTF-8 has no form, by ``?``."""
    return text.encode("utf-8", "replace").decode("utf-8")


def printable(text: str) -> str:
    """Replace control characters by their escapes, so that a terminal shows them."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str, most: int) -> str:
    """The beginning of a text as one line, as :func:`printable` shows it."""
    return printable(" ".join(text[: 4 * most].split()))[:most]


def without_logins(text: str) -> str:
    """Hide the user and the password of each URL."""
    return _LOGIN.sub("***@", text)


def natural_number(text: str) -> int | None:
    """Parse a text of at most :data:`MAX_DIGITS` ASCII digits; None for any other text."""
    valid = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return int(text) if valid else None
