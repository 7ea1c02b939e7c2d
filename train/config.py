"""The settings of the training programs: those that both share, and those of each."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from agemem.agents.backbones.base import DTYPES
from agemem.agents.backbones.chat_template import template_arguments, template_setting
from agemem.train.tasks import curriculum, task_rows
from agemem_envs.env_settings import BenchmarkSettings
from agemem_envs.errors import ConfigurationError, UnknownNameError, require
from agemem_envs.judging.rewards import make_reward
from agemem_envs.names import check_names
from agemem_envs.protocols import resolve
from agemem_envs.registration import ENVS
from agemem_envs.run_record import RunKind, Upgrade
from agemem_envs.settings import (
    Group,
    Scope,
    check_settings,
    differences,
    in_scope,
    plain_settings,
    setting,
    settings_from,
    settings_of,
)
from agemem_envs.tasks.base import make_task
from agemem_envs.tools import TOOLS
from agemem_envs.util.cli import name_value

TRAINED, ON, LEARNING, EXECUTION = (
    Group.MODEL,
    Group.ENVIRONMENT,
    Group.LEARNING,
    Group.EXECUTION,
)
ANY_TOOL = "any"
"""All tools, where one may be named."""
TINY = "tiny"
"""The backbone that a warm start builds: a new policy with a tokenizer of its own."""
TREE_TOKENS = 8192
"""The default of ``tokens_per_micro_batch`` with token trees."""
AGENT = "agemem.agents.agemem:AgeMemAgent"
RAG_AGENT = "agemem.agents.agemem_rag:AgeMemRAGAgent"
TASK_OPTIONS = ("data", "noise", "distractors", "facts", "updates")
"""Options of ``--env-option`` that select tasks, and so also apply to the list of tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig(BenchmarkSettings):
    """Settings of the policy and its training environment, shared by both programs.

    Raises:
        ConfigurationError: A value has the wrong type, is out of range or is an unknown name.
    """

    split: str | None = setting("train", "data split of the tasks", Scope.TASKS, ON)
    backbone: str | None = setting(
        None, "language model to train", Scope.METHOD, TRAINED, metavar="NAME"
    )
    chat_template_arg: tuple[str, ...] = template_setting(TRAINED)
    lora_rank: int = setting(
        0,
        "rank of the LoRA adapter to train; 0 trains all weights",
        Scope.METHOD,
        TRAINED,
        0,
        10_000,
    )
    env: str = setting(
        "AgeMem-HotpotQA-v0",
        "id of the training environment; or several, with commas, that take turns task by task",
        Scope.TASKS,
        ON,
        metavar="ID",
    )
    difficulty: str | None = setting(
        None,
        "use only tasks of this difficulty; or a curriculum: easy:200,hard for 200 easy tasks and "
        "hard ones from then on",
        Scope.TASKS,
        ON,
        default_text="all",
        metavar="LEVEL",
    )
    tasks: int | None = setting(
        None,
        "cycle through only the first N tasks",
        Scope.TASKS,
        ON,
        1,
        10_000_000,
        default_text="all",
    )
    env_option: tuple[str, ...] = setting(
        (),
        "another argument of the environment or its task, with a JSON value; may be repeated",
        Scope.WORLD,
        ON,
        repeated=True,
        metavar="NAME=VALUE",
    )
    max_completion_tokens: int = setting(
        2048, "most tokens of one model output", Scope.METHOD, LEARNING, 1, 1_000_000
    )
    seed: int = setting(0, "seed for task selection and sampling", Scope.TASKS, ON, 0, 999_999)
    micro_batch: int = setting(
        4,
        "steps (model calls) in one forward pass; GPU memory grows with it",
        Scope.METHOD,
        EXECUTION,
        1,
        1_000_000,
    )
    token_trees: str = setting(
        "auto",
        "compute what steps share only once; auto: if the model allows it",
        Scope.METHOD,
        EXECUTION,
        choices=("auto", "on", "off"),
    )
    tokens_per_micro_batch: int | None = setting(
        None,
        "most tokens in one forward pass; GPU memory grows with it",
        Scope.METHOD,
        EXECUTION,
        1,
        100_000_000,
        default_text=f"{TREE_TOKENS} with token trees, otherwise --micro-batch steps",
    )
    dtype: str = setting(
        "auto",
        "numbers of the weights that an adapter leaves as they are, and of a teacher: bfloat16 is "
        "faster on processors that compute with it; auto: bfloat16 on a GPU, otherwise float32. "
        "Weights that are trained are float32",
        Scope.METHOD,
        EXECUTION,
        choices=DTYPES,
    )
    gradient_checkpointing: bool = setting(
        True,
        "recompute activations in the backward pass: less memory, more time",
        Scope.METHOD,
        EXECUTION,
    )

    push_to_hub: str | None = setting(
        None,
        "send the model to this repository of the Hugging Face hub at the end",
        Scope.RUN,
        EXECUTION,
        default_text="no",
        metavar="USER/NAME",
    )
    save_every: int = setting(
        10, "optimizer steps between checkpoints", Scope.RUN, EXECUTION, 1, 10_000_000
    )

    def __post_init__(self) -> None:
        """Check every value and name, before a model is loaded."""
        check_settings(self)
        for env in self.envs:
            if env not in ENVS:
                raise UnknownNameError("environment", env, ENVS)
        if len(set(self.envs)) < len(self.envs):
            raise ConfigurationError(f"--env {self.env} names an environment twice")
        check_names(self)
        _ = self.extra, self.reward_weights, template_arguments(self.chat_template_arg)
        if self.tasks is not None and len(curriculum(self.difficulty)) > 1:
            raise ConfigurationError("a curriculum has no end: leave out --tasks")

    @property
    def envs(self) -> tuple[str, ...]:
        """The ids of the environments: several in a mixture."""
        return tuple(self.env.split(","))

    @property
    def extra(self) -> dict[str, Any]:
        """The arguments of ``--env-option``; a value that is not JSON is taken as text.

        Raises:
            ConfigurationError: An option is not of the form NAME=VALUE.
        """
        pairs = (name_value(text, "--env-option") for text in self.env_option)
        return {name: _json_or_text(value) for name, value in pairs}

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The tasks of a run in training order: see :func:`~agemem.train.tasks.task_rows`.

        The environments of a mixture take turns, and a row names its own as ``env``.
        """
        each = math.ceil(count / len(self.envs))
        lists = [
            task_rows(
                env, each, self.seed, self.difficulty, self.tasks, **self._task_arguments(env)
            )
            for env in self.envs
        ]
        turns = (
            {**row, "env": env}
            for rows in zip(*lists, strict=True)
            for env, row in zip(self.envs, rows, strict=True)
        )
        return list(itertools.islice(turns, count))

    def sources(self) -> dict[str, str]:
        """The data source of each environment, as a run records it."""
        sources = {}
        for env in self.envs:
            with closing(make_task(ENVS[env]["task"], self._task_arguments(env))) as task:
                sources[env] = str(task.source)
        return sources

    def _task_arguments(self, env: str) -> dict[str, Any]:
        extra = {name: value for name, value in self.extra.items() if name in TASK_OPTIONS}
        given = {**self.task_options, **extra}
        return resolve(self.protocol, ENVS[env]["task"], given).task

    def make_options(self, tokenizer: str) -> dict[str, Any]:
        """The arguments of ``gym.make`` as plain data; the policy's tokenizer counts the tokens.

        Args:
            tokenizer: The policy's tokenizer, a folder or hub id.
        """
        counter = {"token_counter": f"tokenizer:{tokenizer}"}
        return {**self.env_options, **counter, **self.extra}

    @property
    def context_budget(self) -> int:
        """T_max in tokens, the given one or the protocol's; the largest of a mixture."""
        return max(
            int(resolved["max_context_tokens"]) for resolved in self._resolved(self.env_options)
        )

    @property
    def reward_weights(self) -> dict[str, float | bool]:
        """Weights and penalties of the reward: those given, or the protocol's.

        Raises:
            ConfigurationError: The environments of a mixture have different ones.
        """
        first, *others = (
            asdict(make_reward(resolved["reward"]))
            for resolved in self._resolved({**self.env_options, **self.extra})
        )
        if any(other != first for other in others):
            raise ConfigurationError(f"the rewards of {self.env} differ: give one with --reward")
        return first

    def _resolved(self, given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The settings that the protocol decides, in each environment."""
        for env in self.envs:
            yield resolve(self.protocol, ENVS[env]["task"], given).settings

    def conditions(self) -> dict[str, tuple[bool, str]]:
        """Whether settings that need others are in use, and what puts them into use."""
        limited = self.token_trees != "on" and self.tokens_per_micro_batch is None
        return {
            "micro_batch": (limited, "--token-trees off, or beside --tokens-per-micro-batch"),
        }

    @property
    def agent(self) -> str:
        """Import path of the agent, which retrieves at each step if it has no short-term tools."""
        return RAG_AGENT if self.tools == "ltm" else AGENT


C = TypeVar("C", bound=PolicyConfig)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ConfigurationError: The file cannot be read.
    """
    yaml = require("yaml", extra="train")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error


def file_settings(path: Path, kind: type[C]) -> dict[str, Any]:
    """The settings in a file: YAML, JSON, or the ``config.json`` of a training.

    Args:
        path: The file, with the names of the flags, with underscores, as keys.
        kind: The settings of the program.

    Raises:
        ConfigurationError: The file cannot be read, or has an unknown name or a wrong value.
    """
    values = read_yaml(path)
    if isinstance(values, dict) and isinstance(values.get("config"), dict):
        values = values["config"]  # of the record of a run
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} holds no settings: it should have lines like 'steps: 20'")
    return plain_settings(settings_from(kind, values))


def refuse_changed(stored: C, config: C, allowed: set[str], out: Path) -> None:
    """Refuse to continue a run with other settings.

    Args:
        stored: The settings that the run was started with.
        config: The settings now.
        allowed: The settings that may differ.
        out: The folder of the run, for the message.

    Raises:
        ConfigurationError: Another setting differs.
    """
    changed = list(differences(stored, config, allowed))
    if changed:
        raise ConfigurationError(
            f"{out} was started with other settings ({'; '.join(changed)}). Leave out "
            "these options to resume it, or start a new run with another --out."
        )


def refuse_idle(config: PolicyConfig) -> None:
    """Refuse settings that have no effect beside the others.

    Raises:
        ConfigurationError: There is one that is not at its default.
    """
    known = settings_of(type(config))
    for name, (in_use, needed) in config.conditions().items():
        if not in_use and getattr(config, name) != known[name].value:
            raise ConfigurationError(f"{known[name].flag} has no effect without {needed}")


def fold_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Move the arguments of ``--env-option`` that are settings into these settings.

    A record then states the settings that were used.

    Args:
        values: Settings as plain data.

    Returns:
        The values, with what remains of ``env_option``.

    Raises:
        ConfigurationError: An argument is not NAME=VALUE, is also given as a flag, or is the
            token counter, which is the policy's own.
    """
    known = settings_of(BenchmarkSettings)
    folded, rest = dict(values), []
    for text in values.get("env_option") or ():
        name, value = name_value(text, "--env-option")
        if name == "token_counter":
            raise ConfigurationError("--env-option token_counter: a training counts as its policy")
        if name not in known:
            rest.append(text)
            continue
        argument = _json_or_text(value)
        if values.get(name, known[name].value) not in (argument, known[name].value):
            raise ConfigurationError(f"{known[name].flag} and --env-option {text} contradict")
        folded[name] = argument
    return {**folded, "env_option": list(dict.fromkeys(rest))}


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPOConfig(PolicyConfig):
    """Settings of step-wise GRPO, each described by its help text."""

    steps: int = setting(100, "number of optimizer steps", Scope.RUN, LEARNING, 1, 10_000_000)
    tasks_per_step: int = setting(
        4, "tasks in a round of rollouts", Scope.METHOD, LEARNING, 1, 1_000_000
    )
    group_size: int = setting(8, "rollouts of each task (K)", Scope.METHOD, LEARNING, 2, 100_000)
    beta: float = setting(0.1, "weight of the KL term", Scope.METHOD, LEARNING, 0.0, 100.0)
    learning_rate: float | None = setting(
        None, "learning rate", Scope.METHOD, LEARNING, 0.0, 10.0,
        default_text="1e-6, with LoRA 1e-5",
    )  # fmt: skip
    warmup: int = setting(
        0, "optimizer steps of linear learning-rate warmup", Scope.METHOD, LEARNING, 0, 10_000_000
    )
    temperature: float = setting(
        1.0, "sampling temperature of the rollouts", Scope.METHOD, LEARNING, 0.001, 10.0
    )
    iterations: int = setting(
        1, "optimizer steps for each round of rollouts", Scope.METHOD, LEARNING, 1, 1_000
    )
    skip_flat_groups: bool = setting(
        False, "skip groups whose rewards are all equal", Scope.METHOD, LEARNING
    )
    per_trajectory: bool = setting(
        False, "weight all trajectories equally, instead of all steps", Scope.METHOD, LEARNING
    )
    shared_stages: int = setting(
        0,
        "stages that a group plays once: its rollouts differ in the later ones, which alone are "
        "trained on; rollouts and updates then cost less",
        Scope.METHOD,
        LEARNING,
        0,
        2,
    )
    accumulation: int = setting(
        1,
        "accumulation steps that each round is divided into; does not change the update",
        Scope.METHOD,
        EXECUTION,
        1,
        1_000_000,
    )
    workers: int = setting(
        4, "worker processes that host environments", Scope.RUN, EXECUTION, 1, 10_000
    )
    vllm: str = setting(
        "off",
        "generate with vLLM, on the training GPUs (colocate) or on a server",
        Scope.METHOD,
        EXECUTION,
        choices=("off", "colocate", "server"),
    )
    vllm_url: str = setting(
        "http://localhost:8000",
        "URL of the server of --vllm server",
        Scope.RUN,
        EXECUTION,
        metavar="URL",
    )
    vllm_memory: float = setting(
        0.3,
        "fraction of GPU memory for --vllm colocate",
        Scope.METHOD,
        EXECUTION,
        0.01,
        1.0,
    )
    ahead: bool = setting(
        False,
        "with --vllm server: play the next round while this one is trained on; what it samples "
        "is of weights that are one optimizer step older, for which the loss corrects",
        Scope.METHOD,
        LEARNING,
    )
    eval_tasks: int = setting(
        0,
        "held-out tasks that the policy plays before each checkpoint; the best model is saved in "
        "the end; 0 for none",
        Scope.METHOD,
        LEARNING,
        0,
        1_000_000,
    )
    eval_split: str | None = setting(
        None,
        "data split of the held-out tasks",
        Scope.METHOD,
        LEARNING,
        default_text="the benchmark's own for evaluation",
    )
    best_by: str = setting(
        "success",
        "the mean over held-out episodes by which a model is the best",
        Scope.METHOD,
        LEARNING,
        choices=("success", "progress", "memory_quality", "reward/total"),
    )
    log_completions: bool = setting(
        False,
        "write what the policy reads and writes in each step of a round, with its reward and "
        "advantage, to checkpoints/completions/*.parquet, and to the tracker",
        Scope.RUN,
        EXECUTION,
    )
    report_to: str = setting(
        "none",
        "a tracker that gets the log too",
        Scope.RUN,
        EXECUTION,
        choices=("none", "tensorboard", "trackio", "wandb"),
    )

    def __post_init__(self) -> None:
        """Check every value and name, before a model is loaded."""
        PolicyConfig.__post_init__(self)  # super() does not work in a class with slots
        if self.ahead and self.vllm != "server":
            raise ConfigurationError("--ahead needs a server that plays meanwhile: --vllm server")

    def conditions(self) -> dict[str, tuple[bool, str]]:
        """Whether settings that need others are in use, and what puts them into use."""
        evaluates, adapts = self.eval_tasks > 0, self.lora_rank > 0
        return {
            **PolicyConfig.conditions(self),  # super() does not work in a class with slots
            "eval_split": (evaluates, "--eval-tasks"),
            "best_by": (evaluates, "--eval-tasks"),
            "dtype": (adapts, "--lora-rank: weights that are trained are float32"),
            "vllm_memory": (self.vllm == "colocate", "--vllm colocate"),
            "vllm_url": (self.vllm == "server", "--vllm server"),
        }

    def held_out_rows(self) -> list[dict[str, Any]]:
        """The tasks of the evaluation during training.

        Raises:
            ConfigurationError: They are of the split that is trained on.
        """
        unseen = self.held_out
        if unseen.sources().items() & self.sources().items():
            raise ConfigurationError(
                "the tasks of an evaluation must be unseen, and would be of the split that is "
                "trained on: change --eval-split or --split"
            )
        return unseen.rows(self.eval_tasks)

    @property
    def held_out(self) -> GRPOConfig:
        """The same settings for the tasks of the evaluation during training."""
        hardest = curriculum(self.difficulty)[-1][0]
        return replace(self, split=self.eval_split, tasks=None, difficulty=hardest)


MAY_RESUME = set(in_scope(GRPOConfig, Scope.RUN))
"""Settings that may change when a training is resumed: none of them affects what it learns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStartConfig(PolicyConfig):
    """Settings of a warm start, each described by its help text."""

    episodes: int = setting(
        300, "number of demonstrated episodes", Scope.METHOD, LEARNING, 1, 1_000_000
    )
    teacher: str = setting(
        "oracle",
        "demonstrator: oracle stores what is needed alone; diligent, for questions, stores "
        "everything and looks up one statement after another; the folder of a model, which plays "
        "with temperature 1; or the folder of a run of agemem run, or a file of agemem play, on "
        "the split that is trained on. Of a model, what succeeded is shown (rejection sampling)",
        Scope.METHOD,
        LEARNING,
        metavar="NAME",
    )
    teacher_errors: float = setting(
        0.0,
        "fraction of wrong decisions by the demonstrator",
        Scope.METHOD,
        LEARNING,
        0.0,
        1.0,
    )
    teacher_errs_in: str = setting(
        ANY_TOOL,
        "tool whose calls the demonstrator leaves out, at the rate of --teacher-errors; any for "
        "errors of all kinds",
        Scope.METHOD,
        LEARNING,
        choices=(ANY_TOOL, *TOOLS),
    )
    teacher_seats: int = setting(
        32, "episodes that a model as teacher plays at a time", Scope.METHOD, EXECUTION, 1, 10_000
    )
    balance: bool = setting(
        False,
        "show as many episodes of each kind of task, those of rarer kinds again: among successes, "
        "easy kinds are more frequent than among tasks",
        Scope.METHOD,
        LEARNING,
    )
    repeats: int | None = setting(
        None,
        "most steps of an episode with the same action: an acknowledgement is learned from few",
        Scope.METHOD,
        LEARNING,
        1,
        1_000_000,
        default_text="all",
    )
    task_only: float = setting(
        0.0,
        "fraction of the episodes of which the steps of stage 3 alone are learned: those of the "
        "stages before it are many and alike",
        Scope.METHOD,
        LEARNING,
        0.0,
        1.0,
    )
    epochs: float = setting(
        1.0, "passes over the demonstrated steps", Scope.METHOD, LEARNING, 0.001, 10_000.0
    )
    batch_size: int = setting(
        4,
        "demonstrated episodes in an optimizer step of each process (a longer one than a forward "
        "pass holds counts as its parts)",
        Scope.METHOD,
        LEARNING,
        1,
        1_000_000,
    )
    learning_rate: float = setting(1e-4, "learning rate", Scope.METHOD, LEARNING, 0.0, 10.0)

    def conditions(self) -> dict[str, tuple[bool, str]]:
        """Whether settings that need others are in use, and what puts them into use."""
        return {
            **PolicyConfig.conditions(self),
            "teacher_errs_in": (self.teacher_errors > 0, "--teacher-errors"),
        }


def _upgrade(config: dict[str, Any], version: int) -> dict[str, Any]:
    """Convert the configuration of a GRPO run of an older format to the current one.

    Before protocols there were the stages alone: each set of stages has its protocol.
    """
    upgraded = dict(config)
    if "stm_tools" in upgraded:
        upgraded["tools"] = "all" if upgraded.pop("stm_tools") == "on" else "ltm"
    if version == 0:
        upgraded = fold_options(upgraded)
    return {**upgraded, "protocol": upgraded.get("stages", "full")}


KINDS: dict[RunKind, Upgrade | None] = {RunKind.TRAINING: _upgrade}
"""The kinds of run that a :class:`GRPOConfig` configures, with upgrades from older formats."""
