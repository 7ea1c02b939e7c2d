"""The numbers that training logs of the episodes of a round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from agemem_envs.episode import Episode, StopReason
from agemem_envs.metrics import METRICS, mean
from agemem_envs.stages import Stage
from agemem_envs.tools import TOOLS, short_name

Numbers = dict[str, float | None]
LOGGED = (
    "success",
    "progress",
    "memory_quality",
    "judge",
    "em",
    "f1",
    *(f"{short_name(tool)}_calls" for tool in TOOLS),
    "tool_calls",
    "rounds",
    "malformed_rate",
)
"""Metrics that evaluation also reports, under the same names."""


def describe(episode: Episode, *, apart: bool = False) -> Numbers:
    """The numbers of one episode by name; None if not scored.

    These are :data:`LOGGED`, all components of the reward as ``reward/...``, the mean tokens of a
    step's context and completion, the rounds and tool calls of each stage, and how the episode
    ended.

    Args:
        episode: The episode.
        apart: Give the success and the reward also under names of the benchmark's own, as
            ``AgeMem-HotpotQA-v0/success``.
    """
    numbers: Numbers = {
        **{name: METRICS[name].of(episode) for name in LOGGED},
        "context_tokens": mean(float(step.context_tokens) for step in episode.steps),
        "completion_tokens": mean(float(step.completion_tokens or 0) for step in episode.steps),
        "stopped/rounds": float(episode.stop_reason is StopReason.ROUND_LIMIT),
        "stopped/overflow": float(episode.stop_reason is StopReason.CONTEXT_OVERFLOW),
        "unscored": float(episode.reward is None or episode.reward.total is None),
    }
    for stage in Stage:
        steps = [step for step in episode.steps if step.stage is stage]
        numbers[f"stage{stage}/rounds"] = float(len(steps))
        numbers[f"stage{stage}/tool_calls"] = float(sum(len(step.calls) for step in steps))
    if episode.reward is not None:
        numbers |= {f"reward/{name}": value for name, value in asdict(episode.reward).items()}
    if apart:
        own = {name: numbers.get(name) for name in ("success", "reward/total")}
        numbers |= {f"{episode.env_id}/{name}": value for name, value in own.items()}
    return numbers


def average(episodes: Iterable[Mapping[str, float | None]]) -> dict[str, float]:
    """The mean of each number over the episodes that have it; NaN if no episode does."""
    columns: dict[str, list[float]] = {}
    for numbers in episodes:
        for name, value in numbers.items():
            columns.setdefault(name, []).extend([] if value is None else [value])
    return {name: math.nan if not c else sum(c) / len(c) for name, c in columns.items()}
