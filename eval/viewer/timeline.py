"""What each round of an episode did to the context and to long-term memory.

Everything is derived from the record: which messages the model saw at each call, and what its
tool calls report as their effect.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agemem_envs.episode import Episode, MessageKind, Step, ToolResult
from agemem_envs.stages import Stage

_REPLIES = frozenset({MessageKind.TOOL_RESULT, MessageKind.FEEDBACK, MessageKind.OBSERVATION})
"""How the environment answers a model output."""


class Cause(StrEnum):
    """Why messages left the context."""

    FILTERED = "filtered"
    SUMMARISED = "summarised"
    EMPTIED = "emptied"
    """A stage began with a fresh context."""
    RENEWED = "renewed"
    """The automatic retrieval of stage 1 was shown anew."""
    UNKNOWN = "unknown"
    """The record does not say."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Messages that left the context together.

    Attributes:
        cause: Why.
        ids: Which, in order.
        call: Index of the tool call that removed them; None if the environment did.
        summary: Id of the message that replaced them, if one did.
    """

    cause: Cause
    ids: tuple[int, ...]
    call: int | None = None
    summary: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """One effect of a tool call on long-term memory, or one item that it brought up.

    Attributes:
        action: ``added``, ``updated``, ``deleted`` or ``retrieved``.
        id: The item's.
        content: The item's, after the call; of a deleted item its last.
        call: Index of the tool call.
        before: The content that an update replaced.
        score: The similarity with which a retrieval found it, in [-1, 1].
    """

    action: str
    id: str
    content: str
    call: int
    before: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One model call: what it found in the context, and what changed by it.

    Attributes:
        step: The recorded call.
        arrived: Ids of the messages that were new to the model, in order, but for its own
            words and the replies to them.
        replies: Ids of the messages with which the environment answered this round.
        kept: How many messages of this call the next one still saw; after the last, all
            that no tool had removed.
        removals: What left the context between this call and the next.
        memory: What its tool calls did to long-term memory.
        memory_size: Items in long-term memory after it, as far as tool calls filled it.
    """

    step: Step
    arrived: tuple[int, ...]
    replies: tuple[int, ...]
    kept: int
    removals: tuple[Removal, ...]
    memory: tuple[MemoryChange, ...]
    memory_size: int


def timeline(episode: Episode) -> tuple[Round, ...]:
    """The rounds of an episode.

    Raises:
        KeyError, IndexError, TypeError, ValueError: The record contradicts itself.
    """
    # Each summary that was written is a message, in the order in which they were written.
    summaries = iter([m.id for m in episode.messages if m.kind is MessageKind.SUMMARY])
    rounds: list[Round] = []
    size, known = 0, -1
    for index, step in enumerate(episode.steps):
        following = episode.steps[index + 1] if index + 1 < len(episode.steps) else None
        newest = max(step.visible)  # what came last is always visible
        until = max(following.visible) if following else len(episode.messages) - 1
        removals = tuple(_by_tools(episode, step, summaries))
        removals += tuple(_by_environment(episode, step, following, removals))
        memory = tuple(change for call in enumerate(step.results) for change in _changes(*call))
        size += sum((c.action == "added") - (c.action == "deleted") for c in memory)
        rounds.append(
            Round(
                step=step,
                arrived=tuple(_arrived(episode, step, known)),
                replies=tuple(_replies(episode, step.index, range(newest + 1, until + 1))),
                kept=len({*step.visible}.difference(*(r.ids for r in removals))),
                removals=removals,
                memory=memory,
                memory_size=size,
            )
        )
        known = newest
    return tuple(rounds)


def _arrived(episode: Episode, step: Step, known: int) -> Iterator[int]:
    """Messages of the context beyond the id ``known`` that no earlier round shows as its own."""
    for i in step.visible:
        message = episode.messages[i]
        own = message.kind in (MessageKind.ASSISTANT, MessageKind.SUMMARY)
        if i > known and not own and not _replies_to(episode, i, step.index - 1):
            yield i


def _replies(episode: Episode, index: int, ids: range) -> Iterator[int]:
    return (i for i in ids if _replies_to(episode, i, index))


def _replies_to(episode: Episode, message_id: int, index: int) -> bool:
    message = episode.messages[message_id]
    return message.kind in _REPLIES and message.round == index


def _by_tools(episode: Episode, step: Step, summaries: Iterator[int]) -> Iterator[Removal]:
    for call, result in enumerate(step.results):
        if not result.ok or not result.data.get("removed"):
            continue
        removed = tuple(episode.messages[i].id for i in result.data["removed"])
        if result.name == "Filter_context":
            yield Removal(Cause.FILTERED, removed, call)
        elif result.name == "Summary_context":
            yield Removal(Cause.SUMMARISED, removed, call, next(summaries))


def _by_environment(
    episode: Episode, step: Step, following: Step | None, by_tools: tuple[Removal, ...]
) -> Iterator[Removal]:
    """What the next call no longer saw, and no tool had removed."""
    if following is None:
        return
    there = {*step.visible, *range(max(step.visible) + 1, max(following.visible) + 1)}
    there -= {i for removal in by_tools for i in removal.ids}
    causes: dict[Cause, list[int]] = {}
    entered = (Stage(stage) for stage in range(step.stage + 1, following.stage + 1))
    emptied = any(stage.starts_with_fresh_context for stage in entered)
    for i in sorted(there - set(following.visible)):
        renewed = episode.messages[i].kind is MessageKind.MEMORIES
        other = Cause.RENEWED if renewed else Cause.UNKNOWN
        causes.setdefault(Cause.EMPTIED if emptied else other, []).append(i)
    for cause, ids in causes.items():
        yield Removal(cause, tuple(ids))


def _changes(call: int, result: ToolResult) -> Iterator[MemoryChange]:
    if not result.ok:
        return
    data = result.data
    if result.name == "Add_memory":
        yield MemoryChange("added", data["memory_id"], data["content"], call)
    elif result.name == "Update_memory":
        yield MemoryChange("updated", data["memory_id"], data["content"], call, data["before"])
    elif result.name == "Delete_memory":
        yield MemoryChange("deleted", data["memory_id"], data["before"], call)
    elif result.name == "Retrieve_memory":
        for item in data["items"]:
            found = (item["memory_id"], item["content"], call)
            yield MemoryChange("retrieved", *found, score=item["score"])
