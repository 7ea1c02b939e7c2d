"""The data of the page: a short row for each episode, and the full details of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.result import Result, consistent
from agemem.eval.viewer.gold import gold_facts
from agemem.eval.viewer.timeline import Round, timeline
from agemem_envs.episode import Asked, Episode
from agemem_envs.util.records import to_plain

_FIELDS = (
    "seed query reference key_items settings final_tokens memories memories_listed prediction "
    "success progress metrics reward errors"
).split()
"""The fields of an episode that the page shows as recorded."""
_METRICS = ("success", "progress", "reward", "tool_calls", "rounds", "malformed_rate", "seconds")


def cell(result: Result) -> dict[str, Any]:
    """The values of an episode in the table."""
    episode = result.episode
    return {
        **{name: METRICS[name].of(result) for name in _METRICS},
        "stop": episode.stop_reason,
        "stage": episode.steps[-1].stage if episode.steps else None,
        "peak": peak_tokens(episode),
        "budget": episode.settings.max_context_tokens,
        "memories": len(episode.memories) if episode.memories_listed else None,
        "errors": len(episode.errors),
        "prediction": episode.prediction,
        "error": episode.errors[0] if episode.errors else None,
    }


def peak_tokens(episode: Episode) -> int:
    """The largest number of tokens in the context, over all calls and the end."""
    return max(*(step.context_tokens for step in episode.steps), episode.final_tokens, 0)


def task(result: Result) -> dict[str, Any]:
    """The values of an episode's task in the table."""
    episode = result.episode
    return {
        "env": episode.env_id,
        "task": episode.task_id,
        "category": ", ".join(filter(None, (episode.category, episode.difficulty))),
        "query": episode.query,
        "reference": episode.reference,
    }


def story(result: Result) -> dict[str, Any]:
    """The data of the page's detailed view of an episode.

    Raises:
        DataFormatError: The record contradicts itself.
    """
    episode = result.episode
    with consistent(episode):
        rounds = timeline(episode)
        return {
            **{name: to_plain(getattr(episode, name)) for name in _FIELDS},
            "agent": result.agent,
            "backbone": result.backbone,
            "engine": result.engine,
            "constrained": result.constrained,
            "index": result.index,
            "seconds": result.seconds,
            "source": str(episode.source),
            "stop": episode.stop_reason,
            "gold": to_plain(gold_facts(episode, rounds)),
            "asked": [_asked(one) for one in episode.asked],
            "messages": [[m.kind, m.content, m.tokens] for m in episode.messages],
            "rounds": [_round(entry) for entry in rounds],
        }


def _asked(one: Asked) -> dict[str, Any]:
    question = one.question
    return {
        "category": question.category,
        "query": question.query,
        "reference": question.reference,
        "prediction": one.prediction,
        "score": one.score,
        "judged": one.judged,
        "ended": one.ended,
    }


def _round(entry: Round) -> dict[str, Any]:
    step = entry.step
    return {
        **{f.name: to_plain(getattr(entry, f.name)) for f in fields(entry) if f.name != "step"},
        "stage": int(step.stage),
        "visible": ranges(step.visible),
        "tokens": step.context_tokens,
        "thought": step.thought,
        "calls": [[call.name, call.arguments] for call in step.calls],
        "results": [[result.ok, result.text] for result in step.results],
        "answer": step.answer,
        "malformed": step.malformed,
        # A well-formed output is already among the messages, as the assistant's.
        "action": step.action if step.malformed is not None else None,
        "prompt_tokens": step.prompt_tokens,
        "completion_tokens": step.completion_tokens,
        "seconds": step.seconds,
    }


def ranges(ids: Sequence[int]) -> list[list[int]]:
    """Consecutive ids as closed ranges, in the given order: 0, 1, 2, 7 -> [0, 2], [7, 7]."""
    runs: list[list[int]] = []
    for i in ids:
        if runs and runs[-1][1] == i - 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return runs
