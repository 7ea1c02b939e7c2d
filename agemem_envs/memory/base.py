"""The long-term memory that an environment is given: its interface and its item rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agemem_envs.episode import MemoryItem
from agemem_envs.errors import AgeMemError
from agemem_envs.util.sanitize import natural_number


class MemoryNotFoundError(AgeMemError, KeyError):
    """No memory has this id (any more)."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: the item and its cosine similarity in [-1, 1]."""

    item: MemoryItem
    score: float


class MemoryView(Protocol):
    """The stored items, to be recorded and scored; in the order in which they were stored."""

    name: str

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[MemoryItem]: ...


class LongTermMemory(MemoryView, Protocol):
    """What the environment asks of a long-term memory."""

    def get(self, memory_id: str) -> MemoryItem: ...
    def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        memory_type: str | None = None,
    ) -> MemoryItem: ...
    def update(
        self, memory_id: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> MemoryItem: ...
    def delete(self, memory_id: str) -> MemoryItem: ...
    def search(
        self, query: str, top_k: int = 3, where: Mapping[str, Any] | None = None
    ) -> list[Hit]: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


def new_item(
    key: int,
    content: str,
    metadata: Mapping[str, Any] | None,
    memory_type: str | None,
    now: float,
) -> MemoryItem:
    """The item number ``key`` of a store."""
    return MemoryItem(f"m{key}", content, dict(metadata or {}), memory_type, created_at=now)


def revised_item(
    item: MemoryItem, content: str, metadata: Mapping[str, Any] | None, now: float
) -> MemoryItem:
    """An item with new content; its metadata stay unless new ones are given."""
    kept = item.metadata if metadata is None else dict(metadata)
    return replace(item, content=content, metadata=kept, updated_at=now)


def item_key(memory_id: str) -> int:
    """The number in an id such as "m7"; -1 for any text that is no id."""
    key = natural_number(memory_id.removeprefix("m"))
    return -1 if key is None else key


def matches(item: MemoryItem, where: Mapping[str, Any]) -> bool:
    """Whether an item's metadata (or ``memory_type``) equal all the given values."""
    return all(
        (item.memory_type if key == "memory_type" else item.metadata.get(key)) == value
        for key, value in where.items()
    )
