"""The settings of playing an environment with a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agemem.agents.backbones.base import Sampling
from agemem_envs.env_settings import BenchmarkSettings
from agemem_envs.settings import Group, Scope, setting
from agemem_envs.util.endpoint import MAX_IN_FLIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings(BenchmarkSettings):
    """The settings of an environment, and of the model that plays in it."""

    base_url: str | None = setting(
        None,
        "URL of the OpenAI-compatible server that runs the backbone",
        Scope.RUN,
        Group.SUBJECT,
        metavar="URL",
    )
    few_shot: bool = setting(
        False, "show the model a short worked example episode", Scope.METHOD, Group.SUBJECT
    )
    seed: int = setting(
        0, "seed for task selection and sampling", Scope.TASKS, Group.ENVIRONMENT, 0, 999_999
    )
    temperature: float = setting(
        0.0, "sampling temperature; 0 is greedy", Scope.MODEL, Group.SCORING, 0.0, 10.0
    )
    top_p: float = setting(
        1.0, "probability mass of nucleus sampling", Scope.MODEL, Group.SCORING, 0.0, 1.0
    )
    max_tokens: int = setting(
        2048,
        "most tokens of one model output, a memory system's calls included",
        Scope.MODEL,
        Group.SCORING,
        1,
        1_000_000,
    )
    batch_size: int = setting(
        1,
        "episodes that a process plays at the same time",
        Scope.RUN,
        Group.EXECUTION,
        1,
        10_000,
    )
    request_timeout: float = setting(
        120.0,
        "timeout of one request to a model server, in seconds",
        Scope.RUN,
        Group.EXECUTION,
        0.001,
        86_400.0,
        metavar="S",
        rejudging=True,
    )
    attempts: int = setting(
        4, "most attempts of a failing request", Scope.RUN, Group.EXECUTION, 1, 100, rejudging=True
    )
    in_flight: int = setting(
        MAX_IN_FLIGHT,
        "most requests of a process to one model server at a time; fewer after status 429",
        Scope.RUN,
        Group.EXECUTION,
        1,
        100_000,
        rejudging=True,
    )

    @property
    def sampling(self) -> Sampling:
        """The sampling parameters."""
        return Sampling(self.temperature, self.top_p, self.max_tokens)

    @property
    def request_limits(self) -> dict[str, Any]:
        """The limits of one request to a model server."""
        return {
            "timeout": self.request_timeout,
            "attempts": self.attempts,
            "in_flight": self.in_flight,
        }
