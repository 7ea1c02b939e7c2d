"""The ideal model for the running summary's prompt: it keeps every word."""

from __future__ import annotations

from typing import Any

from agemem.baselines.running_summary import PROMPT

_OPENING = PROMPT.partition("{")[0]


def answer(body: dict[str, Any]) -> dict[str, Any] | None:
    """The old summary and the news, whole; None for another prompt."""
    prompt = str((body.get("messages") or [{}])[-1].get("content"))
    if not prompt.startswith(_OPENING):
        return None
    summary, _, news = prompt.removeprefix(_OPENING).partition("\n\nSaid since:\n")
    return {"content": "\n".join(part for part in (summary, news) if part != "(none)")}
