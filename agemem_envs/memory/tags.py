"""Tags: short texts by which a database selects the items that may fit a filter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from agemem_envs.episode import MemoryItem

TYPE = "memory_type"
"""The key of a filter that means the item's type."""


def tags_of(item: MemoryItem) -> list[str]:
    """The tags of an item: one for each value that can be told by one."""
    return tags_for({**item.metadata, TYPE: item.memory_type})


def tags_for(where: Mapping[str, Any]) -> list[str]:
    """The tags of a filter. An item that fits has all of them; one that has them may not fit."""
    named = ((key, _name(value)) for key, value in where.items())
    return [_tag(f"{key}\0{name}") for key, name in named if name]


def _name(value: Any) -> str:
    """A text that equal values share; empty for null and for nested values."""
    if isinstance(value, str):
        return f'"{value}'
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return hex(int(value)) if isinstance(value, int | float) else ""


def _tag(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
