"""Conditions: what a result was played under, and to what of a table each condition belongs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agemem.eval.paper.benchmarks import Benchmark, benchmark_of
from agemem.eval.paper.methods import NO_BACKBONE, Method, backbone_key, method_of
from agemem.eval.reporting.summary import identity
from agemem.eval.runs.folder import Result
from agemem.eval.runs.reading import PlayedRun

Conditions = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""

COLUMN_FIELDS = (
    "data_source",
    "encoder",
    "env",
    "max_task_actions",
    "max_task_rounds",
    "stages",
    "task",
)
"""What belongs to the benchmark: one value in a column."""
ROW_FIELDS = ("backbone", "engine", "few_shot", "token_counter", "tools")
"""What belongs to the method: it may differ between rows, never within one."""
MODEL_FIELDS = ("constrained", "max_tokens", "temperature", "top_p")
"""What belongs to the model: one value in a panel, and no matter to an agent without one."""
SAMPLING = ("few_shot", "max_tokens", "temperature", "top_p")
"""Read from the run's configuration: an episode does not record it."""
NOT_RECORDED = "not recorded"
_OWNED = {*COLUMN_FIELDS, *ROW_FIELDS, *MODEL_FIELDS}
"""All other conditions are shared by all rows and columns of a panel."""


@dataclass(frozen=True, slots=True)
class ClassifiedResult:
    """A result, and the conditions it was played under, by what they belong to.

    Attributes:
        result: The result.
        method: Its row.
        benchmark: Its column.
        base: The backbone whose panel it stands in.
        shared: What all of a panel have in common.
        model: What all of a panel have in common that call a model.
        column: What all rows of the column have in common.
        row: What may differ from other rows.
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
    """Where a result belongs.

    Args:
        result: Of the run.
        run: It is part of.
        checkpoints: For a trained model the backbone that it was made of.
    """
    common = identity(result)
    conditions = {
        **{name: _text(value) for name, value in result.episode.settings.items()},
        **{name: _text(value) for name, value in common.items()},
        **{name: _text(run.config.get(name, NOT_RECORDED)) for name in SAMPLING},
    }
    for alias in ("agent", "judge"):  # the first is the method; the second is judge_name too
        conditions.pop(alias, None)
    base = checkpoints.get(result.backbone) or run.suite_backbone or result.backbone

    def of(fields: Iterable[str]) -> Conditions:
        return tuple((name, conditions.get(name, NOT_RECORDED)) for name in fields)

    without_model = result.backbone == NO_BACKBONE
    return ClassifiedResult(
        result=result,
        method=method_of(result.agent, result.backbone),
        benchmark=benchmark_of(result.episode),
        base=NO_BACKBONE if without_model else backbone_key(base),
        shared=of(sorted(conditions.keys() - _OWNED)),
        model=() if without_model else of(MODEL_FIELDS),
        column=of(COLUMN_FIELDS),
        row=of(ROW_FIELDS) if not without_model else (),
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def differing(conditions: Iterable[Conditions]) -> set[str]:
    """The names that do not have one value in all of them."""
    known = [dict(c) for c in conditions]
    names = {name for c in known for name in c}
    return {name for name in names if len({c.get(name) for c in known}) > 1}


def listed(conditions: Iterable[tuple[str, str]]) -> str:
    """As shown; an empty value says that nothing is out of the ordinary."""
    return ", ".join(f"{name}: {value}" for name, value in conditions if value)
