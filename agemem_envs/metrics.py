"""Metrics of one recorded episode, shared by evaluation, training and the viewer.

A metric is a pure function of the record, declared once. None means not scored, which is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agemem_envs.counting import COUNTINGS
from agemem_envs.episode import UNKNOWN, Episode, MessageKind, Step
from agemem_envs.judging.abstention import canonical
from agemem_envs.judging.answers import abstains
from agemem_envs.judging.hotpot_metrics import exact_match
from agemem_envs.stages import Stage
from agemem_envs.tools import TOOLS, short_name

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Metric(Generic[R]):
    """A number that is computed from a record.

    Attributes:
        name: The name of its column.
        title: The title shown to a reader; empty for a metric that no overview shows.
        of: Computes the value for a record; None if it was not scored or is not known.
        digits: Digits after the decimal point; None for one digit below 1,000 and none above.
        interval: Whether its mean is shown with a confidence interval.
        optional: Whether its line is omitted if no record has a value.
        varying: Whether it differs between two runs that are otherwise identical.
        spending: Whether it measures the cost of a memory system's own calls.
        share: Whether its values are in [0, 1] by definition.
    """

    name: str
    title: str
    of: Callable[[R], float | None]
    digits: int | None = None
    interval: bool = False
    optional: bool = False
    varying: bool = False
    spending: bool = False
    share: bool = False


def _recorded(name: str) -> Callable[[Episode], float | None]:
    return lambda episode: episode.metrics.get(name)


def _success(episode: Episode) -> float | None:
    return None if episode.success is None else float(episode.success)


def _reward(episode: Episode) -> float | None:
    """The reward; None where the memory tools were off, since its terms measure what they do."""
    if episode.reward is None or "Add_memory" not in episode.settings.tools:
        return None
    return episode.reward.total


def mean(values: Iterable[float]) -> float | None:
    """The mean of the values; None if there are none."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def is_model_call(step: Step) -> bool:
    """Whether a language model was called, and not a fixed reply given."""
    counts = (step.prompt_tokens, step.completion_tokens, step.seconds)
    return any(count is not None for count in counts)


def prompt_tokens(episode: Episode) -> float | None:
    """Mean prompt tokens of a model call, as counted by the backbone.

    The stages that count are those of the setting ``counting``. A call without that count uses its
    context tokens, by the episode's own counter. So do all steps of a scripted agent, which calls
    no model. None if an agent with a model never called it.
    """
    calls = [step for step in episode.steps if is_model_call(step)]
    scripted = not calls and episode.metrics.get("model_calls") is None
    counted = COUNTINGS[episode.settings.counting].token_stages
    return mean(
        step.context_tokens if step.prompt_tokens is None else step.prompt_tokens
        for step in (episode.steps if scripted else calls)
        if step.stage in counted
    )


def instruction_tokens(episode: Episode) -> float | None:
    """Tokens of the system prompt: the instructions, and the schemas of the tools."""
    first = next((m for m in episode.messages if m.kind is MessageKind.SYSTEM), None)
    return None if first is None else float(first.tokens)


def building_tokens(episode: Episode) -> float | None:
    """Tokens of the model's calls that build the memory, read and written.

    Those of stages 1 and 2, and a memory system's own calls, but for those of recalling. None if
    no model was called, or if a call was not counted.
    """
    spent = _spent(episode, lambda step: step.stage is not Stage.REASONING)
    own = [episode.metrics.get(f"memory_{name}") for name in ("prompt_tokens", "completion_tokens")]
    return None if spent is None else spent + sum(own_ or 0.0 for own_ in own) - _recall(episode)


def answering_tokens(episode: Episode) -> float | None:
    """Tokens of the model's calls of stage 3, read and written, and of a memory system's recalling.

    None if no model was called, or if a call was not counted.
    """
    spent = _spent(episode, lambda step: step.stage is Stage.REASONING)
    return None if spent is None else spent + _recall(episode)


def _recall(episode: Episode) -> float:
    return episode.metrics.get("memory_recall_tokens") or 0.0


def _spent(episode: Episode, counts: Callable[[Step], bool]) -> float | None:
    calls = [step for step in episode.steps if is_model_call(step)]
    spent = 0.0
    for step in calls:
        if step.prompt_tokens is None or step.completion_tokens is None:
            return None
        if counts(step):
            spent += step.prompt_tokens + step.completion_tokens
    return spent if calls else None


def tool_calls(episode: Episode, name: str | None = None) -> float:
    """Number of calls of one tool, or of all six, in the stages of the setting ``counting``.

    Refused calls count; unknown tools do not.
    """
    counted = COUNTINGS[episode.settings.counting].tool_stages
    steps = (step for step in episode.steps if step.stage in counted)
    calls = (call.name for step in steps for call in step.calls)
    return float(sum(call == name if name else call in TOOLS for call in calls))


def malformed_rate(episode: Episode) -> float | None:
    """The share of model outputs that were outside the protocol."""
    return mean(float(step.malformed is not None) for step in episode.steps)


def stale_answer(episode: Episode) -> float | None:
    """1 if the final answer follows from a statement that does not hold; None if none could."""
    if not episode.stale_answers or episode.success is None:
        return None
    answer = episode.prediction
    stale = episode.stale_answers
    return float(answer is not None and any(exact_match(answer, text) for text in stale))


def _abstentions(episode: Episode) -> list[tuple[bool, bool]]:
    """Of each question: whether the agent had to abstain, and whether it did."""
    if episode.asked:
        return [
            (
                one.question.reference == UNKNOWN,
                one.prediction is not None and abstains(one.prediction),
            )
            for one in episode.asked
        ]
    did = episode.prediction is not None and canonical(episode.prediction) == UNKNOWN
    return [(episode.reference == UNKNOWN, did)]


def abstention_precision(episode: Episode) -> float | None:
    """Whether an abstention was right; None without one. Its mean is the precision.

    Of several questions, the share of the abstentions that were right.
    """
    if episode.interactive or episode.success is None:
        return None
    return mean(float(had_to) for had_to, did in _abstentions(episode) if did)


def abstention_recall(episode: Episode) -> float | None:
    """Whether the agent abstained where it had to; None elsewhere. Its mean is the recall.

    Of several questions, the share of those where it had to.
    """
    if episode.success is None:
        return None
    return mean(float(did) for had_to, did in _abstentions(episode) if had_to)


def _count(tool: str | None) -> Callable[[Episode], float]:
    return lambda episode: tool_calls(episode, tool)


_USAGE = {
    "llm_calls": "LLM calls",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
    "recall_tokens": "of these tokens to recall",
    "llm_errors": "failed calls",
    "seconds": "seconds",
    "parse_failures": "unusable replies",
    "failures": "exceptions",
    "dropped_writes": "messages lost",
}
"""Usage of a memory system: the fields of :class:`agemem.baselines.base.Usage`, with titles."""
_JUDGING = {
    "calls": "calls",
    "cached_calls": "of these from the cache",
    "prompt_tokens": "prompt tokens",
    "completion_tokens": "completion tokens",
}
"""Costs of a judge with their titles, in the order of the columns."""

_METRICS = (
    Metric("success", "success", _success, 3, interval=True, share=True),
    Metric("progress", "", lambda episode: episode.progress, 3, share=True),
    Metric("judge", "judge", _recorded("judge"), 3, interval=True, share=True),
    Metric("em", "EM", _recorded("em"), 3, optional=True, share=True),
    Metric("f1", "F1", _recorded("f1"), 3, optional=True, share=True),
    Metric("memory_quality", "memory quality", _recorded("memory_quality"), 3, share=True),
    Metric("stale_answer", "stale answers", stale_answer, 3, optional=True, share=True),
    Metric("stale_share", "stale memory", _recorded("stale_share"), 3, optional=True, share=True),
    Metric(
        "abstention_precision",
        "abstention precision",
        abstention_precision,
        3,
        optional=True,
        share=True,
    ),
    Metric(
        "abstention_recall", "abstention recall", abstention_recall, 3, optional=True, share=True
    ),
    Metric("reward", "reward", _reward, 3),
    Metric("prompt_tokens", "prompt tokens per call", prompt_tokens),
    Metric("instruction_tokens", "", instruction_tokens, optional=True),
    Metric("building_tokens", "tokens to build the memory", building_tokens, optional=True),
    Metric("answering_tokens", "tokens to answer", answering_tokens, optional=True),
    Metric("tool_calls", "tool calls", _count(None)),
    *(Metric(f"{short_name(tool)}_calls", "", _count(tool)) for tool in TOOLS),
    Metric("actions", "world actions", _recorded("actions"), optional=True),
    Metric(
        "agentboard_progress",
        "AgentBoard's progress",
        _recorded("agentboard_progress"),
        optional=True,
        share=True,
    ),
    Metric(
        "native_success",
        "simulator's success",
        _recorded("native_success"),
        3,
        interval=True,
        optional=True,
        share=True,
    ),
    Metric(
        "native_score",
        "simulator's score",
        _recorded("native_score"),
        3,
        optional=True,
        share=True,
    ),
    Metric("rounds", "rounds", lambda episode: float(len(episode.steps))),
    Metric("malformed_rate", "malformed outputs", malformed_rate, 3, share=True),
    *(
        Metric(
            f"memory_{name}",
            f"memory system: {title}",
            _recorded(f"memory_{name}"),
            varying=name == "seconds",
            spending=True,
        )
        for name, title in _USAGE.items()
    ),
    *(
        Metric(
            f"judge_{name}",
            f"judge: {title}",
            _recorded(f"judge_{name}"),
            optional=True,
            varying=name == "cached_calls",
        )
        for name, title in _JUDGING.items()
    ),
)

METRICS: dict[str, Metric[Episode]] = {metric.name: metric for metric in _METRICS}
"""Every metric, in the order of the columns."""
