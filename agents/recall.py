"""Recalled texts in a prompt: how memories that no tool asked for are shown to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agemem_envs import prompts
from agemem_envs.context import ChatMessages


def with_recalled(messages: Sequence[Mapping[str, str]], recalled: Sequence[str]) -> ChatMessages:
    """The chat with recalled memories before its last message's text."""
    chat = [dict(message) for message in messages]
    if recalled:
        listed = "\n".join(f"- {text}" for text in recalled)
        told = prompts.RECALLED.format(memories=listed)
        chat[-1]["content"] = f"{told}\n\n{chat[-1]['content']}"
    return chat
