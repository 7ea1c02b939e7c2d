"""The reward ``R(tau) = w . [R_task, R_context, R_memory] + P`` of a recorded trajectory.

Pure functions of an :class:`~agemem_envs.episode.Episode` and the judge's scores. Source:
AgeMem (arXiv 2601.01885), section on rewards; where the paper leaves a choice, the docstring
states it. The reward ``effective`` is this project's: see :mod:`agemem_envs.judging.effective`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from agemem_envs.counting import COUNTINGS
from agemem_envs.episode import UNKNOWN, Asked, Episode, RewardBreakdown, StopReason
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.judging import effective
from agemem_envs.judging.abstention import canonical
from agemem_envs.judging.answers import abstains, answer_score
from agemem_envs.judging.judges import Case, Judge, Verdict
from agemem_envs.judging.kept import kept_text, occurs
from agemem_envs.stages import Stage
from agemem_envs.tools import REDUCING_TOOLS


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """Weights and penalties.

    Attributes:
        task_weight: Weight of R_task (paper's appendix: 1/3).
        context_weight: Weight of R_context.
        memory_weight: Weight of R_memory.
        no_answer: R_task of an episode without an answer (-1).
        round_penalty: Added if the rounds run out (P_rounds = -1).
        overflow_penalty: Added if the context overflows (P_overflow = -0.5).
        effective: Whether context and memory count by the effect of the calls, and only if the
            task succeeded, as :mod:`agemem_envs.judging.effective` defines it. Otherwise the
            formula is the paper's.
    """

    task_weight: float = 1 / 3
    context_weight: float = 1 / 3
    memory_weight: float = 1 / 3
    no_answer: float = -1.0
    round_penalty: float = -1.0
    overflow_penalty: float = -0.5
    effective: bool = False


REWARDS: dict[str, RewardConfig] = {
    "effective": RewardConfig(effective=True),
    "all-returns": RewardConfig(),
    "answer-only": RewardConfig(
        task_weight=1.0,
        context_weight=0.0,
        memory_weight=0.0,
        round_penalty=0.0,
        overflow_penalty=0.0,
    ),
}
"""Named configurations; ``answer-only`` is the paper's reward ablation."""


def make_reward(spec: str | Mapping[str, float] | RewardConfig) -> RewardConfig:
    """Make a configuration from its name or a mapping of fields, or return the given one.

    Raises:
        UnknownNameError: The name of the configuration or of a field is unknown.
        ConfigurationError: ``spec`` is of another type, or a field is not a finite number.
    """
    if isinstance(spec, RewardConfig):
        return spec
    if isinstance(spec, str):
        if spec not in REWARDS:
            raise UnknownNameError("reward", spec, REWARDS)
        return REWARDS[spec]
    if not isinstance(spec, Mapping):
        raise ConfigurationError(f"reward must be a name or a mapping of fields, got {spec!r}")
    names = [field.name for field in fields(RewardConfig)]
    for name, value in spec.items():
        if name not in names:
            raise UnknownNameError("reward field", name, names)
        if name == "effective":
            if not isinstance(value, bool):
                raise ConfigurationError(f"reward field effective must be a bool, got {value!r}")
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ConfigurationError(f"reward field {name} must be a finite number, got {value!r}")
    return RewardConfig(**spec)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Assessment:
    """The scores that a judge or the environment gives; the trajectory alone does not.

    Attributes:
        task: R_task, unless there is no answer; of several questions, the mean.
        storage: The quality of the entries of stage 1; not asked for under ``effective``.
        relevance: The relevance of the retrieved memories; not asked for under ``effective``.
        memory_quality: MQ, a metric that is not part of the reward.
        answers: The score of the answer to each of several questions.
    """

    task: Verdict
    storage: Verdict
    relevance: Verdict
    memory_quality: Verdict
    answers: tuple[Verdict, ...] = ()

    @property
    def errors(self) -> tuple[str, ...]:
        """The errors of the missing scores."""
        return tuple(v.error for v in self._verdicts if v.error)

    @property
    def costs(self) -> dict[str, float | None]:
        """The cost of the judge's model, as metrics; empty for a judge without a model.

        The tokens include those of cached replies. They are None if the server does not
        count them.
        """
        costs = [v.cost for v in self._verdicts if v.cost is not None]
        if not costs:
            return {}
        return {
            "judge_calls": float(len(costs)),
            "judge_cached_calls": float(sum(cost.cached for cost in costs)),
            "judge_prompt_tokens": _sum(cost.prompt_tokens for cost in costs),
            "judge_completion_tokens": _sum(cost.completion_tokens for cost in costs),
        }

    @property
    def _verdicts(self) -> tuple[Verdict, ...]:
        return self.task, *self.answers, self.storage, self.relevance, self.memory_quality


def _sum(counts: Iterable[int | None]) -> float | None:
    total = 0.0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


_NOT_ASKED = Verdict(None)


def assess(
    episode: Episode,
    judge: Judge,
    score: float | None,
    config: RewardConfig = RewardConfig(),
) -> Assessment:
    """Let a judge score an episode.

    Args:
        episode: A finished episode, without its reward.
        judge: Scores what the environment cannot.
        score: The environment's own task score in [0, 1]; None in question answering, where
            the judge scores the answer.
        config: The reward; ``effective`` needs no judge for storage and relevance.
    """
    case = Case.of(episode)
    answers = tuple(_answer(judge, one) for one in episode.asked)
    if score is not None:
        task = Verdict(score)
    elif answers:
        task = _mean(answers)
    elif episode.prediction is None:
        task = Verdict(0.0)  # replaced by the no-answer reward
    else:
        task = _ask(judge.answer, case, canonical(episode.prediction))
    storage = relevance = _NOT_ASKED
    if not config.effective:
        storage = _ask(judge.storage, case, stored_in_stage_1(episode))
        relevance = _ask(judge.relevance, case, retrieved(episode))
    quality = _NOT_ASKED
    counting = COUNTINGS[episode.settings.counting]
    judges_all = counting.judged_memories is None and not episode.asked
    if episode.memories_listed and (case.gold_facts or judges_all):
        quality = _ask(judge.memory_quality, case, judged_memories(episode))
    return Assessment(task, storage, relevance, quality, answers)


def _answer(judge: Judge, asked: Asked) -> Verdict:
    """The judge's score of the answer to one of several questions; 0 without an answer.

    The best comparison with a right answer counts. An abstention needs no judge.
    """
    if asked.prediction is None:
        return Verdict(0.0)
    said, verdicts = asked.prediction, []
    for right in asked.question.right_answers:
        if right == UNKNOWN or abstains(said):
            verdicts.append(Verdict(float(right == UNKNOWN and abstains(said))))
        elif asked.question.reference == UNKNOWN:  # accepted beside an abstention, as it is
            verdicts.append(Verdict(answer_score(asked.question, said)))
        else:
            verdicts.append(_ask(judge.answer, Case.asking(asked.question, right), said))
    missing = (verdict for verdict in verdicts if verdict.score is None)
    return next(missing, None) or max(verdicts, key=lambda verdict: verdict.score or 0.0)


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    """The mean of some scores; none if one is missing."""
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    return Verdict(fmean(scores) if len(scores) == len(verdicts) else None)


def judged_memories(episode: Episode) -> list[str]:
    """The contents of the memories that memory quality judges."""
    if episode.judged is None:
        return [item.content for item in episode.memories]
    contents = {item.id: item.content for item in episode.memories}
    return [contents[id_] for id_ in episode.judged]


def _ask(method: Callable[[Case, Any], Verdict], case: Case, material: Any) -> Verdict:
    """Ask a judge. An exception or an invalid score gives a verdict without a score."""
    try:
        verdict = method(case, material)
    except Exception as error:  # a judge may be anybody's code
        return Verdict(None, f"judge: {type(error).__name__}: {str(error)[:200]}")
    score = verdict.score
    if score is not None and not 0.0 <= score <= 1.0:  # true for NaN too
        return Verdict(None, f"judge: {score} is not a score in [0, 1]")
    return verdict


def breakdown(
    episode: Episode, assessment: Assessment, config: RewardConfig, answered: bool
) -> RewardBreakdown:
    """Compute all components and their total; a component without its judge score is None.

    Args:
        episode: A finished episode, without its reward.
        assessment: The judged scores.
        config: Weights and penalties.
        answered: Whether there is an answer; in an interactive world, any action is one.
    """
    task = assessment.task.score if answered else config.no_answer
    if config.effective:
        parts = _effective_parts(episode, task, config)
    else:
        parts = _paper_parts(episode, assessment, config)
    compression_ = compression(episode)
    context = (compression_ + parts.preventive + parts.preservation) / 3
    total = _total(task, context, parts.memory, parts, config)
    if config.effective and config.memory_weight and not episode.memories_listed:
        total = None  # also where the gate is 0: a mean must not be one over failures alone
    return RewardBreakdown(
        total=total,
        task=task,
        context=context,
        compression=compression_,
        preventive=parts.preventive,
        preservation=parts.preservation,
        memory=parts.memory,
        storage=parts.storage,
        maintenance=parts.maintenance,
        relevance=parts.relevance,
        penalty=parts.penalty,
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the rewards compute differently; ``gate`` is the share of context and memory."""

    preventive: float
    preservation: float
    storage: float | None
    maintenance: float | None
    relevance: float | None
    penalty: float
    gate: float = 1.0

    @property
    def memory(self) -> float | None:
        """R_memory: None without a judge's score. Maintenance that does not apply is left out."""
        if self.storage is None or self.relevance is None:
            return None
        parts = (self.storage, self.maintenance, self.relevance)
        values = [part for part in parts if part is not None]
        return sum(values) / len(values)


def _paper_parts(episode: Episode, assessment: Assessment, config: RewardConfig) -> _Parts:
    return _Parts(
        preventive=preventive(episode),
        preservation=preservation(episode),
        storage=assessment.storage.score,
        maintenance=maintenance(episode),
        relevance=assessment.relevance.score,
        penalty=penalty(episode, config),
    )


def _effective_parts(episode: Episode, task: float | None, config: RewardConfig) -> _Parts:
    record = effective.Reading(episode)
    return _Parts(
        preventive=record.prevention(),
        preservation=record.preservation(),
        storage=record.storage() if episode.memories_listed else None,
        maintenance=record.maintenance() if episode.memories_listed else None,
        relevance=record.relevance(retrieved(episode)),
        penalty=_round_penalty(episode, config),
        gate=_gate(episode, task),
    )


def _round_penalty(episode: Episode, config: RewardConfig) -> float:
    share = effective.share_ended_badly(episode)
    return config.round_penalty * share if share else 0.0


def _gate(episode: Episode, task: float | None) -> float:
    """The share of context and memory: that of the questions' points, or all or nothing."""
    if episode.asked:
        return episode.progress or 0.0
    return float(bool(episode.success) or task == 1.0)


def _total(
    task: float | None,
    context: float,
    memory: float | None,
    parts: _Parts,
    config: RewardConfig,
) -> float | None:
    """The weighted sum; None if a term with a non-zero weight has no score."""
    total = parts.penalty
    for weight, value in (
        (config.task_weight, task),
        (parts.gate * config.context_weight, context),
        (parts.gate * config.memory_weight, memory),
    ):
        if weight:
            if value is None:
                return None
            total += weight * value
    return total


def compression(episode: Episode) -> float:
    """``max(0, 1 - T_used / T_max)``."""
    if not episode.steps:
        return 0.0
    budget = float(episode.settings.max_context_tokens)
    return max(0.0, 1.0 - used_tokens(episode) / budget)


def used_tokens(episode: Episode) -> int:
    """T_used: the tokens at the last model call; after an overflow, those at the end."""
    if episode.stop_reason is StopReason.CONTEXT_OVERFLOW:
        return episode.final_tokens
    return episode.steps[-1].context_tokens if episode.steps else 0


def preventive(episode: Episode) -> float:
    """1 if a context-reducing tool was carried out before any overflow, else 0."""
    budget = episode.settings.max_context_tokens
    for step in episode.steps:
        if step.context_tokens > budget:
            return 0.0
        if any(result.ok and result.name in REDUCING_TOOLS for result in step.results):
            return 1.0
    return 0.0


def preservation(episode: Episode) -> float:
    """1 if all key items K_q were in the context at the last model call, else 0.

    They are searched as whole words, outside the question, the system prompt and the model's
    own words (which refused tool calls quote); otherwise the term would be constant. For a
    query without key items it is 1.
    """
    if not episode.steps:
        return 0.0
    visible = (episode.messages[i] for i in episode.steps[-1].visible)
    text = "\n".join(kept_text(episode, message) for message in visible)
    return float(all(occurs(item, text) for item in episode.key_items))


def maintenance(episode: Episode) -> float:
    """1 if any update or delete succeeded, else 0."""
    return float(any(True for _ in episode.results("Update_memory", "Delete_memory")))


def penalty(episode: Episode, config: RewardConfig) -> float:
    """The round penalty if the rounds ran out, plus the overflow penalty if T_used > T_max.

    The environment truncates an episode at N_max, so the paper's "rounds > N_max" means here
    that the limit was reached. Of several questions, each has its share.
    """
    if episode.asked:
        costs = {
            StopReason.ROUND_LIMIT: config.round_penalty,
            StopReason.CONTEXT_OVERFLOW: config.overflow_penalty,
        }
        return fmean(costs.get(one.ended, 0.0) if one.ended else 0.0 for one in episode.asked)
    total = 0.0
    if episode.stop_reason is StopReason.ROUND_LIMIT:
        total += config.round_penalty
    overflowed = episode.stop_reason is StopReason.CONTEXT_OVERFLOW
    if overflowed or used_tokens(episode) > episode.settings.max_context_tokens:
        total += config.overflow_penalty
    return total


def stored_in_stage_1(episode: Episode) -> list[str]:
    """The contents of the entries added in stage 1, as they were written."""
    added = episode.results("Add_memory", stage=Stage.CONSTRUCTION)
    return [str(result.data["content"]) for _, result in added]


def retrieved(episode: Episode) -> list[str]:
    """The distinct contents that Retrieve_memory returned in stage 3, which has the query."""
    retrievals = episode.results("Retrieve_memory", stage=Stage.REASONING)
    items: list[dict[str, Any]] = [i for _, result in retrievals for i in result.data["items"]]
    return list(dict.fromkeys(str(item["content"]) for item in items))
