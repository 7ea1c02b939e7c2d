"""Metrics of one episode, by name. None means not scored, which is not zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

from agemem.baselines.base import Usage
from agemem.eval.runs.folder import Result
from agemem_envs.episode import Episode
from agemem_envs.tools import TOOLS, short_name

Metric = Callable[[Result], float | None]


def _recorded(name: str) -> Metric:
    return lambda result: result.episode.metrics.get(name)


def _success(result: Result) -> float | None:
    success = result.episode.success
    return None if success is None else float(success)


def _reward(result: Result) -> float | None:
    reward = result.episode.reward
    return None if reward is None else reward.total


def prompt_tokens(episode: Episode) -> float | None:
    """Mean prompt tokens of a model call, as the backbone counted them.

    Without a count from the backbone, the context tokens by the episode's own counter.
    """
    if not episode.steps:
        return None
    counts = [
        step.context_tokens if step.prompt_tokens is None else step.prompt_tokens
        for step in episode.steps
    ]
    return sum(counts) / len(counts)


def llm_calls(result: Result) -> float:
    """Calls of the backbone, by the agent and by its memory system."""
    own = sum(step.seconds is not None for step in result.episode.steps)
    return own + (result.episode.metrics.get("memory_llm_calls") or 0.0)


def spent_prompt_tokens(result: Result) -> float | None:
    """Prompt tokens of all these calls; None if one was not counted."""
    counts = [s.prompt_tokens for s in result.episode.steps if s.seconds is not None]
    return _spent(counts, result.episode.metrics.get("memory_prompt_tokens"))


def spent_completion_tokens(result: Result) -> float | None:
    """Completion tokens of all these calls; None if one was not counted."""
    counts = [s.completion_tokens for s in result.episode.steps if s.seconds is not None]
    return _spent(counts, result.episode.metrics.get("memory_completion_tokens"))


def _spent(counts: Sequence[int | None], memory: float | None) -> float | None:
    known = [count for count in counts if count is not None]
    return sum(known) + (memory or 0.0) if len(known) == len(counts) else None


def mean_of(results: Sequence[Result], metric: Metric) -> float | None:
    """The mean; None if it is not known of every episode."""
    values = [metric(result) for result in results]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def tool_calls(episode: Episode, name: str | None = None) -> float:
    """Calls of one tool, or of all six; refused ones count, unknown names do not."""
    calls = (call.name for step in episode.steps for call in step.calls)
    return float(sum(call == name if name else call in TOOLS for call in calls))


def malformed_rate(episode: Episode) -> float | None:
    """The share of model outputs that were outside the protocol."""
    if not episode.steps:
        return None
    return sum(step.malformed is not None for step in episode.steps) / len(episode.steps)


def _count(tool: str | None) -> Metric:
    return lambda result: tool_calls(result.episode, tool)


JUDGE_COSTS = tuple(
    f"judge_{name}" for name in ("calls", "cached_calls", "prompt_tokens", "completion_tokens")
)

METRICS: dict[str, Metric] = {
    "success": _success,
    "progress": lambda result: result.episode.progress,
    "judge": _recorded("judge"),
    "em": _recorded("em"),
    "f1": _recorded("f1"),
    "memory_quality": _recorded("memory_quality"),
    "reward": _reward,
    "prompt_tokens": lambda result: prompt_tokens(result.episode),
    "tool_calls": _count(None),
    **{f"{short_name(tool)}_calls": _count(tool) for tool in TOOLS},
    "actions": _recorded("actions"),
    "agentboard_progress": _recorded("agentboard_progress"),
    "rounds": lambda result: float(len(result.episode.steps)),
    "seconds": lambda result: result.seconds,
    "malformed_rate": lambda result: malformed_rate(result.episode),
    **{f"memory_{field.name}": _recorded(f"memory_{field.name}") for field in fields(Usage)},
    **{name: _recorded(name) for name in JUDGE_COSTS},
}
"""Every metric that a summary averages, in the order of its columns."""

VARYING = ("seconds", "memory_seconds", "judge_cached_calls")
"""What another run of the same episodes measures differently, even if all else is the same."""
