"""Evaluation protocols: named sets of settings for each benchmark, as data.

A protocol is chosen by ``gym.make(..., protocol=...)`` or ``--protocol``, and every episode records
its name. A setting that is given beside it replaces the protocol's value, and the record names
it. Results of different protocols never share a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agemem_envs.env_settings import EnvSettings
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.settings import settings_of
from agemem_envs.tasks.base import Task
from agemem_envs.util.loading import load

BASE: Mapping[str, Any] = {
    "stages": "full",
    "max_context_tokens": 8192,
    "top_k": 3,
    "max_top_k": 10,
    "filter_matching": "message",
    "recalled": "replaced",
    "counting": "episode",
    "reward": "all-returns",
}
"""The value of each setting that protocols govern, unless a protocol states another."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """A named set of settings.

    Attributes:
        purpose: What it is for, in one sentence.
        settings: Its settings for every benchmark, where they differ from :data:`BASE`.
        benchmarks: Its settings for single benchmarks, by the task's name: settings of the
            environment, and arguments of the task.
        closed: Whether it has only the benchmarks of ``benchmarks``.
    """

    purpose: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    benchmarks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    closed: bool = False

    def plays(self, benchmark: str) -> bool:
        """Whether the protocol is defined for a benchmark."""
        return not self.closed or benchmark in self.benchmarks

    def settings_for(self, benchmark: str) -> dict[str, Any]:
        """All settings for a benchmark, and the arguments of its task."""
        return {**BASE, **self.settings, **self.benchmarks.get(benchmark, {})}


PROTOCOLS: dict[str, Protocol] = {
    "memory": Protocol(
        "Tasks in which memory decides: many facts of several tasks, which change; near misses; "
        "a context budget and an action limit that bind; one small k for all methods.",
        settings={"top_k": 3, "max_top_k": 3, "filter_matching": "topic", "reward": "effective"},
        benchmarks={
            "hotpotqa": {"max_context_tokens": 2560, "facts": 60, "updates": 6, "distractors": 12},
            "syntheticqa": {
                "max_context_tokens": 2304,
                "facts": 72,
                "updates": 6,
                "distractors": 12,
            },
            "alfworld": {
                "max_context_tokens": 2560,
                "facts": 112,
                "updates": 10,
                "distractors": 12,
                "action_factor": 1.5,
            },
            "scienceworld": {
                "max_context_tokens": 2560,
                "facts": 100,
                "updates": 8,
                "distractors": 12,
                "action_factor": 2.0,
                "max_task_actions": 400,
            },
            "babyai": {
                "levels": "large",
                "max_context_tokens": 3072,
                "facts": 90,
                "updates": 8,
                "distractors": 12,
                "action_factor": 1.75,
            },
            "pddl": {
                "max_context_tokens": 3584,
                "facts": 150,
                "updates": 10,
                "distractors": 14,
                "action_factor": 1.5,
                "max_task_actions": 50,
            },
            "locomo": {"max_context_tokens": 4096, "top_k": 5, "max_top_k": 10},
            "longmemeval": {"max_context_tokens": 8192, "top_k": 5, "max_top_k": 10},
            "structmemeval": {"max_context_tokens": 2048},
        },
    ),
    "agentboard": Protocol(
        "World play without memory, by AgentBoard's rules, for its lists of tasks.",
        settings={"stages": "task", "max_task_rounds": 30, "max_context_tokens": 16_384},
        benchmarks={
            name: {"rules": "agentboard"} for name in ("alfworld", "scienceworld", "babyai", "pddl")
        },
        closed=True,
    ),
    "release": Protocol(
        "The evaluation of the paper's released code in question answering, as far as it is known.",
        settings={
            "stages": "told",
            "rounds_per_message": 5,
            "max_task_rounds": 5,
            "recalled": "kept",
            "counting": "release",
        },
        benchmarks={name: {"together": True} for name in ("hotpotqa", "syntheticqa")},
        closed=True,
    ),
    "full": Protocol(
        "All three stages with few facts and a wide context budget.",
        benchmarks={
            "locomo": {"max_context_tokens": 65_536},
            "longmemeval": {"max_context_tokens": 262_144},
        },
    ),
    "task": Protocol("Stage 3 alone.", settings={"stages": "task"}),
}
"""All protocols by name. The first is the default and the headline."""

DEFAULT = next(iter(PROTOCOLS))


def find_protocol(name: str) -> Protocol:
    """Return the protocol with this name.

    Raises:
        UnknownNameError: No protocol has this name.
    """
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The settings of an environment under a protocol.

    Attributes:
        settings: Settings of the environment, by name.
        task: Arguments of the task, by name.
        overridden: Names of the given settings that replace another value of the protocol.
    """

    settings: dict[str, Any]
    task: dict[str, Any]
    overridden: tuple[str, ...]


def resolve(protocol: str, task: str | Task, given: Mapping[str, Any]) -> Resolved:
    """Combine a protocol's settings with those that are given beside it.

    Args:
        protocol: Name of the protocol.
        task: A task, or the ``"module:Class"`` of one. The arguments of a finished task are as
            they are: the protocol does not add to them.
        given: The given settings and task arguments; None for the protocol's value.

    Raises:
        UnknownNameError: No protocol has this name.
        ConfigurationError: The protocol does not have the benchmark.
    """
    name = task.name if isinstance(task, Task) else str(load(task).name)
    if not find_protocol(protocol).plays(name):
        names = ", ".join(find_protocol(protocol).benchmarks)
        raise ConfigurationError(f"the protocol {protocol} has {names}, and not {name}")
    governed = find_protocol(protocol).settings_for(name)
    chosen = {key: value for key, value in given.items() if value is not None}
    overridden = sorted(k for k in chosen if k in governed and chosen[k] != governed[k])
    known = settings_of(EnvSettings)
    if isinstance(task, Task):
        governed = {key: value for key, value in governed.items() if key in known}
    combined = governed | {k: v for k, v in given.items() if v is not None or k not in governed}
    return Resolved(
        settings={k: v for k, v in combined.items() if k in known} | {"protocol": protocol},
        task={k: v for k, v in combined.items() if k not in known},
        overridden=tuple(overridden),
    )
