"""The settings of an environment: as requested, and as an episode records them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agemem_envs.counting import COUNTINGS, CountingName
from agemem_envs.settings import Group, Scope, check_settings, setting, settings_of
from agemem_envs.stages import STAGE_SETS

GOVERNED = "the protocol's"
"""The default of a setting that protocols govern, as ``--help`` shows it."""
MAX_CONTEXT_TOKENS = 10_000_000
"""The largest ``max_context_tokens``: beyond any model's window."""
MAX_TOP_K = 10
"""The largest ``top_k``: the most memories that one retrieval may return."""
_STAGES = ", ".join(
    f"{name} ({'+'.join(str(int(stage)) for stage in stages)})"
    for name, stages in STAGE_SETS.items()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvSettings:
    """Everything that an episode's result depends on, apart from the task and the agent.

    These are the keyword arguments of :class:`~agemem_envs.env.MemoryEnv`. None selects the default
    of the environment, the benchmark or the backbone; the help text of each setting says which.

    Raises:
        ConfigurationError: A value has the wrong type or is out of range.
    """

    protocol: str = setting(
        "memory",
        "evaluation protocol: memory, agentboard, release, full or task; the settings that say so "
        "have its values unless they are given",
        Scope.TABLE,
        Group.ENVIRONMENT,
        summarized=True,
    )
    stages: str | None = setting(
        None,
        f"stages to play: {_STAGES}",
        Scope.WORLD,
        Group.ENVIRONMENT,
        default_text=GOVERNED,
        summarized=True,
    )
    tools: str | tuple[str, ...] = setting(
        "all",
        "the agent's tools: all, ltm (long-term memory), stm (context) or none",
        Scope.METHOD,
        Group.ENVIRONMENT,
        summarized=True,
    )
    judge: str = setting(
        "lexical",
        "judge of answers and memories: lexical, or a language model as MODEL@URL",
        Scope.TABLE,
        Group.SCORING,
        summarized=True,
        rejudging=True,
    )
    encoder: str | None = setting(
        None,
        "text encoder of the memory search: hashing, minilm, a folder or hub id of a "
        "sentence-transformers model, or a server with /v1/embeddings as MODEL@URL",
        Scope.WORLD,
        Group.ENVIRONMENT,
        default_text="each environment's own",
        summarized=True,
    )
    summarizer: str = setting(
        "extractive",
        "summarizer of Summary_context: extractive, or a language model as MODEL@URL",
        Scope.TABLE,
        Group.ENVIRONMENT,
        summarized=True,
    )
    token_counter: str | None = setting(
        None,
        "counter of context tokens: approximate or tokenizer:ID",
        Scope.METHOD,
        Group.ENVIRONMENT,
        default_text="the backbone's tokenizer if it has one, else approximate",
        metavar="NAME",
        summarized=True,
    )
    max_task_actions: int | None = setting(
        None,
        "most actions in an interactive world",
        Scope.WORLD,
        Group.ENVIRONMENT,
        1,
        100_000,
        default_text="each benchmark's own: 30, as in AgentBoard",
        flag="--max-actions",
        summarized=True,
    )
    action_factor: float | None = setting(
        None,
        "most actions in an interactive world as a multiple of the expert's, where the task "
        "knows them",
        Scope.WORLD,
        Group.ENVIRONMENT,
        1.0,
        1_000.0,
        default_text=GOVERNED,
    )
    list_actions: bool = setting(
        False,
        "append the admissible actions to each observation of an interactive world",
        Scope.TABLE,
        Group.ENVIRONMENT,
        summarized=True,
    )
    max_task_rounds: int | None = setting(
        None,
        "most rounds (model calls) of stage 3",
        Scope.WORLD,
        Group.ENVIRONMENT,
        1,
        100_000,
        default_text="each benchmark's own; in an interactive world somewhat more than the actions",
    )
    max_context_tokens: int | None = setting(
        None,
        "context budget in tokens (T_max)",
        Scope.WORLD,
        Group.ENVIRONMENT,
        1,
        MAX_CONTEXT_TOKENS,
        default_text=GOVERNED,
    )
    rounds_per_message: int = setting(
        3,
        "most rounds (model calls) for each message of stages 1 and 2",
        Scope.TABLE,
        Group.ENVIRONMENT,
        1,
        1_000,
    )
    memory: str = setting(
        "exact",
        "long-term memory store: exact, qdrant, qdrant:FOLDER or qdrant:URL",
        Scope.TABLE,
        Group.ENVIRONMENT,
    )
    top_k: int | None = setting(
        None,
        "memories shown by one retrieval",
        Scope.TABLE,
        Group.ENVIRONMENT,
        1,
        MAX_TOP_K,
        default_text=GOVERNED,
    )
    max_top_k: int | None = setting(
        None,
        "most memories shown by one retrieval, whatever the model requests",
        Scope.TABLE,
        Group.ENVIRONMENT,
        1,
        MAX_TOP_K,
        default_text=GOVERNED,
    )
    filter_threshold: float = setting(
        0.6,
        "least cosine similarity of a message that Filter_context removes (theta)",
        Scope.TABLE,
        Group.ENVIRONMENT,
        -1.0,
        1.0,
    )
    filter_matching: str | None = setting(
        None,
        "what Filter_context compares with its criterion: message (the whole text, as in the "
        "paper) or topic (also each sentence, and the share of the criterion's words)",
        Scope.TABLE,
        Group.ENVIRONMENT,
        default_text=GOVERNED,
        choices=("message", "topic"),
    )
    recalled: str | None = setting(
        None,
        "memories that an agent retrieves for its own prompt: replaced by those of the next prompt "
        "or kept in the context",
        Scope.TABLE,
        Group.ENVIRONMENT,
        default_text=GOVERNED,
        choices=("replaced", "kept"),
    )
    counting: str | None = setting(
        None,
        "what metrics count: episode (all stages and memories) or release (prompt tokens after "
        "stage 1, tool calls outside stage 2, quality of the 20 memories nearest to the question)",
        Scope.TABLE,
        Group.SCORING,
        default_text=GOVERNED,
        choices=tuple(COUNTINGS),
    )
    reward: str | dict[str, float] | None = setting(
        None,
        "reward: effective, all-returns (the paper's), or answer-only (its reward ablation)",
        Scope.TABLE,
        Group.SCORING,
        default_text=GOVERNED,
    )

    def __post_init__(self) -> None:
        """Check every setting, including those of a subclass."""
        check_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkSettings(EnvSettings):
    """The settings of an environment, and the options of its task that depend on the benchmark."""

    split: str | None = setting(
        None,
        "data split of the tasks",
        Scope.TASKS,
        Group.ENVIRONMENT,
        default_text="each benchmark's own",
    )
    facts: int | None = setting(
        None,
        "least number of facts in stage 1, of several tasks; 0 for the facts of one task alone",
        Scope.TASKS,
        Group.ENVIRONMENT,
        0,
        1_000,
        default_text=GOVERNED,
    )
    updates: int | None = setting(
        None,
        "facts that are corrected or withdrawn later, of those that --facts adds",
        Scope.TASKS,
        Group.ENVIRONMENT,
        0,
        1_000,
        default_text=GOVERNED,
    )
    noise: int | None = setting(
        None,
        "question answering: paragraphs in stage 1 that the question does not need",
        Scope.TASKS,
        Group.ENVIRONMENT,
        0,
        1_000,
        default_text="3",
    )
    distractors: int | None = setting(
        None,
        "most messages in stage 2",
        Scope.TASKS,
        Group.ENVIRONMENT,
        0,
        1_000,
        default_text=GOVERNED,
    )

    level: str | None = setting(
        None,
        "SyntheticQA: easy, medium or hard for questions of that level alone",
        Scope.TASKS,
        Group.ENVIRONMENT,
        default_text="all",
    )
    brief: bool | None = setting(
        None,
        "SyntheticQA: paragraphs of about one sentence, of which each is like those that the "
        "question needs, and shorter messages",
        Scope.TASKS,
        Group.ENVIRONMENT,
        default_text="no",
    )
    key: str | None = setting(
        None,
        "LoCoMo: answers of the audited key, or of its own raw one",
        Scope.TASKS,
        Group.ENVIRONMENT,
        default_text="audited",
        choices=("audited", "raw"),
    )

    @property
    def task_options(self) -> dict[str, Any]:
        """The arguments of the task that were set, by name."""
        names = settings_of(BenchmarkSettings).keys() - settings_of(EnvSettings).keys()
        return _given(self, names)

    @property
    def env_options(self) -> dict[str, Any]:
        """The arguments of the environment and of its task that were set, by name."""
        return _given(self, settings_of(BenchmarkSettings))


def _given(settings: BenchmarkSettings, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSettings(EnvSettings):
    """The settings of an environment as an episode records them, with every default resolved.

    Every record has the fields that this class declares. A setting that was added to
    :class:`EnvSettings` later has its default value in older records.

    Attributes:
        task: The options of the task that differ from its defaults; empty if none does.
        protocol: Name of the protocol; empty in records that are older than protocols.
        overridden: Names of the settings that were given in place of the protocol's.
        stages: Name of the set of stages.
        tools: Names of the agent's tools.
        encoder: Name of the encoder.
        memory: Name of the long-term memory.
        judge: Name of the judge.
        reward: Weights and penalties, by the fields of
            :class:`~agemem_envs.judging.rewards.RewardConfig`.
        summarizer: Name of the summarizer.
        token_counter: Name of the token counter.
        max_context_tokens: The context budget, T_max.
        top_k: Memories shown by one retrieval.
        max_top_k: Most memories shown by one retrieval.
        filter_matching: What Filter_context compares with its criterion.
        recalled: Whether recalled memories are replaced or kept.
        counting: What metrics count, by the names of :mod:`agemem_envs.counting`.
        action_factor: Most actions as a multiple of the expert's, or None.
        filter_threshold: The threshold theta of Filter_context, a cosine similarity.
        rounds_per_message: Most rounds for each message of stages 1 and 2.
        max_task_rounds: Most rounds of stage 3.
        max_task_actions: Most actions in stage 3.
        list_actions: Whether observations end with the admissible actions.
    """

    task: str = ""
    protocol: str = ""
    overridden: tuple[str, ...] = ()
    stages: str
    tools: tuple[str, ...]
    encoder: str
    memory: str
    judge: str
    reward: dict[str, float | bool]
    summarizer: str
    token_counter: str
    max_context_tokens: int
    top_k: int
    max_top_k: int = MAX_TOP_K
    filter_matching: str = "message"
    recalled: str = "replaced"
    counting: CountingName = "episode"
    action_factor: float | None = None
    filter_threshold: float
    rounds_per_message: int
    max_task_rounds: int
    max_task_actions: int
    list_actions: bool

    def __post_init__(self) -> None:
        """Check nothing: a record may hold values that are outside today's ranges."""
