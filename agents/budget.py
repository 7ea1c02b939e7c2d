"""The rule by which the harness keeps an agent's context within its budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agemem_envs.episode import ToolCall

FULL = 0.8
"""Share of the token budget above which the context is reduced."""
REDUCTION = ToolCall("Summary_context", {"span": "all"})
"""The call that reduces it."""


def is_reducible(info: Mapping[str, Any]) -> bool:
    """Whether the environment offers the tool that reduces the context.

    Args:
        info: What the environment returned last.
    """
    return any(tool["name"] == REDUCTION.name for tool in info["tools"])


def is_full(info: Mapping[str, Any]) -> bool:
    """Whether the context is nearly full, in an environment that can reduce it.

    Args:
        info: What the environment returned last.
    """
    return is_reducible(info) and bool(info["tokens_used"] > FULL * info["token_budget"])
