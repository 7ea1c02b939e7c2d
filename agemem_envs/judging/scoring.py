"""Scoring of a finished episode: when it ends, or later by another judge."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from agemem_envs.episode import Episode
from agemem_envs.judging.judges import Case, Judge, matcher_of
from agemem_envs.judging.replay import memory_at_query
from agemem_envs.judging.rewards import RewardConfig, assess, breakdown, make_reward
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
