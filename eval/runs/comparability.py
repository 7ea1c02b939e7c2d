"""Experimental conditions of a result, grouped by scope: table, column, row or model.

The scope of a condition follows from the declaration of its setting
(:class:`~agemem_envs.settings.Scope`); this module adds the conditions that are not settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.eval.paper.benchmarks import Benchmark, benchmark_of
from agemem.eval.paper.methods import (
    NO_BACKBONE,
    Method,
    backbone_key,
    learning_of,
    method_of,
)
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result
from agemem_envs.encoders import recorded_name
from agemem_envs.env_settings import EnvSettings
from agemem_envs.settings import Scope, in_scope, settings_of
from agemem_envs.tools import TOOL_SETS

Conditions = tuple[tuple[str, str], ...]
"""Names and values of conditions, sorted by name."""

_RESULT = {
    "backbone": Scope.METHOD,
    "engine": Scope.METHOD,
    "constrained": Scope.MODEL,
    "env": Scope.WORLD,
    "data_source": Scope.WORLD,
    "task": Scope.WORLD,
    "overridden": Scope.WORLD,
}
"""Conditions that a result records apart from its settings."""
TABLES = {
    **dict.fromkeys(("agentboard", "release"), "paper"),
    **dict.fromkeys(("full", "task"), "full/task"),
}
"""The protocols that share a table, with its name: each is for other columns of it, as in the
paper's tables. Every other protocol has tables of its own."""
_SHOWN_AS = {"judge": "judge_name"}
"""Conditions whose name differs from that of their setting: ``judge`` is also a metric."""
_UNSHOWN = {"agent"}
"""Settings that are not conditions: the agent identifies the method."""


def _by_scope() -> dict[Scope, tuple[str, ...]]:
    """The names of the conditions of each scope, sorted."""
    scopes = {name: d.setting.scope for name, d in settings_of(RunConfig).items()} | _RESULT
    names = {scope: [n for n, s in scopes.items() if s is scope] for scope in Scope}
    return {
        scope: tuple(sorted(_SHOWN_AS.get(n, n) for n in members if n not in _UNSHOWN))
        for scope, members in names.items()
    }


CONDITIONS = _by_scope()
"""The names of the conditions of each scope."""
ROW_FIELDS = CONDITIONS[Scope.METHOD]
_OF_THE_RUN = [
    name
    for name in in_scope(RunConfig, Scope.TABLE, Scope.WORLD, Scope.METHOD, Scope.MODEL)
    if name not in settings_of(EnvSettings) and name not in _RESULT and name not in _UNSHOWN
]
"""Conditions from the run's configuration that its episodes do not record."""
SUMMARIZED = [name for name, d in settings_of(EnvSettings).items() if d.setting.summarized]
"""Settings that have a column in a summary."""


@dataclass(frozen=True, slots=True)
class ClassifiedResult:
    """A result with its experimental conditions, grouped by scope.

    Attributes:
        result: The result.
        method: The method, which is its row.
        benchmark: The benchmark, which is its column.
        base: The backbone of its comparison group.
        shared: Conditions that all results of a group must share.
        model: Conditions that all results of a group must share if their agents call a model.
        column: Conditions that all results of a column must share.
        row: Conditions that may differ between rows.
    """

    result: Result
    method: Method
    benchmark: Benchmark
    base: str
    shared: Conditions
    model: Conditions
    column: Conditions
    row: Conditions


def classify(result: Result, run: PlayedRun, checkpoints: Mapping[str, str]) -> ClassifiedResult:
    """Determine the row, the column and the conditions of a result.

    Args:
        result: The result.
        run: The run that contains it.
        checkpoints: The backbone from which each trained model was made, by the model's name.
    """
    conditions = {
        **{name: _text(value) for name, value in identity(result).items()},
        **{name: _text(getattr(run.config, name)) for name in _OF_THE_RUN},
    }
    training = run.record.training
    if training is not None:  # trainings of one recipe that differ in the seed are one method
        conditions["backbone"] = f"trained by recipe {training.recipe[:12]}"
    of_training = training.model.base if training is not None else result.backbone
    base = checkpoints.get(result.backbone) or run.suite_backbone or of_training

    def of(scope: Scope) -> Conditions:
        return tuple((name, conditions[name]) for name in CONDITIONS[scope])

    column = of(Scope.WORLD)
    protocol = conditions["protocol"]
    if protocol in TABLES:  # the table has several: each column states its own
        column = tuple(sorted((*column, ("protocol", protocol))))
        conditions["protocol"] = TABLES[protocol]
    without_model = result.backbone == NO_BACKBONE
    return ClassifiedResult(
        result=result,
        method=method_of(result.agent, learning_of(training)),
        benchmark=benchmark_of(result.episode),
        base=NO_BACKBONE if without_model else backbone_key(base),
        shared=of(Scope.TABLE),
        model=() if without_model else of(Scope.MODEL),
        column=column,
        row=() if without_model else of(Scope.METHOD),
    )


def identity(result: Result) -> dict[str, Any]:
    """The values, by name, that results must have in common to be averaged."""
    settings = result.episode.settings
    values = {name: getattr(settings, name) for name in settings_of(EnvSettings)}
    return {
        "agent": result.agent,
        "backbone": result.backbone,
        "engine": result.engine,
        "constrained": result.constrained,
        "env": result.episode.env_id,
        "data_source": str(result.episode.source),
        "task": settings.task,
        "overridden": ", ".join(settings.overridden),
        **{_SHOWN_AS.get(name, name): value for name, value in values.items()},
        "tools": _tool_set(settings.tools),
        "encoder": recorded_name(settings.encoder),
    }


def _tool_set(tools: Sequence[str]) -> str:
    """The name of a tool set, or its members."""
    named = (name for name, members in TOOL_SETS.items() if list(members) == list(tools))
    return next(named, "+".join(tools))


def summary_columns(result: Result) -> dict[str, Any]:
    """The part of a result's identity that a summary shows."""
    columns = {_SHOWN_AS.get(name, name) for name in SUMMARIZED} | {"agent", *_RESULT}
    return {name: value for name, value in identity(result).items() if name in columns}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def differing(conditions: Iterable[Conditions]) -> set[str]:
    """The names of the conditions whose values differ."""
    groups = [dict(c) for c in conditions]
    names = {name for group in groups for name in group}
    return {name for name in names if len({group.get(name) for group in groups}) > 1}


def listed(conditions: Iterable[tuple[str, str]]) -> str:
    """Format conditions for display, without those that have an empty value."""
    return ", ".join(f"{name}: {value}" for name, value in conditions if value)
