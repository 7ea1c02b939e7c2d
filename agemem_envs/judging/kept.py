"""Where key items count as kept in the context."""

from __future__ import annotations

import re

from agemem_envs.episode import Episode, Message, MessageKind

_KEPT_KINDS = frozenset(
    {
        MessageKind.INCOMING,
        MessageKind.MEMORIES,
        MessageKind.RECALLED,
        MessageKind.OBSERVATION,
        MessageKind.SUMMARY,
    }
)


def kept_text(episode: Episode, message: Message) -> str:
    """The part of a message that is information and does not repeat the model or the query."""
    if message.kind is MessageKind.TOOL_RESULT and 0 <= message.round < len(episode.steps):
        return "\n".join(r.text for r in episode.steps[message.round].results if r.ok)
    return message.content if message.kind in _KEPT_KINDS else ""


def occurs(item: str, text: str) -> bool:
    """Whether a text holds an item as whole words."""
    return re.search(rf"(?<!\w){re.escape(item)}(?!\w)", text, re.IGNORECASE) is not None
