"""Records of one episode: frozen, complete, and JSON both ways.

An :class:`Episode` holds every message that ever stood in the context, once, and for
each step the ids of the messages that were visible. What the model saw at any step can
therefore be rebuilt exactly, however much was filtered or summarised afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from functools import cache
from typing import Any, Literal, TypeVar

from agemem_envs.stages import Stage

Role = Literal["system", "user", "assistant"]


class MessageKind(StrEnum):
    """What a message is to the environment; its chat role follows from it.

    Attributes:
        role: The chat role under which a model sees this kind of message.
    """

    role: Role

    SYSTEM = "system"
    INCOMING = "incoming"
    """A message of stage 1 or 2: casual talk that carries information."""
    QUERY = "query"
    """The question or the goal, in stage 3."""
    MEMORIES = "memories"
    """The automatic retrieval of stage 1."""
    OBSERVATION = "observation"
    """What an interactive world answered to an action."""
    TOOL_RESULT = "tool_result"
    SUMMARY = "summary"
    FEEDBACK = "feedback"
    """The environment's reply to a malformed action."""
    ASSISTANT = "assistant"

    def __init__(self, value: str) -> None:
        # An attribute, not a property: it is read for every message at every step.
        self.role = "user"
        if value == "system":
            self.role = "system"
        elif value == "assistant":
            self.role = "assistant"


class StopReason(StrEnum):
    """Why an episode ended. The last two are failures of the surroundings, not of the model."""

    ANSWERED = "answered"
    WORLD_ENDED = "world_ended"
    ROUND_LIMIT = "round_limit"
    CONTEXT_OVERFLOW = "context_overflow"
    ENDPOINT_ERROR = "endpoint_error"
    ENVIRONMENT_ERROR = "environment_error"

    @property
    def scored(self) -> bool:
        """Whether the outcome says anything about the agent."""
        return self not in (StopReason.ENDPOINT_ERROR, StopReason.ENVIRONMENT_ERROR)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the context.

    Attributes:
        id: Its number within the episode, from 0; also its index in ``Episode.messages``.
        kind: What it is to the environment.
        content: The text.
        tokens: Its cost in the context, by the episode's token counter.
        round: The step during which it was written, from 0; -1 before the first.
    """

    id: int
    kind: MessageKind
    content: str
    tokens: int
    round: int = -1


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call as the model wrote it."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool call did.

    Attributes:
        name: The tool.
        ok: False if the call was refused; ``text`` then says why.
        text: What the model is shown.
        data: The effect as data, for rewards and viewers; see each tool's docstring.
    """

    name: str
    ok: bool
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One model call and its effect.

    Attributes:
        index: From 0.
        stage: The stage in which the call was made.
        visible: Ids of the messages in the context at the time of the call, in order.
        context_tokens: Their tokens: the T_used of this call.
        action: The model's raw text (clipped if it was over the length limit).
        thought: The text within ``<think>``; empty if malformed.
        calls: The tool calls; empty for an answer.
        results: One result a call.
        answer: The text within ``<answer>``, or None.
        malformed: Why the action could not be parsed, or None.
        observation: What an interactive world replied, or None.
        prompt_tokens: Prompt tokens as the backbone counted them, if it did.
        completion_tokens: Completion tokens as the backbone counted them, if it did.
        seconds: Wall time of the model call, if it was measured.
    """

    index: int
    stage: Stage
    visible: tuple[int, ...]
    context_tokens: int
    action: str
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    answer: str | None = None
    malformed: str | None = None
    observation: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class MemoryItem:
    """One long-term memory.

    Attributes:
        id: Stable for the item's life, never reused ("m1", "m2", ...).
        content: The text that is embedded and shown.
        metadata: Free key-value pairs of the writer.
        memory_type: Free label of the writer ("fact", "rule", ...), or None.
        created_at: The store's clock when it was added (by default: writes so far).
        updated_at: The clock of the last update, or None.
    """

    id: str
    content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    memory_type: str | None = None
    created_at: float = 0.0
    updated_at: float | None = None


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where the task of an episode came from; rows of different sources never mix.

    Attributes:
        name: The data set, e.g. ``hotpotqa``.
        kind: ``embedded``, ``file`` or ``hub``.
        split: ``train``, ``validation``, ``test``, or the benchmark's own name of a split.
        version: A content hash, a hub revision or a generator version.
        location: The file's name or the hub id; no path of this machine.
    """

    name: str
    kind: Literal["embedded", "file", "hub"]
    split: str
    version: str
    location: str

    def __str__(self) -> str:
        return f"{self.name}/{self.split} ({self.kind}: {self.location}@{self.version})"


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """Every component of ``R(tau)``; None where a judge failed (unscored, never zero).

    Ranges: ``task`` is in [0, 1], or the no-answer penalty (-1 by default); the other
    components are in [0, 1]; ``penalty`` is at most 0. Source: AgeMem, section on rewards.
    """

    total: float | None
    task: float | None
    context: float
    compression: float
    preventive: float
    preservation: float
    memory: float | None
    storage: float | None
    maintenance: float
    relevance: float | None
    penalty: float


@dataclass(frozen=True, slots=True)
class Episode:
    """One whole episode, from which every reward and metric is computed.

    Attributes:
        env_id: The Gymnasium id, or the task's name if the env was made by hand.
        task_id: The benchmark's own id of the task.
        seed: The seed passed to ``reset``, or None.
        source: Where the task came from.
        category: The benchmark's task type, e.g. ``bridge``.
        difficulty: The benchmark's own level, e.g. ``hard``; empty if it has none.
        query: The question or goal of stage 3.
        reference: The expected answer; empty in interactive worlds.
        gold_facts: The facts that answer the query.
        key_items: Names, numbers and times of the query (K_q).
        settings: Budgets and the names of encoder, judge, summarizer and counter.
        messages: Every message that was ever in the context, by id.
        steps: One entry a model call.
        final_tokens: Tokens in the context at the end.
        memories: The long-term memory at the end.
        stop_reason: Why it ended; None while it is under way.
        prediction: The final answer, or None.
        success: The benchmark's own success; None if the episode was not scored.
        progress: The benchmark's own progress in [0, 1]; None if not scored.
        metrics: Further scores in [0, 1], and counts; a missing judge score is None.
        reward: The reward breakdown; None if the episode was not scored.
        errors: What failed around the model: judge, endpoint, environment.
    """

    env_id: str
    task_id: str
    seed: int | None
    source: DataSource
    category: str
    difficulty: str
    query: str
    reference: str
    gold_facts: tuple[str, ...]
    key_items: tuple[str, ...]
    settings: dict[str, Any]
    messages: tuple[Message, ...] = ()
    steps: tuple[Step, ...] = ()
    final_tokens: int = 0
    memories: tuple[MemoryItem, ...] = ()
    stop_reason: StopReason | None = None
    prediction: str | None = None
    success: bool | None = None
    progress: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    reward: RewardBreakdown | None = None
    errors: tuple[str, ...] = ()

    @classmethod
    def unplayed(
        cls,
        env_id: str,
        task_id: str,
        seed: int | None,
        source: DataSource,
        settings: dict[str, Any],
        error: str,
    ) -> Episode:
        """The record of an episode that could not be played, through no fault of the agent."""
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
        """Successful tool results by these names, in order, with their steps."""
        for step in self.steps:
            if stage is None or step.stage is stage:
                for result in step.results:
                    if result.ok and result.name in names:
                        yield step, result

    def to_json(self) -> str:
        """One line of JSON; pure ASCII, so any Unicode (lone surrogates too) survives a file."""
        return json.dumps(encode(self), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Episode:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: The line is not JSON or lacks a field of the record.
        """
        return decode(cls, parse_json(line))


T = TypeVar("T")


def encode(value: Any) -> Any:
    """Turn nested records into what ``json.dumps`` takes."""
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: Any) -> T:
    """Rebuild a record of type ``kind`` from what :func:`encode` made of it.

    Raises:
        ValueError: A field is missing, unknown or of another type; a number is not finite.
    """
    result: T = _decoder(typing.cast(Any, kind))(value)
    return result


def parse_json(text: str) -> Any:
    """The value of a line of JSON, which knows no NaN and no infinity.

    Raises:
        ValueError: It is no JSON, or nested too deeply to be a record.
    """
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply to be a record") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


Decoder = Callable[[Any], Any]
_PLAIN = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
_LARGE = 2**63


@cache
def _decoder(kind: Any) -> Decoder:
    """Checks and rebuilds values of a type; made once for each, since a record has many."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin in (typing.Union, types.UnionType):
        (inner,) = (_decoder(a) for a in arguments if a is not type(None))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        return _sequence(_decoder(arguments[0]))
    if origin is dict:
        return _mapping(_decoder(arguments[1]))
    if origin is Literal:
        return _one_of(arguments)
    if issubclass(kind, Enum):
        return typing.cast(Decoder, kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    return _plain(kind)


def _plain(kind: type) -> Decoder:
    """A text, a truth value or a number; a whole number may stand for any other."""
    kinds = (int, float) if kind is float else (kind,)
    name = _PLAIN[kind]

    def check(value: Any) -> Any:
        # By type, not isinstance: True is no number here.
        if type(value) not in kinds or value != value:
            raise ValueError(f"{_shortened(value)} is not {name}")
        if kind in (int, float) and abs(value) >= _LARGE:
            raise ValueError(f"{_shortened(value)} is too large")
        return value

    return check


def _one_of(known: tuple[Any, ...]) -> Decoder:
    def check(value: Any) -> Any:
        if value not in known:
            raise ValueError(f"{_shortened(value)} is none of {', '.join(map(str, known))}")
        return value

    return check


def _sequence(item: Decoder) -> Decoder:
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{_shortened(value)} is not a list")
        return tuple([item(element) for element in value])

    return check


def _mapping(item: Decoder) -> Decoder:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{_shortened(value)} is not an object")
        return {key: item(element) for key, element in value.items()}

    return check


def _record(kind: Any) -> Decoder:
    hints = typing.get_type_hints(kind)
    known = dataclasses.fields(kind)
    decoders = {f.name: _decoder(hints[f.name]) for f in known}
    needed = [f.name for f in known if f.default is f.default_factory is dataclasses.MISSING]

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{_shortened(value)} is not a {kind.__name__}")
        for name in needed:
            if name not in value:
                raise ValueError(f"{kind.__name__} lacks the field {name}")
        fields = {}
        for name, content in value.items():
            try:
                fields[name] = decoders[name](content)
            except KeyError as error:
                raise ValueError(f"{kind.__name__} has no field {_shortened(name)}") from error
            except ValueError as error:
                raise ValueError(f"{kind.__name__}.{name}: {error}") from error
        return kind(**fields)

    return check


def _shortened(value: Any) -> str:
    return reprlib.repr(value)
