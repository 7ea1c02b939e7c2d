"""Patterns that are searched in a world's replies, and those that were found."""

from __future__ import annotations

import re
from collections.abc import Sequence


class Patterns:
    """Regular expressions, each searched in every reply, case kept, in any order.

    Args:
        patterns: The expressions; may be empty.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._found: set[int] = set()

    def __len__(self) -> int:
        """The number of all patterns."""
        return len(self._patterns)

    @property
    def found(self) -> int:
        """The number of the patterns that were found."""
        return len(self._found)

    def search(self, reply: str) -> None:
        """Note the patterns that a reply holds."""
        self._found.update(i for i, p in enumerate(self._patterns) if p.search(reply))
