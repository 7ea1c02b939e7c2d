"""The settings of an environment: as they are asked for, and as an episode records them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agemem_envs.settings import Group, Scope, check_settings, setting, settings_of
from agemem_envs.stages import PROTOCOLS

MAX_CONTEXT_TOKENS = 10_000_000
"""The largest ``max_context_tokens``: beyond any model's window."""
MAX_TOP_K = 10
"""The most memories that a retrieval may return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSettings:
    """What an episode's result depends on beside the task and the agent.

    These are the keyword arguments of :class:`~agemem_envs.env.MemoryEnv`. None is the default
    of the environment, the benchmark or the backbone, as each help text says.

    Raises:
        ConfigurationError: A value has another type, or is out of range.
    """

    stages: str = setting(
        "full",
        f"protocol: {', '.join(PROTOCOLS)}",
        Scope.WORLD,
        Group.ENVIRONMENT,
        summarized=True,
    )
    tools: str | tuple[str, ...] = setting(
        "all", "tools: all, ltm, stm, none", Scope.METHOD, Group.ENVIRONMENT, summarized=True
    )
    judge: str = setting(
        "lexical",
        "lexical or MODEL@URL",
        Scope.TABLE,
        Group.SCORING,
        summarized=True,
        rejudging=True,
    )
    encoder: str | None = setting(
        None,
        "hashing or minilm",
        Scope.WORLD,
        Group.ENVIRONMENT,
        default_text="each environment's own",
        summarized=True,
    )
    summarizer: str = setting(
        "extractive", "extractive or MODEL@URL", Scope.TABLE, Group.ENVIRONMENT, summarized=True
    )
    token_counter: str | None = setting(
        None,
        "approximate or tokenizer:ID",
        Scope.METHOD,
        Group.ENVIRONMENT,
        default_text="the backbone's tokenizer where there is one",
        metavar="NAME",
        summarized=True,
    )
    max_task_actions: int | None = setting(
        None,
        "actions in an interactive world",
        Scope.WORLD,
        Group.ENVIRONMENT,
        1,
        100_000,
        default_text="each benchmark's own: 30, as AgentBoard",
        flag="--max-actions",
        summarized=True,
    )
    list_actions: bool = setting(
        False,
        "end each observation of a world with the admissible actions",
        Scope.TABLE,
        Group.ENVIRONMENT,
        summarized=True,
    )
    max_task_rounds: int | None = setting(
        None,
        "rounds of stage 3",
        Scope.WORLD,
        Group.ENVIRONMENT,
        1,
        100_000,
        default_text="each benchmark's own; in a world some more than actions",
    )
    max_context_tokens: int = setting(
        8192, "T_max", Scope.TABLE, Group.ENVIRONMENT, 1, MAX_CONTEXT_TOKENS
    )
    rounds_per_message: int = setting(
        3, "rounds for a message of stages 1 and 2", Scope.TABLE, Group.ENVIRONMENT, 1, 1_000
    )
    memory: str = setting(
        "exact",
        "long-term memory: exact, qdrant, or qdrant:FOLDER or qdrant:URL",
        Scope.TABLE,
        Group.ENVIRONMENT,
    )
    top_k: int = setting(
        3, "memories that a retrieval shows", Scope.TABLE, Group.ENVIRONMENT, 1, MAX_TOP_K
    )
    filter_threshold: float = setting(
        0.6, "theta of Filter_context, a cosine", Scope.TABLE, Group.ENVIRONMENT, -1.0, 1.0
    )
    reward: str | dict[str, float] = setting(
        "all-returns", "all-returns, or answer-only for the paper's reward ablation", Scope.TABLE,
        Group.SCORING,
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Check every setting, those of a subclass too."""
        check_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSettings(EnvSettings):
    """The settings of an environment, and the options of its task that change with a benchmark."""

    split: str | None = setting(
        None,
        "data split",
        Scope.TASKS,
        Group.ENVIRONMENT,
        default_text="each benchmark's own",
    )
    noise: int | None = setting(
        None,
        "question answering: unneeded paragraphs of stage 1",
        Scope.TASKS,
        Group.ENVIRONMENT,
        0,
        1_000,
        default_text="3",
    )
    distractors: int | None = setting(
        None,
        "question answering: paragraphs of stage 2, at most",
        Scope.TASKS,
        Group.ENVIRONMENT,
        0,
        1_000,
        default_text="5",
    )

    @property
    def task_options(self) -> dict[str, Any]:
        """The arguments of the task that are not left to it."""
        names = settings_of(BenchmarkSettings).keys() - settings_of(EnvSettings).keys()
        return _given(self, names)

    @property
    def env_options(self) -> dict[str, Any]:
        """The arguments of the environment and of its task that are not left to them."""
        return _given(self, settings_of(BenchmarkSettings))


def _given(settings: BenchmarkSettings, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSettings(EnvSettings):
    """The settings of an environment as an episode records them: every name resolved.

    The fields that are named here are in every record; a setting that was added later has its
    default in the records of before.

    Attributes:
        task: The options of the task that differ from its defaults; empty if none does.
        stages: The protocol.
        tools: Names of the policy's tools.
        encoder: Name of the encoder.
        memory: Name of the long-term memory.
        judge: Name of the judge.
        reward: Weights and penalties, by the fields of
            :class:`~agemem_envs.judging.rewards.RewardConfig`.
        summarizer: Name of the summarizer.
        token_counter: Name of the token counter.
        max_context_tokens: T_max.
        top_k: Memories shown by a retrieval.
        filter_threshold: Theta of Filter_context.
        rounds_per_message: Rounds for a message of stages 1 and 2.
        max_task_rounds: Rounds of stage 3.
        max_task_actions: World actions in stage 3.
        list_actions: Whether observations end with the admissible actions.
    """

    task: str = ""
    stages: str
    tools: tuple[str, ...]
    encoder: str
    memory: str
    judge: str
    reward: dict[str, float]
    summarizer: str
    token_counter: str
    max_context_tokens: int
    top_k: int
    filter_threshold: float
    rounds_per_message: int
    max_task_rounds: int
    max_task_actions: int
    list_actions: bool

    def __post_init__(self) -> None:
        """A record holds what was; it is not checked against today's ranges."""
