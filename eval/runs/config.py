"""The configuration of an evaluation: all that is needed to repeat it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agemem.agents.backbones.base import DTYPES
from agemem.agents.backbones.chat_template import template_setting
from agemem.agents.model_settings import ModelSettings
from agemem_envs.errors import ConfigurationError
from agemem_envs.run_record import RunKind
from agemem_envs.settings import Group, Scope, check_settings, in_scope, setting, settings_of

SUBJECT, ON, SCORING, EXECUTION = (
    Group.SUBJECT,
    Group.ENVIRONMENT,
    Group.SCORING,
    Group.EXECUTION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig(ModelSettings):
    """All settings of an evaluation, each described by its help text.

    Raises:
        ConfigurationError: A value has the wrong type or is out of range.
    """

    agent: str = setting(
        "agemem", "agent, memory system or suite to evaluate", Scope.METHOD, SUBJECT, metavar="NAME"
    )
    system_command: str | None = setting(
        None,
        "command of a memory system in a process of its own, which reads and writes JSON lines; "
        "with --agent system:NAME",
        Scope.METHOD,
        SUBJECT,
        metavar="COMMAND",
    )
    suite: str | None = setting(
        None,
        "set of agents to evaluate, for example for a table or figure of the paper",
        Scope.SUITE,
        SUBJECT,
        metavar="NAME",
    )
    backbone: str | None = setting(
        None, "language model of the agent", Scope.METHOD, SUBJECT, metavar="NAME"
    )
    checkpoint: str | None = setting(
        None,
        "with --suite: the trained model, named like a backbone",
        Scope.SUITE,
        SUBJECT,
        metavar="NAME",
    )
    checkpoint_answer_only: str | None = setting(
        None,
        "with --suite: the model trained on the task's reward alone, named like a backbone",
        Scope.SUITE,
        SUBJECT,
        metavar="NAME",
    )
    training_record: str | None = setting(
        None,
        "folder of the training that made the model, for a model that a server runs: the record "
        "is taken as claimed. A folder of `agemem grpo` as the model needs none",
        Scope.SUITE,
        SUBJECT,
        metavar="FOLDER",
    )
    training_record_answer_only: str | None = setting(
        None,
        "with --suite: the same for the model of --checkpoint-answer-only",
        Scope.SUITE,
        SUBJECT,
        metavar="FOLDER",
    )
    constrained: bool = setting(
        False,
        "constrain outputs to the protocol by a grammar (llama.cpp, vLLM); recorded in results",
        Scope.MODEL,
        SUBJECT,
    )
    chat_template_arg: tuple[str, ...] = template_setting(SUBJECT)
    dtype: str = setting(
        "auto",
        "numbers of the weights of a model that transformers runs: bfloat16 is faster on "
        "processors that compute with it; auto: bfloat16 on a GPU, otherwise float32",
        Scope.METHOD,
        SUBJECT,
        choices=DTYPES,
    )
    envs: tuple[str, ...] = setting(
        ("all",), 'environment ids, or "all"', Scope.TASKS, ON, metavar="ID"
    )
    episodes: int | None = setting(
        10, 'episodes per environment, or "all"', Scope.RUN, ON, 1, 1_000_000, none="all"
    )
    judge_cache: bool = setting(
        True,
        "reuse cached judgements of an LLM judge",
        Scope.RUN,
        SCORING,
        rejudging=True,
    )
    vector_cache: bool = setting(
        True,
        "keep the vectors of the text encoder on disk, for all runs",
        Scope.RUN,
        EXECUTION,
    )
    workers: int = setting(
        1,
        "worker processes; with --rejudge: episodes judged concurrently",
        Scope.RUN,
        EXECUTION,
        1,
        1_000,
        rejudging=True,
    )
    executor: str | None = setting(
        None,
        "where episodes are played: serial, processes or ray",
        Scope.RUN,
        EXECUTION,
        default_text="processes if --workers exceeds 1, else serial",
        metavar="NAME",
        aliases=("--engine",),
    )
    address: str | None = setting(
        None,
        "address of the Ray cluster",
        Scope.RUN,
        EXECUTION,
        default_text="a cluster started for the run",
        metavar="HOST:PORT",
    )

    def __post_init__(self) -> None:
        """Check every setting."""
        check_settings(self)
        if not self.envs:
            raise ConfigurationError("no environment is given: pass --envs")


MAY_RESUME = set(in_scope(RunConfig, Scope.RUN))
"""Settings that may change when a run is resumed: none of them affects results."""
MAY_REJUDGE = {name for name, d in settings_of(RunConfig).items() if d.setting.rejudging}
"""Settings that may change when a run is scored by another judge."""
FULL_OR_TASK = "full/task"
"""The protocol of a suite: ``full`` in question answering, ``task`` in interactive worlds."""

_RENAMED = {"engine": "executor", "max_actions": "max_task_actions"}
_BOTH_STAGES = "paper"
"""The value of ``stages`` in a suite of format 0 or 1 that played each benchmark its own way."""


def _upgrade(config: dict[str, Any], version: int) -> dict[str, Any]:
    """Convert a configuration of an older format to the current one.

    Before protocols there were the stages alone: each set of stages has its protocol.
    """
    names = _RENAMED if version == 0 else {}
    upgraded = {names.get(name, name): value for name, value in config.items()}
    stages = upgraded.get("stages", "full")
    if stages == _BOTH_STAGES:
        return {**upgraded, "protocol": FULL_OR_TASK, "stages": None}
    return {**upgraded, "protocol": stages}


KINDS = {RunKind.EVALUATION: _upgrade, RunKind.SUITE: _upgrade}
"""The kinds of run that a :class:`RunConfig` configures, with upgrades from older formats."""
