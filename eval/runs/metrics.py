"""Metrics of one result, and its model calls and tokens. None means not scored or not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from agemem.eval.runs.result import Result
from agemem_envs import metrics
from agemem_envs.episode import Episode
from agemem_envs.metrics import Metric


def _of_result(metric: Metric[Episode]) -> Metric[Result]:
    """The metric of a result's episode."""
    measure = metric.of
    return replace(cast(Metric[Any], metric), of=lambda result: measure(result.episode))


_SECONDS: Metric[Result] = Metric(
    "seconds", "seconds per episode", lambda result: result.seconds, varying=True
)


def _with_seconds() -> dict[str, Metric[Result]]:
    """The metrics of an episode, and after the rounds the duration, which only a result records."""
    columns = {}
    for name, metric in metrics.METRICS.items():
        columns[name] = _of_result(metric)
        if name == "rounds":
            columns["seconds"] = _SECONDS
    return columns


METRICS: dict[str, Metric[Result]] = _with_seconds()
"""Every metric that a summary averages, in the order of its columns."""


def llm_calls(result: Result) -> float:
    """Number of calls of the backbone, by the agent and by its memory system."""
    own = sum(step.seconds is not None for step in result.episode.steps)
    return own + (result.episode.metrics.get("memory_llm_calls") or 0.0)


def spent_prompt_tokens(result: Result) -> float | None:
    """Prompt tokens of all calls of the backbone; None if a call was not counted."""
    counts = [s.prompt_tokens for s in result.episode.steps if s.seconds is not None]
    return _spent(counts, result.episode.metrics.get("memory_prompt_tokens"))


def spent_completion_tokens(result: Result) -> float | None:
    """Completion tokens of all calls of the backbone; None if a call was not counted."""
    counts = [s.completion_tokens for s in result.episode.steps if s.seconds is not None]
    return _spent(counts, result.episode.metrics.get("memory_completion_tokens"))


def _spent(counts: Sequence[int | None], memory: float | None) -> float | None:
    counted = [count for count in counts if count is not None]
    return sum(counted) + (memory or 0.0) if len(counted) == len(counts) else None


def mean_of(results: Sequence[Result], measure: Callable[[Result], float | None]) -> float | None:
    """The mean of a measure; None if any result has no value."""
    values = [measure(result) for result in results]
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None
