"""The interface of long-term memories, and the rules for their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from agemem_envs.episode import MemoryItem
from agemem_envs.errors import AgeMemError
from agemem_envs.util.sanitize import natural_number

Ranked: TypeAlias = list[tuple[float, int]]
"""Negative scores and numbers of items, so that in ascending order the best, then the oldest come
first."""
WIDER = 4
"""How many times more items are ranked if the last ones did not suffice."""


class MemoryNotFoundError(AgeMemError, KeyError):
    """No memory has this id, or it was deleted."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Hit:
    """A search result: the item and its cosine similarity in [-1, 1]."""

    item: MemoryItem
    score: float


class MemoryView(Protocol):
    """The stored items, as an episode records and scores them.

    Attributes:
        name: Recorded in the settings of every episode; results of memories with different
            names are never averaged.
    """

    name: str

    def __len__(self) -> int:
        """Return the number of items stored now."""

    def __iter__(self) -> Iterator[MemoryItem]:
        """Iterate over a snapshot of the items, in the order in which they were added.

        An update keeps an item's place.

        Raises:
            NotImplementedError: The memory cannot list its items: memory quality is missing.
        """


class LongTermMemory(MemoryView, Protocol):
    """The long-term memory of an environment: the one interface that a new memory implements.

    Pass an object with these methods as ``memory=`` to
    :class:`~agemem_envs.env.MemoryEnv`; no base class is needed. The environment calls

    - ``clear`` at every reset, so a memory that is passed in must be empty;
    - ``add``, ``update``, ``delete``, ``get`` and ``search`` for the model's tool calls, and
      ``search`` before each model call of stage 1;
    - ``len`` before an ``add``, to refuse more items than an episode may hold;
    - iteration at the end of an episode: the items are recorded in it, and memory quality is
      judged by them;
    - ``close`` when the environment closes.

    Contents and queries are untrusted text, lone surrogates included; those that the model
    writes have at most 8,192 characters. One memory serves one environment at a time, from one
    thread. Equal sequences of calls must give equal results, or episodes are not reproducible.
    An exception other than those below ends the episode as an error of the environment.
    """

    def get(self, memory_id: str) -> MemoryItem:
        """Look up an item.

        Args:
            memory_id: Any text; the model wrote it.

        Raises:
            MemoryNotFoundError: No item has this id. The text is shown to the model.
        """

    def add(
        self,
        content: str,
        metadata: Mapping[str, Any] | None = None,
        memory_type: str | None = None,
    ) -> MemoryItem:
        """Store a new item.

        Args:
            content: The text to remember, not empty. It is stored as it is.
            metadata: Key-value pairs to keep with it (JSON values); None for none.
            memory_type: A free label, such as ``fact``; None for none.

        Returns:
            The stored item, with a new id. The id names this item alone until the next
            ``clear``, even if the item is updated or deleted.
        """

    def update(
        self, memory_id: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> MemoryItem:
        """Replace the content of an item. Its id, type and place in the order stay.

        Args:
            memory_id: The id of a stored item.
            content: The new text.
            metadata: Replaces the item's metadata; None keeps them.

        Returns:
            The item as it is stored now.

        Raises:
            MemoryNotFoundError: No item has this id.
        """

    def delete(self, memory_id: str) -> MemoryItem:
        """Remove an item.

        Args:
            memory_id: The id of a stored item.

        Returns:
            The removed item.

        Raises:
            MemoryNotFoundError: No item has this id.
        """

    def search(
        self, query: str, top_k: int = 3, where: Mapping[str, Any] | None = None
    ) -> list[Hit]:
        """Find the items that are most similar to a query. The memory is not changed.

        Args:
            query: Free text.
            top_k: The most hits to return; below 1, none are returned.
            where: Values that an item's metadata must equal, by key; the key
                ``memory_type`` means the item's type. None for all items.

        Returns:
            At most ``top_k`` hits, the best first; equal scores in the order in which the
            items were added.
        """

    def clear(self) -> None:
        """Remove all items and start again: the next item gets the first id.

        Two episodes that begin with ``clear`` must not differ by what was stored before.
        """

    def close(self) -> None:
        """Release connections and files. Calling it again has no effect."""


def new_item(
    key: int,
    content: str,
    metadata: Mapping[str, Any] | None,
    memory_type: str | None,
    now: float,
) -> MemoryItem:
    """Make the item number ``key`` of a store."""
    return MemoryItem(f"m{key}", content, dict(metadata or {}), memory_type, created_at=now)


def revised_item(
    item: MemoryItem, content: str, metadata: Mapping[str, Any] | None, now: float
) -> MemoryItem:
    """Make an item with new content; ``metadata=None`` keeps its metadata."""
    kept = item.metadata if metadata is None else dict(metadata)
    return replace(item, content=content, metadata=kept, updated_at=now)


def item_key(memory_id: str) -> int:
    """The number in an id such as "m7"; -1 for any text that is not an id."""
    key = natural_number(memory_id.removeprefix("m"))
    return -1 if key is None else key


def matches(item: MemoryItem, where: Mapping[str, Any]) -> bool:
    """Whether an item's metadata (or ``memory_type``) equal all the given values."""
    return all(
        (item.memory_type if key == "memory_type" else item.metadata.get(key)) == value
        for key, value in where.items()
    )


def best_fitting(
    nearest: Callable[[int], Ranked],
    items: Callable[[Iterable[int]], Mapping[int, MemoryItem]],
    top_k: int,
    where: Mapping[str, Any],
) -> Ranked:
    """The best items that fit a filter, without a look at all items if the first ones suffice.

    Args:
        nearest: Ranks a number of items, or all if there are fewer.
        items: Looks items up by their numbers.
        top_k: The most items to return.
        where: The filter, as in :meth:`LongTermMemory.search`.
    """
    fits: dict[int, bool] = {}
    limit = WIDER * top_k
    while True:
        ranked = nearest(limit)
        new = items(key for _, key in ranked if key not in fits)
        fits |= {key: matches(item, where) for key, item in new.items()}
        fitting = [pair for pair in ranked if fits[pair[1]]]
        if len(fitting) >= top_k or len(ranked) < limit:
            return fitting[:top_k]
        limit *= WIDER
