"""Records of one episode: frozen dataclasses, converted to JSON and back without loss.

An :class:`Episode` holds every message that was ever in the context, once, and for each step
the ids of the messages that were visible. The exact input of the model at any step can
therefore be rebuilt, whatever was filtered or summarised afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.stages import Stage
from agemem_envs.util.records import Int, Number, from_line, to_line

FORMAT = 2
"""The format of episode records. 0 means before formats were numbered, without ``interactive``;
1 was before protocols, changes and action limits."""
UNKNOWN = "unknown"
"""The reference answer, and the answer to give, if the facts do not say."""

MAX_GOLD_FACTS = 1_000
"""Most gold facts of a record, far above any task's: each is compared with what was stored."""
GoldFacts = Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_GOLD_FACTS)]
Role = Literal["system", "user", "assistant"]


class MessageKind(StrEnum):
    """The kind of a message, which determines its chat role.

    Attributes:
        role: The chat role under which a model sees this kind of message.
    """

    role: Role

    SYSTEM = "system"
    INCOMING = "incoming"
    """A message of stage 1 or 2: conversation that conveys information."""
    QUERY = "query"
    """The question or the goal, in stage 3."""
    MEMORIES = "memories"
    """The memories that stage 1 retrieves automatically."""
    RECALLED = "recalled"
    """The memories that an agent retrieved by itself for its next model call."""
    OBSERVATION = "observation"
    """The reply of an interactive world to an action."""
    TOOL_RESULT = "tool_result"
    SUMMARY = "summary"
    FEEDBACK = "feedback"
    """The environment's reply to a malformed action."""
    ASSISTANT = "assistant"

    def __init__(self, value: str) -> None:
        # An attribute, not a property, because it is read for every message at every step.
        self.role = "user"
        if value == "system":
            self.role = "system"
        elif value == "assistant":
            self.role = "assistant"


class StopReason(StrEnum):
    """Why an episode ended. The last two are infrastructure failures, not failures of the model."""

    ANSWERED = "answered"
    WORLD_ENDED = "world_ended"
    ROUND_LIMIT = "round_limit"
    CONTEXT_OVERFLOW = "context_overflow"
    ENDPOINT_ERROR = "endpoint_error"
    ENVIRONMENT_ERROR = "environment_error"

    @property
    def scored(self) -> bool:
        """Whether the outcome is attributed to the agent, and so scored."""
        return self not in (StopReason.ENDPOINT_ERROR, StopReason.ENVIRONMENT_ERROR)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the context.

    Attributes:
        id: Its number within the episode, from 0; also its index in ``Episode.messages``.
        kind: The kind of message.
        content: The text.
        tokens: Its tokens in the context, by the episode's token counter.
        round: The step during which it was written, from 0; -1 before the first.
    """

    id: Int
    kind: MessageKind
    content: str
    tokens: Int
    round: Int = -1


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call as the model wrote it."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call.

    Attributes:
        name: Name of the tool.
        ok: False if the call was refused; ``text`` then states the reason.
        text: The text that the model is shown.
        data: The effect as data, for rewards and the viewer; see each tool's docstring.
    """

    name: str
    ok: bool
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One model call and its effect.

    Attributes:
        index: Position of the step in the episode, from 0.
        stage: The stage in which the call was made.
        visible: Ids of the messages in the context at the time of the call, in order.
        context_tokens: The tokens of these messages, T_used of this call.
        action: The model's raw text; a malformed one is clipped.
        thought: The text within ``<think>``; empty if malformed.
        calls: The tool calls; empty for an answer.
        results: One result for each call.
        answer: The text within ``<answer>``, or None.
        malformed: Why the action could not be parsed, or None.
        observation: The reply of an interactive world, or None.
        prompt_tokens: Prompt tokens as counted by the backbone, or None.
        completion_tokens: Completion tokens as counted by the backbone, or None.
        seconds: Wall time of the model call, or None if it was not measured.
    """

    index: Int
    stage: Stage
    visible: tuple[Int, ...]
    context_tokens: Int
    action: str
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    answer: str | None = None
    malformed: str | None = None
    observation: str | None = None
    prompt_tokens: Int | None = None
    completion_tokens: Int | None = None
    seconds: Number | None = None


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """The tokens of a model call as its engine sampled them, for a trainer.

    Attributes:
        completion_ids: Token ids of the completion.
        prompt_ids: Token ids of the prompt, or None if the engine did not return them.
        logprobs: Log-probability of each token of the completion, or None.
    """

    completion_ids: tuple[Int, ...]
    prompt_ids: tuple[Int, ...] | None = None
    logprobs: tuple[Number, ...] | None = None


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One long-term memory.

    Attributes:
        id: The id, which never changes and is never reused ("m1", "m2", ...).
        content: The text that is embedded and shown.
        metadata: Arbitrary key-value pairs, chosen by the writer.
        memory_type: A label chosen by the writer ("fact", "rule", ...), or None.
        created_at: The store's clock when it was added (by default: the number of writes so far).
        updated_at: The store's clock at the last update, or None.
    """

    id: str
    content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    memory_type: str | None = None
    created_at: Number = 0.0
    updated_at: Number | None = None


@dataclass(frozen=True, slots=True)
class DataSource:
    """The data source of a task. Results of different sources are never averaged together.

    Attributes:
        name: The data set, e.g. ``hotpotqa``.
        kind: ``embedded``, ``file`` or ``hub``.
        split: ``train``, ``validation``, ``test``, or a split name of the benchmark.
        version: A content hash, a hub revision or a generator version.
        location: The name of the file or the hub id; never an absolute path.
    """

    name: str
    kind: Literal["embedded", "file", "hub"]
    split: str
    version: str
    location: str

    def __str__(self) -> str:
        return f"{self.name}/{self.split} ({self.kind}: {self.location}@{self.version})"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what is true, or of what was said, that a message of stage 1 or 2 announces.

    Attributes:
        stale: The statement that does not hold, as it was told: before the change, or, for a
            rumour, by the message itself.
        valid: The statement that holds. For a fact that was withdrawn, it says that the fact is
            not known.
        needed: Whether the task needs the valid statement.
        message: Index of the announcing message: of stage 1, then of stage 2.
    """

    stale: str
    valid: str
    needed: bool
    message: Int


Scoring = Literal["whole", "list"]


@dataclass(frozen=True, slots=True)
class Question:
    """One of several questions about one memory.

    Attributes:
        id: The benchmark's own id.
        query: The question.
        reference: The expected answer; :data:`UNKNOWN` if what was told does not say.
        category: The benchmark's type of question.
        gold_facts: The statements that answer it.
        accepted: Other answers that are right.
        scoring: Whether an answer is compared as a whole or as a list, by the names of
            :data:`agemem_envs.judging.answers.SCORINGS`.
    """

    id: str
    query: str
    reference: str
    category: str = ""
    gold_facts: GoldFacts = ()
    accepted: tuple[str, ...] = ()
    scoring: Scoring = "whole"

    @property
    def right_answers(self) -> tuple[str, ...]:
        """The reference, and the other answers that are right."""
        return (self.reference, *self.accepted)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was asked, and what came of it.

    Attributes:
        question: The question.
        prediction: The answer, or None.
        score: The score of the answer in [0, 1], by
            :func:`agemem_envs.judging.answers.answer_score`; 0 without an answer.
        ended: Why the question ended: it was answered, or its rounds ran out, or the context
            overflowed. None if it was never asked because the episode was abandoned.
        judged: The judge's score of the answer in [0, 1]; None if it failed or was not asked.
    """

    question: Question
    prediction: str | None = None
    score: Number = 0.0
    ended: StopReason | None = None
    judged: Number | None = None


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """Every component of ``R(tau)``; None where a judge failed (unscored, never zero).

    Under the reward ``effective``, ``preventive`` is the share of the arriving tokens that was
    freed, and ``maintenance`` is None if nothing changed that the task needs.

    Ranges: ``task`` is in [0, 1], or the no-answer penalty (-1 by default); the other
    components are in [0, 1]; ``penalty`` is at most 0. Source: AgeMem, section on rewards.
    """

    total: Number | None
    task: Number | None
    context: Number
    compression: Number
    preventive: Number
    preservation: Number
    memory: Number | None
    storage: Number | None
    maintenance: Number | None
    relevance: Number | None
    penalty: Number


@dataclass(frozen=True, slots=True)
class Episode:
    """The complete record of an episode; every reward and metric is computed from it.

    Attributes:
        env_id: The Gymnasium id, or the task's name if the env was not made by ``gym.make``.
        task_id: The benchmark's id of the task.
        seed: The seed passed to ``reset``, or None.
        source: The data source of the task.
        category: The benchmark's task type, e.g. ``bridge``.
        difficulty: The benchmark's difficulty level, e.g. ``hard``; empty if it has none.
        query: The question or goal of stage 3.
        reference: The expected answer; empty in interactive worlds.
        gold_facts: The statements that the task needs, as they hold at the query.
        key_items: The names, numbers and times of the task's goal (K_q).
        settings: The environment's settings, with every name resolved.
        changes: The changes that stages 1 and 2 announced, in order.
        stale_answers: Answers that would follow from statements that do not hold.
        action_limit: Most actions of this task in its world; None in question answering, and in
            records of older formats.
        interactive: Whether the task is an interactive world; otherwise it is a question.
        messages: Every message that was ever in the context, ordered by id.
        steps: One entry for each model call.
        final_tokens: Tokens in the context at the end.
        memories: The long-term memory at the end.
        memories_listed: Whether these are known: a memory system of the agent's own may not be
            able to list what it holds. If not, memory quality is missing.
        judged: Ids of the memories that memory quality judges, the most similar to the question
            first; None for all.
        stop_reason: Why it ended; None while it is in progress.
        prediction: The final answer, or None.
        success: Success as the benchmark defines it; None if the episode was not scored.
        progress: Progress in [0, 1] as the benchmark defines it; None if not scored.
        metrics: Further scores in [0, 1], and counts; a missing judge score is None.
        reward: The reward breakdown; None if the episode was not scored.
        errors: Failures outside the agent: of the judge, an endpoint or the environment.
        sampled: The tokens of each step's model call, None for a step without; empty if the engine
            returned none.
        questions: The questions of stage 3, if the task asks several about one memory. Their
            predictions and scores replace ``prediction`` and ``reference``: the former is the last
            answer, the latter is empty unless there is one question. Left out of the records of
            other tasks.
    """

    env_id: str
    task_id: str
    seed: Int | None
    source: DataSource
    category: str
    difficulty: str
    query: str
    reference: str
    gold_facts: GoldFacts
    key_items: tuple[str, ...]
    settings: EpisodeSettings
    changes: tuple[Change, ...] = ()
    stale_answers: tuple[str, ...] = ()
    action_limit: Int | None = None
    interactive: bool = False
    messages: tuple[Message, ...] = ()
    steps: tuple[Step, ...] = ()
    final_tokens: Int = 0
    memories: tuple[MemoryItem, ...] = ()
    memories_listed: bool = True
    judged: tuple[str, ...] | None = None
    stop_reason: StopReason | None = None
    prediction: str | None = None
    success: bool | None = None
    progress: Number | None = None
    metrics: dict[str, Number | None] = field(default_factory=dict)
    reward: RewardBreakdown | None = None
    errors: tuple[str, ...] = ()
    sampled: tuple[SampledTokens | None, ...] = ()
    questions: tuple[Asked, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def asked(self) -> tuple[Asked, ...]:
        """The questions of a task that asks several; empty for any other task."""
        return () if self.questions is msgspec.UNSET else self.questions

    @classmethod
    def unplayed(
        cls,
        env_id: str,
        task_id: str,
        seed: int | None,
        source: DataSource,
        settings: EpisodeSettings,
        error: str,
    ) -> Episode:
        """The record of an episode that could not be played because infrastructure failed."""
        return cls(
            env_id=env_id,
            task_id=task_id,
            seed=seed,
            source=source,
            category="",
            difficulty="",
            query="",
            reference="",
            gold_facts=(),
            key_items=(),
            settings=settings,
            stop_reason=StopReason.ENVIRONMENT_ERROR,
            errors=(error,),
        )

    def results(self, *names: str, stage: Stage | None = None) -> Iterator[tuple[Step, ToolResult]]:
        """Yield the successful results of the named tools, in order, with their steps."""
        for step in self.steps:
            if stage is None or step.stage is stage:
                for result in step.results:
                    if result.ok and result.name in names:
                        yield step, result

    def to_json(self) -> str:
        """Encode as one line of ASCII JSON, which preserves any Unicode, even lone surrogates."""
        return to_line(self, FORMAT)

    @classmethod
    def from_json(cls, line: str) -> Episode:
        """Decode a line: the inverse of :meth:`to_json`.

        Raises:
            ValueError: The line is not JSON, lacks a field of the record, or has a newer format.
        """
        episode, version = from_line(cls, line, FORMAT)
        return episode.upgraded(version)

    def upgraded(self, version: int) -> Episode:
        """Convert a record that was read from an older format to the current one.

        Args:
            version: The format of the line that it was read from.
        """
        if version >= 2:
            return self
        reward = {**self.settings.reward, "effective": False}
        settings = replace(self.settings, protocol=self.settings.stages, reward=reward)
        interactive = self.interactive or (version == 0 and "actions" in self.metrics)
        return replace(self, settings=settings, interactive=interactive)
