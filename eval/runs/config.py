"""The configuration of an evaluation: everything that it takes to repeat one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agemem_envs.env_settings import BenchmarkSettings
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
class RunConfig(BenchmarkSettings):
    """All settings of an evaluation; ``agemem run --help`` says what each means.

    Raises:
        ConfigurationError: A value has another type, or is out of range.
    """

    agent: str = setting("agemem", "the agent", Scope.METHOD, SUBJECT, metavar="NAME")
    suite: str | None = setting(
        None,
        "many agents, for a table or figure of the paper",
        Scope.SUITE,
        SUBJECT,
        metavar="NAME",
    )
    backbone: str | None = setting(
        None, "its language model", Scope.METHOD, SUBJECT, metavar="NAME"
    )
    checkpoint: str | None = setting(
        None, "with --suite: the trained model, a backbone too", Scope.SUITE, SUBJECT,
        metavar="NAME",
    )  # fmt: skip
    checkpoint_answer_only: str | None = setting(
        None,
        "with --suite table4: the model trained on the task's reward alone",
        Scope.SUITE,
        SUBJECT,
        metavar="NAME",
    )
    base_url: str | None = setting(
        None, "server that runs a named backbone", Scope.RUN, SUBJECT, metavar="URL"
    )
    few_shot: bool = setting(False, "show the model a short worked episode", Scope.METHOD, SUBJECT)
    constrained: bool = setting(
        False,
        "force outputs into the protocol by a grammar (llama.cpp, vLLM); recorded",
        Scope.MODEL,
        SUBJECT,
    )
    envs: tuple[str, ...] = setting(("all",), "environments", Scope.TASKS, ON, metavar="ID")
    episodes: int | None = setting(
        10, 'per environment, or "all"', Scope.RUN, ON, 1, 1_000_000, none="all"
    )
    seed: int = setting(0, "seed for task selection and sampling", Scope.TASKS, ON, 0, 999_999)
    judge_cache: bool = setting(
        True,
        "whether an LLM judge is asked only what it has not said yet",
        Scope.RUN,
        SCORING,
        rejudging=True,
    )
    temperature: float = setting(0.0, "0 is greedy", Scope.MODEL, SCORING, 0.0, 10.0)
    top_p: float = setting(1.0, "nucleus sampling", Scope.MODEL, SCORING, 0.0, 1.0)
    max_tokens: int = setting(
        2048,
        "of one output, including those of a memory system",
        Scope.MODEL,
        SCORING,
        1,
        1_000_000,
    )
    batch_size: int = setting(
        1, "episodes in lockstep, their model calls batched", Scope.RUN, EXECUTION, 1, 10_000
    )
    workers: int = setting(
        1,
        "processes that play; with --rejudge: episodes judged at once",
        Scope.RUN,
        EXECUTION,
        1,
        1_000,
        rejudging=True,
    )
    executor: str | None = setting(
        None,
        "serial, processes, ray",
        Scope.RUN,
        EXECUTION,
        default_text="processes if there are several workers",
        metavar="NAME",
        aliases=("--engine",),
    )
    address: str | None = setting(
        None,
        "Ray cluster",
        Scope.RUN,
        EXECUTION,
        default_text="one that is started for the run",
        metavar="HOST:PORT",
    )
    request_timeout: float = setting(
        120.0,
        "seconds a request",
        Scope.RUN,
        EXECUTION,
        0.001,
        86_400.0,
        metavar="S",
        rejudging=True,
    )
    attempts: int = setting(
        4, "tries of a failing request", Scope.RUN, EXECUTION, 1, 100, rejudging=True
    )

    def __post_init__(self) -> None:
        """Check every setting."""
        check_settings(self)
        if not self.envs:
            raise ConfigurationError("no environment is named: pass --envs")


MAY_RESUME = set(in_scope(RunConfig, Scope.RUN))
"""Settings that a resumed run may change: how it is run, not what is measured."""
MAY_REJUDGE = {name for name, d in settings_of(RunConfig).items() if d.setting.rejudging}
"""Settings that may change when a run is scored by another judge."""

_RENAMED = {"engine": "executor", "max_actions": "max_task_actions"}


def _upgrade(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration of format 0 as one of today's."""
    return {_RENAMED.get(name, name): value for name, value in config.items()}


KINDS = {RunKind.EVALUATION: _upgrade, RunKind.SUITE: _upgrade}
"""The runs that a :class:`RunConfig` configures, and how older ones are read."""
