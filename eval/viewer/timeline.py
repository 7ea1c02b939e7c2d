"""The effect of each round of an episode on the context and on long-term memory.

The effects are derived from the record: from the messages that were visible at each call, and from
the recorded results of tool calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from agemem_envs.episode import Episode, MessageKind, Step, ToolResult
from agemem_envs.stages import Stage

_REPLIES = frozenset({MessageKind.TOOL_RESULT, MessageKind.FEEDBACK, MessageKind.OBSERVATION})
"""The kinds of messages with which the environment answers a model output."""


class Cause(StrEnum):
    """The reason why messages left the context."""

    FILTERED = "filtered"
    SUMMARISED = "summarised"
    EMPTIED = "emptied"
    """A stage began with a fresh context, or another question with that of before."""
    RENEWED = "renewed"
    """The automatic retrieval of stage 1 was refreshed."""
    UNKNOWN = "unknown"
    """The record does not show the reason."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Messages that left the context together.

    Attributes:
        cause: The reason.
        ids: The ids of the messages, in order.
        call: The index of the tool call that removed them; None if the environment did.
        summary: The id of the message that replaced them, or None.
    """

    cause: Cause
    ids: tuple[int, ...]
    call: int | None = None
    summary: int | None = None


@dataclass(frozen=True, slots=True)
class MemoryChange:
    """One change of long-term memory by a tool call, or one item that it retrieved.

    Attributes:
        action: ``added``, ``updated``, ``deleted`` or ``retrieved``.
        id: The id of the item.
        content: The content of the item after the call, or before a deletion.
        call: The index of the tool call.
        before: The content that an update replaced, or None.
        score: The similarity of a retrieved item to the query, in [-1, 1], or None.
    """

    action: str
    id: str
    content: str
    call: int
    before: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One model call with its effects.

    Attributes:
        step: The recorded call.
        arrived: The ids of messages that are new in the context, in order, except the model's
            own outputs, summaries and the replies to the previous round.
        replies: The ids of the messages with which the environment answered this round.
        kept: The number of visible messages that the next call still saw. In the last round, the
            number that no tool removed.
        removals: The messages that left the context between this call and the next.
        memory: The effects of the tool calls on long-term memory.
        memory_size: The number of items that tool calls have left in long-term memory.
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
    # Summaries are messages, in the order in which they were written.
    summaries = iter([m.id for m in episode.messages if m.kind is MessageKind.SUMMARY])
    rounds: list[Round] = []
    size, last_seen = 0, -1
    for index, step in enumerate(episode.steps):
        following = episode.steps[index + 1] if index + 1 < len(episode.steps) else None
        newest = max(step.visible)  # the latest message is always visible
        until = max(following.visible) if following else len(episode.messages) - 1
        removals = tuple(_by_tools(episode, step, summaries))
        removals += tuple(_by_environment(episode, step, following, removals))
        memory = tuple(change for call in enumerate(step.results) for change in _changes(*call))
        size += sum((c.action == "added") - (c.action == "deleted") for c in memory)
        rounds.append(
            Round(
                step=step,
                arrived=tuple(_arrived(episode, step, last_seen)),
                replies=tuple(_replies(episode, step.index, range(newest + 1, until + 1))),
                kept=len({*step.visible}.difference(*(r.ids for r in removals))),
                removals=removals,
                memory=memory,
                memory_size=size,
            )
        )
        last_seen = newest
    return tuple(rounds)


def _arrived(episode: Episode, step: Step, last_seen: int) -> Iterator[int]:
    """Visible messages after ``last_seen``, except outputs, summaries and replies to them."""
    for i in step.visible:
        message = episode.messages[i]
        own = message.kind in (MessageKind.ASSISTANT, MessageKind.SUMMARY)
        if i > last_seen and not own and not _replies_to(episode, i, step.index - 1):
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
    """Messages that the next call no longer saw, without those removed by tools."""
    if following is None:
        return
    candidates = {*step.visible, *range(max(step.visible) + 1, max(following.visible) + 1)}
    candidates -= {i for removal in by_tools for i in removal.ids}
    causes: dict[Cause, list[int]] = {}
    emptied = any(Stage(stage).ends_with_reset for stage in range(step.stage, following.stage))
    emptied = emptied or (step.stage is Stage.REASONING and _asks(episode, step, following))
    for i in sorted(candidates - set(following.visible)):
        renewed = episode.messages[i].kind in (MessageKind.MEMORIES, MessageKind.RECALLED)
        other = Cause.RENEWED if renewed else Cause.UNKNOWN
        causes.setdefault(Cause.EMPTIED if emptied else other, []).append(i)
    for cause, ids in causes.items():
        yield Removal(cause, tuple(ids))


def _asks(episode: Episode, step: Step, following: Step) -> bool:
    """Whether a question came between two calls."""
    came = range(max(step.visible) + 1, max(following.visible) + 1)
    return any(episode.messages[i].kind is MessageKind.QUERY for i in came)


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
            yield MemoryChange(
                "retrieved", item["memory_id"], item["content"], call, score=item["score"]
            )
