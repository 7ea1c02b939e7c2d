"""The reward ``R(tau) = w . [R_task, R_context, R_memory] + P`` of a recorded trajectory.

Pure functions of an :class:`~agemem_envs.episode.Episode` and the judge's scores. Source:
AgeMem (arXiv 2601.01885), section on rewards; where it is open, the choice is said here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from agemem_envs.episode import Episode, Message, MessageKind, RewardBreakdown, StopReason
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.judging.judges import Case, Judge, Verdict
from agemem_envs.stages import Stage
from agemem_envs.tools import REDUCING_TOOLS


@dataclass(frozen=True, slots=True)
class RewardConfig:
    """Weights and penalties.

    Attributes:
        task_weight: Weight of R_task (paper's appendix: 1/3).
        context_weight: Weight of R_context.
        memory_weight: Weight of R_memory.
        no_answer: R_task of an episode without an answer.
        round_penalty: Added if the rounds ran out (P_rounds = -1).
        overflow_penalty: Added if the context overflowed (P_overflow = -0.5).
    """

    task_weight: float = 1 / 3
    context_weight: float = 1 / 3
    memory_weight: float = 1 / 3
    no_answer: float = -1.0
    round_penalty: float = -1.0
    overflow_penalty: float = -0.5


REWARDS: dict[str, RewardConfig] = {
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
    """A configuration from its name, a mapping of fields, or the given object itself.

    Raises:
        UnknownNameError: No configuration has this name, or no field.
        ConfigurationError: It is none of these, or a field is not a number.
    """
    if isinstance(spec, RewardConfig):
        return spec
    if isinstance(spec, str):
        if spec not in REWARDS:
            raise UnknownNameError("reward", spec, REWARDS)
        return REWARDS[spec]
    if not isinstance(spec, Mapping):
        raise ConfigurationError(f"a reward is a name or a mapping of its fields, got {spec!r}")
    names = [field.name for field in fields(RewardConfig)]
    for name, value in spec.items():
        if name not in names:
            raise UnknownNameError("reward field", name, names)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ConfigurationError(f"reward field {name} must be a number, got {value!r}")
    return RewardConfig(**spec)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What cannot be computed from the trajectory alone: the judged (or native) scores."""

    task: Verdict
    storage: Verdict
    relevance: Verdict
    memory_quality: Verdict

    @property
    def errors(self) -> tuple[str, ...]:
        """Why scores are missing."""
        return tuple(v.error for v in self._verdicts if v.error)

    @property
    def costs(self) -> dict[str, float | None]:
        """What the judge's model was asked, as metrics; empty for a judge that has none.

        Tokens are those of all verdicts, also of cached ones: what judging costs, whoever
        paid for it. None if the server does not count them.
        """
        asked = [v.cost for v in self._verdicts if v.cost is not None]
        if not asked:
            return {}
        return {
            "judge_calls": float(len(asked)),
            "judge_cached_calls": float(sum(cost.cached for cost in asked)),
            "judge_prompt_tokens": _sum(cost.prompt_tokens for cost in asked),
            "judge_completion_tokens": _sum(cost.completion_tokens for cost in asked),
        }

    @property
    def _verdicts(self) -> tuple[Verdict, ...]:
        return self.task, self.storage, self.relevance, self.memory_quality


def _sum(counts: Iterable[int | None]) -> float | None:
    total = 0.0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def assess(episode: Episode, judge: Judge, score: float | None) -> Assessment:
    """Have an episode judged.

    Args:
        episode: Finished, but for its reward.
        judge: Scores what the environment itself cannot.
        score: The environment's own task score in [0, 1]; None in question answering,
            where the judge scores the answer.
    """
    case = Case(episode.query, episode.reference, episode.gold_facts)
    if score is not None:
        task = Verdict(score)
    elif episode.prediction is None:
        task = Verdict(0.0)  # replaced by the no-answer reward
    else:
        task = _ask(judge.answer, case, episode.prediction)
    memories = [item.content for item in episode.memories]
    return Assessment(
        task=task,
        storage=_ask(judge.storage, case, stored_in_stage_1(episode)),
        relevance=_ask(judge.relevance, case, retrieved(episode)),
        memory_quality=_ask(judge.memory_quality, case, memories),
    )


def _ask(method: Callable[[Case, Any], Verdict], case: Case, material: Any) -> Verdict:
    """A judge's verdict; whatever goes wrong in a judge leaves the score open, never wrong."""
    try:
        verdict = method(case, material)
    except Exception as error:  # a judge of anyone's making
        return Verdict(None, f"judge: {type(error).__name__}: {str(error)[:200]}")
    score = verdict.score
    if score is not None and not 0.0 <= score <= 1.0:  # NaN is not either
        return Verdict(None, f"judge: {score} is not a score in [0, 1]")
    return verdict


def breakdown(
    episode: Episode, assessment: Assessment, config: RewardConfig, answered: bool
) -> RewardBreakdown:
    """All components and their total; a component that lacks a judge score is None.

    Args:
        episode: Finished, but for its reward.
        assessment: The judged scores.
        config: Weights and penalties.
        answered: Whether there is an answer; an interactive episode is answered by acting.
    """
    task = assessment.task.score if answered else config.no_answer
    compression_, preventive_ = compression(episode), preventive(episode)
    preservation_ = preservation(episode)
    context = (compression_ + preventive_ + preservation_) / 3
    storage, relevance = assessment.storage.score, assessment.relevance.score
    maintenance_ = maintenance(episode)
    memory = None
    if storage is not None and relevance is not None:
        memory = (storage + maintenance_ + relevance) / 3
    penalty_ = penalty(episode, config)
    return RewardBreakdown(
        total=_total(task, context, memory, penalty_, config),
        task=task,
        context=context,
        compression=compression_,
        preventive=preventive_,
        preservation=preservation_,
        memory=memory,
        storage=storage,
        maintenance=maintenance_,
        relevance=relevance,
        penalty=penalty_,
    )


def _total(
    task: float | None,
    context: float,
    memory: float | None,
    penalty_: float,
    config: RewardConfig,
) -> float | None:
    """The weighted sum; None if a term with a weight is unscored."""
    total = penalty_
    for weight, value in (
        (config.task_weight, task),
        (config.context_weight, context),
        (config.memory_weight, memory),
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
    """T_used: the tokens that the last call saw; after an overflow, those that overflowed."""
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
    """1 if all key items K_q were in the context when the last call was made, else 0.

    They are looked for as whole words outside the question, the system prompt and the
    model's own words (refusals quote it too); otherwise the term would be constant. A query
    without key items has nothing to lose: 1.
    """
    if not episode.steps:
        return 0.0
    shown = (episode.messages[i] for i in episode.steps[-1].visible)
    text = "\n".join(_kept_text(episode, message) for message in shown)
    return float(all(_occurs(item, text) for item in episode.key_items))


_KEPT_KINDS = frozenset(
    {MessageKind.INCOMING, MessageKind.MEMORIES, MessageKind.OBSERVATION, MessageKind.SUMMARY}
)


def _kept_text(episode: Episode, message: Message) -> str:
    """The part of a message that is information, not an echo of the model or the query."""
    if message.kind is MessageKind.TOOL_RESULT and 0 <= message.round < len(episode.steps):
        return "\n".join(r.text for r in episode.steps[message.round].results if r.ok)
    return message.content if message.kind in _KEPT_KINDS else ""


def _occurs(item: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(item)}(?!\w)", text, re.IGNORECASE) is not None


def maintenance(episode: Episode) -> float:
    """1 if any update or delete was carried out, else 0."""
    return float(any(True for _ in episode.results("Update_memory", "Delete_memory")))


def penalty(episode: Episode, config: RewardConfig) -> float:
    """The round penalty if the rounds ran out, plus the overflow penalty if T_used > T_max.

    The environment ends an episode at N_max instead of letting it go on, so "rounds >
    N_max" reads as: the limit was reached without an end.
    """
    total = 0.0
    if episode.stop_reason is StopReason.ROUND_LIMIT:
        total += config.round_penalty
    overflowed = episode.stop_reason is StopReason.CONTEXT_OVERFLOW
    if overflowed or used_tokens(episode) > episode.settings.max_context_tokens:
        total += config.overflow_penalty
    return total


def stored_in_stage_1(episode: Episode) -> list[str]:
    """Contents of the entries added in stage 1, as they were written."""
    added = episode.results("Add_memory", stage=Stage.CONSTRUCTION)
    return [str(result.data["content"]) for _, result in added]


def retrieved(episode: Episode) -> list[str]:
    """Distinct contents that Retrieve_memory brought up in stage 3, when the query is known."""
    found = episode.results("Retrieve_memory", stage=Stage.REASONING)
    items: list[dict[str, Any]] = [i for _, result in found for i in result.data["items"]]
    return list(dict.fromkeys(str(item["content"]) for item in items))


_NAME = r"[A-Z][\w'’.-]*(?:\s+(?:(?:of|the|de|von|van|la|el)\s+)*[A-Z0-9][\w'’.-]*)*"
_KEY_ITEM = re.compile(rf'"([^"]{{2,80}})"|({_NAME})|(\b\d[\d,.:-]*\b)')
_QUESTION_WORDS = frozenset(
    (
        "what which who whom whose when where why how is are was were do does did in on at of "
        "the a an and or both between name find put your you it if for from to with by"
    ).split()
)


def key_items(query: str) -> tuple[str, ...]:
    """K_q: quoted titles, capitalised names and numbers of a query, in order.

    A question word that opens the query is not part of a name ("Which Smith" -> "Smith").
    """
    items = []
    for quoted, name, number in _KEY_ITEM.findall(query):
        words = (quoted or name or number).strip(" .,").split()
        if not quoted:
            while words and words[0].lower() in _QUESTION_WORDS:
                words.pop(0)
        if words:
            items.append(re.sub(r"['’]s?$", "", " ".join(words)))
    return tuple(dict.fromkeys(item for item in items if len(item) > 1))
