"""What is logged of the episodes of a training round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from agemem_envs.episode import Episode, StopReason
from agemem_envs.tools import TOOLS

Numbers = dict[str, float | None]
QUALITIES = ("memory_quality", "judge", "em", "f1")


def describe(episode: Episode) -> Numbers:
    """The numbers of one episode by name; None where it was not scored.

    ``reward/...`` are all components of the reward; ``calls/...`` the calls of each tool (the
    paper's table of tool usage), refused ones too; ``context_tokens`` the mean over the calls.
    """
    steps = episode.steps
    calls = [call.name for step in steps for call in step.calls]
    numbers: Numbers = {
        "success": None if episode.success is None else float(episode.success),
        "progress": episode.progress,
        **{name: episode.metrics.get(name) for name in QUALITIES},
        **{f"calls/{name}": float(calls.count(name)) for name in TOOLS},
        "calls/all": float(sum(name in TOOLS for name in calls)),
        "rounds": float(len(steps)),
        "malformed_rate": _mean(float(step.malformed is not None) for step in steps),
        "context_tokens": _mean(float(step.context_tokens) for step in steps),
        "completion_tokens": _mean(float(step.completion_tokens or 0) for step in steps),
        "stopped/rounds": float(episode.stop_reason is StopReason.ROUND_LIMIT),
        "stopped/overflow": float(episode.stop_reason is StopReason.CONTEXT_OVERFLOW),
        "unscored": float(episode.reward is None or episode.reward.total is None),
    }
    if episode.reward is not None:
        numbers |= {f"reward/{name}": value for name, value in asdict(episode.reward).items()}
    return numbers


def average(episodes: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """The mean of every number over the episodes that have it; NaN if none has."""
    columns: dict[str, list[float]] = {}
    for numbers in episodes:
        for name, value in numbers.items():
            columns.setdefault(name, []).extend([] if value is None else [value])
    return {name: math.nan if not c else sum(c) / len(c) for name, c in columns.items()}


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
