"""Checks that a run is complete and that its scores follow from its record.

The checks play no episode. They recompute everything that is a pure function of an episode's
record. Verdicts of a language model, and of the lexical judge of an older version, are taken as
recorded, and everything that follows from them is recomputed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from statistics import fmean
from typing import Any

from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result, consistent
from agemem_envs.env import PARTS
from agemem_envs.env_settings import EnvSettings
from agemem_envs.episode import Episode, StopReason
from agemem_envs.errors import AgeMemError
from agemem_envs.judging.answers import answer_score
from agemem_envs.judging.hotpot_metrics import exact_match, token_f1
from agemem_envs.judging.judges import LEXICAL, LexicalJudge, Verdict
from agemem_envs.judging.rewards import (
    Assessment,
    RewardConfig,
    assess,
    breakdown,
    make_reward,
)
from agemem_envs.judging.scoring import question_metrics, stale_share
from agemem_envs.protocols import resolve
from agemem_envs.registration import ENVS
from agemem_envs.settings import settings_of
from agemem_envs.stages import Stage
from agemem_envs.turns import Turn, parse
from agemem_envs.util.endpoint import split_endpoint

TOLERANCE = 1e-9
RECORDED = [name for name in settings_of(EnvSettings) if name not in PARTS]
"""Settings that an episode must share with the configuration and its protocol, unless those have
None."""


def problems(run: PlayedRun) -> list[str]:
    """The problems of a run, one message each; empty if its record is consistent."""
    messages = [*_completeness(run), *_agreement(run)]
    for result in run.results:
        where = f"{result.episode.env_id}, episode {result.index}"
        messages += [f"{where}: {problem}" for problem in episode_problems(result)]
    return messages


def _completeness(run: PlayedRun) -> Iterator[str]:
    """Check that each episode of the configuration is recorded, scored and on a different task."""
    envs, wanted = run.config.envs, run.config.episodes
    for env in dict.fromkeys([*envs, *(r.episode.env_id for r in run.results)]):
        group = [result for result in run.results if result.episode.env_id == env]
        if env not in envs:
            yield f"{env} is not among the environments of the configuration"
        indices = {result.index for result in group}
        count = max(indices, default=0) + 1 if wanted is None else wanted
        if indices != set(range(count)):
            missing = len(set(range(count)) - indices)
            extra = len(indices - set(range(count)))
            yield f"{env}: {missing} of {count} episodes are missing, {extra} are not configured"
        twice = [t for t, n in Counter(r.episode.task_id for r in group).items() if n > 1]
        if twice:
            yield f"{env}: task {twice[0]!r} was played more than once"
        listed = sum(r.episode.memories_listed for r in group)
        if 0 < listed < len(group):
            yield f"{env}: the memory is listed in {listed} of {len(group)} episodes, not in all"
        lost = sum(not r.scored or bool(r.episode.errors) for r in group)
        if lost:
            yield (
                f"{env}: {lost} of {len(group)} episodes are not fully scored; repeat them with "
                "agemem run --resume --retry-failed"
            )


def _backbone(config: RunConfig) -> str | None:
    """The backbone that episodes record; None if only the server of --base-url knows its name."""
    name = config.backbone
    if name is None:
        return "none"
    if config.base_url:
        return None
    return split_endpoint(name)[0]


def _agreement(run: PlayedRun) -> Iterator[str]:
    """Check that the episodes agree with the configuration."""
    sources = run.record.sources
    backbone = _backbone(run.config)
    seeds: dict[str, set[int]] = {}
    configured_settings = {env: _settings(run.config, env) for env in run.config.envs}
    for result in run.results:
        episode, where = result.episode, f"{result.episode.env_id}, episode {result.index}"
        for name, value in (("agent", result.agent), ("constrained", result.constrained)):
            configured = getattr(run.config, name)
            if configured != value:
                yield f"{where}: {name} is {value!r}, but {configured!r} is configured"
        if result.backbone != (backbone or result.backbone):
            yield f"{where}: backbone is {result.backbone!r}, but {backbone!r} is configured"
        if str(episode.source) != sources.get(episode.env_id):
            yield f"{where}: its data is {episode.source}, but config.json records other data"
        for name, value in configured_settings.get(episode.env_id, {}).items():
            if value not in (None, getattr(episode.settings, name)):
                yield f"{where}: {name} differs from the configuration"
        if not _judge_agrees(run.config.judge, episode.settings.judge):
            yield f"{where}: judged by {episode.settings.judge}, which is not the configured judge"
        if episode.seed is None:
            yield f"{where}: it has no seed"
        else:
            seeds.setdefault(episode.env_id, set()).add(episode.seed - result.index)
    for env, starts in seeds.items():
        if len(starts) > 1:
            yield f"{env}: the seeds of the episodes are not consecutive"


def _settings(config: RunConfig, env: str) -> dict[str, Any]:
    """The settings of an environment that follow from a configuration and its protocol."""
    if env in ENVS:
        resolved = resolve(config.protocol, ENVS[env]["task"], config.env_options).settings
        return {name: resolved.get(name) for name in RECORDED}
    return {name: getattr(config, name) for name in RECORDED}


def _judge_agrees(configured: str, recorded: str) -> bool:
    if configured == "lexical":
        return recorded.startswith("lexical-")
    return recorded == f"llm:{split_endpoint(configured)[0]}"


def episode_problems(result: Result) -> Iterator[str]:
    """The parts of an episode's record that contradict the rest of it, one message each."""
    episode = result.episode
    if not result.scored:
        if episode.success is not None or episode.reward is not None:
            yield "it was not scored, but has a score"
        return
    try:
        with consistent(episode):
            yield from _steps(episode)
            yield from _outcome(episode)
            yield from _reward(episode)
    except AgeMemError as error:
        yield f"its record cannot be scored: {error!r}"


def _steps(episode: Episode) -> Iterator[str]:
    """Check the calls, the answer and the context tokens of each step."""
    for number, step in enumerate(episode.steps):
        if step.index != number:
            yield f"step {number} has the index {step.index}"
        if step.malformed is None:
            turn = parse(step.action)
            same = isinstance(turn, Turn) and (turn.calls, turn.answer) == (step.calls, step.answer)
            if not same or len(step.results) != len(step.calls):
                yield f"step {number}: the calls or the answer are not those of its text"
        if step.context_tokens != sum(episode.messages[i].tokens for i in step.visible):
            yield f"step {number}: the context tokens are not the sum over its messages"
    answers = [s.answer for s in episode.steps if s.stage is Stage.REASONING]
    given = [answer for answer in answers if answer is not None]
    if episode.prediction != (given[-1] if given else None):
        yield "the prediction is not the last answer of stage 3"


def _outcome(episode: Episode) -> Iterator[str]:
    """Check that success and progress are possible, and for question answering recompute them."""
    success, progress = episode.success, episode.progress
    if success is None or progress is None or not 0.0 <= progress <= 1.0:
        yield f"progress {progress} with success {success} is not possible"
        return
    if episode.interactive:
        if success and progress < 1.0 - TOLERANCE:
            yield f"progress {progress} with success is not possible"
        return
    if episode.asked:
        yield from _questions(episode, success, progress)
        return
    answer, reference = episode.prediction, episode.reference
    if not reference.strip():
        yield "there is no reference"
    em = 0.0 if answer is None else exact_match(answer, reference)
    f1 = 0.0 if answer is None else token_f1(answer, reference)[0]
    yield from _differences(episode.metrics, {"em": em, "f1": f1})
    expected = {"success": em, "progress": 1.0 if em else f1}
    yield from _differences({"success": float(success), "progress": progress}, expected)


def _questions(episode: Episode, success: bool, progress: float) -> Iterator[str]:
    """Check the answers to several questions, and recompute their scores."""
    said = [s.answer for s in episode.steps if s.stage is Stage.REASONING and s.answer is not None]
    if said != [one.prediction for one in episode.asked if one.prediction is not None]:
        yield "the predictions are not the answers of stage 3"
    for one in episode.asked:
        score = answer_score(one.question, one.prediction)
        yield from _differences({one.question.id: one.score}, {one.question.id: score})
        if (one.ended is StopReason.ANSWERED) != (one.prediction is not None):
            yield f"question {one.question.id!r} ended as {one.ended}, which is not its answer"
    yield from _differences(episode.metrics, question_metrics(episode.asked))
    scores = [one.score for one in episode.asked]
    expected = {"success": float(min(scores) == 1.0), "progress": fmean(scores)}
    yield from _differences({"success": float(success), "progress": progress}, expected)


def _reward(episode: Episode) -> Iterator[str]:
    """Check that the judged scores and the reward follow from the record."""
    if episode.reward is None:
        yield "it has no reward"
        return
    answered = episode.prediction is not None
    config = make_reward(episode.settings.reward)
    assessment = _assessment(episode, config)
    expected = breakdown(episode, assessment, config, answered)
    yield from _differences(
        {f"reward {name}": value for name, value in asdict(episode.reward).items()},
        {f"reward {name}": value for name, value in asdict(expected).items()},
    )
    judged = {
        "judge": assessment.task.score if answered else 0.0,
        "memory_quality": assessment.memory_quality.score,
        "stale_share": stale_share(episode),
    }
    yield from _differences(episode.metrics, judged)


def _assessment(episode: Episode, config: RewardConfig) -> Assessment:
    """The verdicts of the judge: recomputed for the lexical judge, else as recorded."""
    native = episode.progress if episode.interactive else None
    name = episode.settings.judge
    if name.startswith(LEXICAL):
        return assess(episode, LexicalJudge(float(name.removeprefix(LEXICAL))), native, config)
    reward = episode.reward
    assert reward is not None, "checked by the caller"
    task = episode.metrics.get("judge") if native is None else native
    return Assessment(
        task=Verdict(task),
        storage=Verdict(reward.storage),
        relevance=Verdict(reward.relevance),
        memory_quality=Verdict(episode.metrics.get("memory_quality")),
        answers=tuple(Verdict(one.judged) for one in episode.asked),
    )


def _differences(recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for name, value in expected.items():
        score = recorded.get(name)
        if score is None or value is None:
            same = score is value
        else:
            same = math.isclose(score, value, rel_tol=0.0, abs_tol=TOLERANCE)
        if not same:
            yield f"{name} is recorded as {score}, but computed as {value}"
