"""Checks a run by itself: is it whole, and do its scores follow from what it recorded?

Nothing is played again. Whatever is a pure function of an episode's record is computed anew and
compared; what a language model judged is taken as recorded, and everything that follows from it
is computed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result, consistent
from agemem_envs.env_settings import EnvSettings
from agemem_envs.episode import Episode
from agemem_envs.errors import AgeMemError
from agemem_envs.judging.hotpot_metrics import exact_match, token_f1
from agemem_envs.judging.judges import LexicalJudge, Verdict
from agemem_envs.judging.rewards import Assessment, assess, breakdown, key_items, make_reward
from agemem_envs.protocol import Turn, parse
from agemem_envs.settings import settings_of
from agemem_envs.stages import Stage
from agemem_envs.util.endpoint import split_endpoint

TOLERANCE = 1e-9
LEXICAL = "lexical-"
RESOLVED = ("tools", "encoder", "memory", "judge", "reward", "summarizer", "token_counter")
"""Settings that an episode records under another name than the configuration: not compared."""
RECORDED = [name for name in settings_of(EnvSettings) if name not in RESOLVED]
"""Settings of an episode that must equal those of the configuration, unless that has none."""


def problems(run: PlayedRun) -> list[str]:
    """What is wrong with a run; nothing if it may be trusted as far as its record goes."""
    found = [*_completeness(run), *_agreement(run)]
    for result in run.results:
        where = f"{result.episode.env_id}, episode {result.index}"
        found += [f"{where}: {problem}" for problem in episode_problems(result)]
    return found


def _completeness(run: PlayedRun) -> Iterator[str]:
    """Whether every episode of the configuration is there, scored, and a task of its own."""
    envs, wanted = run.config.envs, run.config.episodes
    for env in dict.fromkeys([*envs, *(r.episode.env_id for r in run.results)]):
        group = [result for result in run.results if result.episode.env_id == env]
        if env not in envs:
            yield f"{env} is not in the run's configuration"
        indices = {result.index for result in group}
        count = max(indices, default=0) + 1 if wanted is None else wanted
        if indices != set(range(count)):
            missing = len(set(range(count)) - indices)
            extra = len(indices - set(range(count)))
            yield f"{env}: {missing} of {count} episodes are missing, {extra} are too many"
        twice = [t for t, n in Counter(r.episode.task_id for r in group).items() if n > 1]
        if twice:
            yield f"{env}: the task {twice[0]!r} was played more than once"
        lost = sum(not r.scored or bool(r.episode.errors) for r in group)
        if lost:
            yield (
                f"{env}: {lost} episodes are not fully scored; repeat them with "
                "agemem run --resume --retry-failed"
            )


def _backbone(config: RunConfig) -> str | None:
    """The name that episodes bear; None where only the server of --base-url knows it."""
    name = config.backbone
    if name is None:
        return "none"
    if config.base_url:
        return None
    return split_endpoint(name)[0]


def _agreement(run: PlayedRun) -> Iterator[str]:
    """Whether the episodes were played as the configuration says."""
    sources = run.record.sources
    backbone = _backbone(run.config)
    seeds: dict[str, set[int]] = {}
    for result in run.results:
        episode, where = result.episode, f"{result.episode.env_id}, episode {result.index}"
        for name, value in (("agent", result.agent), ("constrained", result.constrained)):
            if getattr(run.config, name) != value:
                yield f"{where}: {name} is {value!r}, configured is {getattr(run.config, name)!r}"
        if result.backbone != (backbone or result.backbone):
            yield f"{where}: backbone is {result.backbone!r}, configured is {backbone!r}"
        if str(episode.source) != sources.get(episode.env_id):
            yield f"{where}: its data is {episode.source}, recorded at the start was other data"
        for name in RECORDED:
            if getattr(run.config, name) not in (None, getattr(episode.settings, name)):
                yield f"{where}: {name} is not as configured"
        if not _judge_agrees(run.config.judge, episode.settings.judge):
            yield f"{where}: judged by {episode.settings.judge}, not as configured"
        if episode.seed is None:
            yield f"{where}: it has no seed"
        else:
            seeds.setdefault(episode.env_id, set()).add(episode.seed - result.index)
    for env, starts in seeds.items():
        if len(starts) > 1:
            yield f"{env}: the episodes' seeds do not follow each other"


def _judge_agrees(configured: str, recorded: str) -> bool:
    if configured == "lexical":
        return recorded.startswith(LEXICAL)
    return recorded == f"llm:{configured.rpartition('@')[0]}"


def episode_problems(result: Result) -> Iterator[str]:
    """What of an episode's record does not follow from the rest of it."""
    episode = result.episode
    if not result.scored:
        if episode.success is not None or episode.reward is not None:
            yield "it was not scored, yet has a score"
        return
    try:
        with consistent(episode):
            yield from _steps(episode)
            yield from _outcome(episode)
            yield from _reward(episode)
    except AgeMemError as error:
        yield f"its record cannot be scored: {error!r}"


def _steps(episode: Episode) -> Iterator[str]:
    """Whether each step is what its raw text says, and cost what its context held."""
    for number, step in enumerate(episode.steps):
        if step.index != number:
            yield f"step {number} bears the number {step.index}"
        if step.malformed is None:
            turn = parse(step.action)
            same = isinstance(turn, Turn) and (turn.calls, turn.answer) == (step.calls, step.answer)
            if not same or len(step.results) != len(step.calls):
                yield f"step {number} is not what its text says"
        if step.context_tokens != sum(episode.messages[i].tokens for i in step.visible):
            yield f"step {number}: the context's tokens are not those of its messages"
    answers = [s.answer for s in episode.steps if s.stage is Stage.REASONING]
    given = [answer for answer in answers if answer is not None]
    if episode.prediction != (given[-1] if given else None):
        yield "the final answer is not the last that was given"


def _outcome(episode: Episode) -> Iterator[str]:
    """Whether success and progress are possible; in question answering, whether they are true."""
    success, progress = episode.success, episode.progress
    if success is None or progress is None or not 0.0 <= progress <= 1.0:
        yield f"progress is {progress}, success is {success}"
        return
    if "actions" in episode.metrics:
        if success and progress < 1.0 - TOLERANCE:
            yield f"success with a progress of {progress}"
        return
    answer, reference = episode.prediction, episode.reference
    em = 0.0 if answer is None else exact_match(answer, reference)
    f1 = 0.0 if answer is None else token_f1(answer, reference)[0]
    yield from _differences(episode.metrics, {"em": em, "f1": f1})
    expected = {"success": em, "progress": 1.0 if em else f1}
    yield from _differences({"success": float(success), "progress": progress}, expected)


def _reward(episode: Episode) -> Iterator[str]:
    """Whether the judged scores and the reward are what the record gives."""
    if episode.reward is None:
        yield "it has no reward"
        return
    if episode.key_items != key_items(episode.query):
        yield "the key items are not those of the query"
    answered = episode.prediction is not None
    assessment = _assessment(episode)
    config = make_reward(episode.settings.reward)
    expected = breakdown(episode, assessment, config, answered)
    yield from _differences(
        {f"reward {name}": value for name, value in asdict(episode.reward).items()},
        {f"reward {name}": value for name, value in asdict(expected).items()},
    )
    judged = {
        "judge": assessment.task.score if answered else 0.0,
        "memory_quality": assessment.memory_quality.score,
    }
    yield from _differences(episode.metrics, judged)


def _assessment(episode: Episode) -> Assessment:
    """What the judge said: asked again if it is lexical, else as recorded."""
    native = episode.progress if episode.interactive else None
    name = episode.settings.judge
    if name.startswith(LEXICAL):
        return assess(episode, LexicalJudge(float(name.removeprefix(LEXICAL))), native)
    reward = episode.reward
    assert reward is not None, "the caller has looked"
    task = episode.metrics.get("judge") if native is None else native
    return Assessment(
        task=Verdict(task),
        storage=Verdict(reward.storage),
        relevance=Verdict(reward.relevance),
        memory_quality=Verdict(episode.metrics.get("memory_quality")),
    )


def _differences(recorded: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for name, value in expected.items():
        found = recorded.get(name)
        if found is None or value is None:
            same = found is value
        else:
            same = math.isclose(found, value, rel_tol=0.0, abs_tol=TOLERANCE)
        if not same:
            yield f"{name} is recorded as {found}, and computed as {value}"
