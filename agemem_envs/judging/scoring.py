"""Scoring of a finished episode: when it ends, or later by another judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from agemem_envs.episode import Asked, Episode
from agemem_envs.judging.answers import contains_answer
from agemem_envs.judging.judges import Case, Judge, matcher_of
from agemem_envs.judging.replay import memory_at_query
from agemem_envs.judging.rewards import (
    Assessment,
    RewardConfig,
    assess,
    breakdown,
    make_reward,
)
from agemem_envs.judging.wording import sentences


def scored(episode: Episode, judge: Judge, reward: RewardConfig, native: float | None) -> Episode:
    """The episode with everything that depends on its judge: metrics, reward and errors.

    Args:
        episode: A finished episode with the metrics of its task.
        judge: Scores the answer and the memories.
        reward: Weights and penalties.
        native: The world's own score in [0, 1]; None in question answering.
    """
    assessment = assess(episode, judge, native, reward)
    answered = episode.prediction is not None
    if episode.asked:
        episode = _with_questions(episode, assessment)
    metrics = {
        **episode.metrics,
        "judge": assessment.task.score if answered else 0.0,
        "memory_quality": assessment.memory_quality.score,
        **assessment.costs,
    }
    if episode.changes:
        metrics["stale_share"] = stale_share(episode)
    return replace(
        episode,
        metrics=metrics,
        reward=breakdown(episode, assessment, reward, answered),
        errors=assessment.errors,
    )


def _with_questions(episode: Episode, assessment: Assessment) -> Episode:
    """The episode with the score of each of its questions, and the means of its metrics."""
    asked = tuple(
        replace(one, judged=verdict.score)
        for one, verdict in zip(episode.asked, assessment.answers, strict=True)
    )
    metrics = {**episode.metrics, **question_metrics(asked)}
    return replace(episode, questions=asked, metrics=metrics)


def question_metrics(asked: Sequence[Asked]) -> dict[str, float]:
    """``f1`` and ``contains`` over all questions, and ``f1_<category>`` over those of each type.

    Each is a mean in [0, 1], in which a question without an answer counts 0.
    """
    categories = sorted({one.question.category for one in asked} - {""})
    of_category = {
        f"f1_{name.replace(' ', '_')}": [o.score for o in asked if o.question.category == name]
        for name in categories
    }
    return {
        "f1": fmean(one.score for one in asked),
        "contains": fmean(contains_answer(one.question, one.prediction) for one in asked),
        **{name: fmean(scores) for name, scores in of_category.items()},
    }


def stale_share(episode: Episode) -> float | None:
    """The share of the sentences in memory at the query that state something superseded.

    0 for an empty memory, None if nothing changed or if the memory is not known.
    """
    if not episode.changes or not episode.memories_listed:
        return None
    matcher = matcher_of(Case.of(episode))
    memory = memory_at_query(episode)
    stale = [matcher.superseded(piece) for text in memory for piece in sentences(text)]
    return fmean(stale) if stale else 0.0


def rejudged(episode: Episode, judge: Judge) -> Episode:
    """A recorded episode as this judge would have scored it.

    An episode that is unscored because its server or simulator failed stays unscored. The native
    score of an interactive world does not depend on a judge and stays the same.

    Raises:
        ConfigurationError: The recorded reward is invalid.
    """
    episode = replace(episode, settings=replace(episode.settings, judge=judge.name))
    if episode.stop_reason is None or not episode.stop_reason.scored:
        return episode  # its reward may be of any kind
    kept = {k: value for k, value in episode.metrics.items() if not k.startswith("judge_")}
    return rescored(replace(episode, metrics=kept), judge, make_reward(episode.settings.reward))


def rescored(episode: Episode, judge: Judge, reward: RewardConfig) -> Episode:
    """A recorded episode as this judge and this reward score it.

    An episode that is unscored stays unscored. The native score of an interactive world does not
    depend on either and stays the same.
    """
    if episode.stop_reason is None or not episode.stop_reason.scored:
        return episode
    native = (episode.metrics["judge"] or 0.0) if episode.interactive else None
    return scored(episode, judge, reward, native)
