"""Leaderboard rows: the scores and costs of a method, computed from its runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agemem.eval.paper.benchmarks import BENCHMARKS, PAPER
from agemem.eval.paper.exhibits import ALL, AVERAGE, SCORE
from agemem.eval.paper.methods import Learning, Method, learning_of, order
from agemem.eval.paper.task_lists import digest, find_list
from agemem.eval.reporting.estimates import Estimate
from agemem.eval.reporting.groups import ComparisonGroup, make_groups
from agemem.eval.reporting.writers import csv_cell
from agemem.eval.runs.comparability import TABLES, Conditions, classify, listed
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.metrics import (
    llm_calls,
    mean_of,
    spent_completion_tokens,
    spent_prompt_tokens,
)
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result
from agemem_envs.env_settings import BenchmarkSettings
from agemem_envs.errors import ConfigurationError
from agemem_envs.settings import Scope, in_scope
from agemem_envs.training_record import Training
from agemem_envs.util.provenance import Provenance

LeaderboardRow = dict[str, str]
"""A row of the file. Every column is text, empty if there is no number."""

SCORES = tuple(f"{b.key}_{b.measure.lower()}" for b in BENCHMARKS.values())
FORMAT = 3
"""The version of the row format, which a row keeps. Format 0 has no such column; 0 and 1 have no
``protocol``, and fewer conditions; before 3 a row could be any tasks, and its model's training was
not recorded."""
QUALITIES = tuple(f"{b.key}_memory_quality" for b in BENCHMARKS.values() if b.answers)
SPENT = ("llm_calls", "prompt_tokens", "completion_tokens", "seconds", "cost")
RESULTS = (
    "method",
    "agent",
    "backbone",
    *SCORES,
    "average",
    "average_low",
    "average_high",
    *QUALITIES,
    *SPENT,
    "price_in",
    "price_out",
    "episodes",
)
TASKS = ("split", "task_list", "tasks", "tasks_sha256", "seed")
"""Columns of the tasks that were played: for each benchmark its split, and the name, the number of
tasks and the digest of its list; the seed of the runs."""
TRAINING = ("training", "training_seeds")
"""Columns of the model's training: each training's seed, reward and digests, and the number of
different seeds; empty for a model without a training record."""
SHOWN = ("top_k", "max_context_tokens", "given")
"""Conditions with a column of their own: k and the context budget of each benchmark, and the
settings that replaced those of the protocol."""
COLUMNS = (
    *RESULTS,
    *TASKS,
    *TRAINING,
    "data_sources",
    "protocol",
    *SHOWN,
    "stages",
    "judge",
    "constrained",
    "conditions",
    "method_conditions",
    "versions",
    "git_revision",
    "date",
    "sha256",
    "played_sha256",
    "format",
)
"""Scores are in per cent. Costs are per episode, for the agent and its memory system. Rows rank
only among rows with equal :data:`RANKED_AMONG`; ``method_conditions`` may differ there."""
RANKED_AMONG = (
    "protocol",
    "stages",
    "judge",
    "data_sources",
    "split",
    "task_list",
    "tasks",
    "tasks_sha256",
    "seed",
    "top_k",
    "max_context_tokens",
    "conditions",
)
"""The columns that rows of one ranking share."""
OLDER = {
    2: (*RESULTS, "data_sources", "protocol", "stages", "judge", "constrained", "conditions",
        "versions", "git_revision", "date", "sha256", "played_sha256", "format"),
}  # fmt: skip
OLDER[1] = tuple(name for name in OLDER[2] if name != "protocol")
OLDER[0] = tuple(name for name in OLDER[1] if name != "format")
"""The columns of older formats."""
UNLISTED = "no published list"
CLAIMED = "claimed, not verified"
"""The weights of a training that was only claimed, because a server ran the model."""
TRAINED = re.compile(
    rf"seed (?P<seed>\d+): learned by (?P<learning>{'|'.join(Learning)}), reward [\w-]+, "
    rf"record [0-9a-f]{{64}}, weights (?:[0-9a-f]{{64}}|{CLAIMED})"
)
"""A training in the column ``training``."""
_IN_COLUMNS = ("data_source", "env", "protocol", "stages")
"""Conditions of a benchmark that the row states in other columns."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a million prompt and completion tokens, in any currency, or None."""

    prompt: float | None = None
    completion: float | None = None

    def __post_init__(self) -> None:
        given = [price for price in (self.prompt, self.completion) if price is not None]
        if len(given) == 1:
            raise ConfigurationError("--price-in and --price-out must be given together")
        if not all(0.0 <= price < float("inf") for price in given):
            raise ConfigurationError(f"prices must be at least 0, got {given}")


def leaderboard_rows(
    runs: Sequence[PlayedRun], checkpoints: Mapping[str, str], prices: Prices
) -> list[LeaderboardRow]:
    """One row for each method under each set of conditions.

    A row depends on its own runs only, not on the others that are added or checked together.

    Args:
        runs: The runs. Those of a method that differ only in the benchmark share a row.
        checkpoints: The base model of each trained model, by the name that results record.
        prices: The prices for the cost.

    Raises:
        ConfigurationError: A benchmark has no column, a run has more than one method, or a task
            is in several runs of a row.
    """
    groups: dict[tuple[Method, str, Conditions, Conditions], list[PlayedRun]] = {}
    for run in sorted(runs, key=lambda run: run.sha256):
        first = classify(
            run.results[0], run, checkpoints
        )  # a run has one agent and one configuration
        key = (first.method, first.base, first.shared, first.model + first.row)
        groups.setdefault(key, []).append(run)
    return [
        _leaderboard_row(group, listed(shared), listed(own), members, prices)
        for (_, _, shared, own), members in sorted(groups.items(), key=lambda g: order(g[0][0]))
        for group in make_groups(members, checkpoints)
    ]


def _leaderboard_row(
    group: ComparisonGroup,
    shared: str,
    of_method: str,
    runs: Sequence[PlayedRun],
    prices: Prices,
) -> LeaderboardRow:
    for benchmark in group.benchmarks:
        if benchmark.key not in BENCHMARKS:
            raise ConfigurationError(
                f"the leaderboard has no column for the benchmark {benchmark.key}"
            )
    if len(group.rows) > 1:
        labels = ", ".join(row.label for row in group.rows)
        raise ConfigurationError(f"{runs[0].path} holds results of more than one method: {labels}")
    (row,) = group.rows
    results = [result for cell in group.results.values() for result in cell]
    ids = {id(result) for result in results}
    own = [run for run in runs if any(id(result) in ids for result in run.results)]
    tasks = Counter(
        (run.record.training.seed if run.record.training else None, r.episode.env_id,
         r.episode.task_id)
        for run in own for r in run.results if id(r) in ids
    )  # fmt: skip
    (_, env, task), times = tasks.most_common(1)[0]
    if times > 1:
        names = ", ".join(str(run.path) for run in own)
        raise ConfigurationError(f"task {task!r} of {env} is in several of the runs {names}")
    trainings = [run.record.training for run in own if run.record.training]
    average = group.numbers.get((row.key, ALL, AVERAGE), Estimate(None))
    values: dict[str, Any] = {
        "method": row.method.key,
        "agent": _several(result.agent for result in results),
        "backbone": _several(result.backbone for result in results),
        "average": _per_cent(average.value),
        "average_low": _per_cent(average.low),
        "average_high": _per_cent(average.high),
        "price_in": prices.prompt,
        "price_out": prices.completion,
        "episodes": len(results),
        **_tasks(group),
        "seed": _several(str(run.config.seed) for run in own),
        "training": _several(map(_training, trainings)),
        "training_seeds": len({t.seed for t in trainings}) or None,
        "top_k": _of_each(group, "top_k"),
        "max_context_tokens": _of_each(group, "max_context_tokens"),
        "given": _several(text for run in own for text in _given(run.config)),
        "data_sources": _several(str(result.episode.source) for result in results),
        "protocol": _of_each(group, "protocol"),
        "stages": _of_each(group, "stages"),
        "judge": _several(result.episode.settings.judge for result in results),
        "constrained": _several("yes" if result.constrained else "no" for result in results),
        "conditions": "; ".join([shared, *_of_benchmarks(group, own)]),
        "method_conditions": of_method,
        "versions": _several(_versions(run.record.provenance) for run in own),
        "git_revision": _several(str(run.record.provenance.git_revision) for run in own),
        "date": max(run.record.started or "" for run in own),
        "sha256": _several(run.sha256 for run in own),
        "played_sha256": _several(run.played_sha256 for run in own),
        "format": FORMAT,
        **_spent(results, prices),
    }
    for benchmark in BENCHMARKS.values():
        score = group.numbers.get((row.key, benchmark.key, SCORE), Estimate(None))
        values[f"{benchmark.key}_{benchmark.measure.lower()}"] = _per_cent(score.value)
        if benchmark.answers:
            quality = group.numbers.get((row.key, benchmark.key, "memory_quality"))
            values[f"{benchmark.key}_memory_quality"] = quality and quality.value
    return {name: _text(values[name]) for name in COLUMNS}


def table_of(row: LeaderboardRow) -> str:
    """The name of the table of a row: its protocol, or the name of those that share a table."""
    names = [part.rpartition(": ")[2] for part in row["protocol"].split("; ")]
    return ", ".join(dict.fromkeys(TABLES.get(name, name) for name in names))


def ranking_of(row: LeaderboardRow) -> tuple[str, ...] | None:
    """The conditions that rows share which may be ranked; None for a row that states too few."""
    return tuple(row[name] for name in RANKED_AMONG) if row["format"] == str(FORMAT) else None


def _tasks(group: ComparisonGroup) -> dict[str, str]:
    """The columns of the tasks of each benchmark."""
    columns: dict[str, list[str]] = {name: [] for name in TASKS if name != "seed"}
    for (_, key), cell in group.results.items():
        episodes = [result.episode for result in cell]
        ids = {episode.task_id for episode in episodes}
        tasks = find_list(key, episodes)
        values = {
            "split": ", ".join(sorted({episode.source.split for episode in episodes})),
            "task_list": tasks.name if tasks else UNLISTED,
            "tasks": len(ids),
            "tasks_sha256": digest(ids),
        }
        for name, value in values.items():
            columns[name].append(f"{BENCHMARKS[key].title}: {value}")
    return {name: _several(texts) for name, texts in columns.items()}


def _training(training: Training) -> str:
    """A training in one text; :data:`TRAINED` reads it."""
    return (
        f"seed {training.seed}: learned by {learning_of(training)}, reward {training.reward}, "
        f"record {training.sha256}, weights {training.weights_sha256 or CLAIMED}"
    )


def _given(config: RunConfig) -> Iterator[str]:
    """The settings that were given beside the protocol, except those with columns of their own."""
    default = RunConfig()
    for name in in_scope(BenchmarkSettings, Scope.TABLE, Scope.WORLD, Scope.TASKS):
        value = getattr(config, name)
        if name not in ("protocol", "judge") and value != getattr(default, name):
            yield f"{name}={value}"


def _of_each(group: ComparisonGroup, setting: str) -> str:
    """The value of a setting in each benchmark."""
    return _several(
        f"{BENCHMARKS[key].title}: {getattr(cell[0].episode.settings, setting)}"
        for (_, key), cell in group.results.items()
    )


def _of_benchmarks(group: ComparisonGroup, runs: Sequence[PlayedRun]) -> Iterator[str]:
    """The conditions of each benchmark, except those that have a column."""
    runs_of = {id(result): run for run in runs for result in run.results}
    for (_, key), cell in group.results.items():
        column = classify(cell[0], runs_of[id(cell[0])], {}).column
        conditions = [(k, v) for k, v in column if k not in _IN_COLUMNS]
        yield f"{BENCHMARKS[key].title}: {listed(conditions)}"


def _spent(results: Sequence[Result], prices: Prices) -> dict[str, float | None]:
    """Mean costs over all episodes, including failed ones."""
    prompt, completion = (
        mean_of(results, spent_prompt_tokens),
        mean_of(results, spent_completion_tokens),
    )
    cost = None
    if None not in (prompt, completion, prices.prompt, prices.completion):
        cost = (prompt * prices.prompt + completion * prices.completion) / 1e6  # type: ignore[operator]
    return {
        "llm_calls": mean_of(results, llm_calls),
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "seconds": mean_of(results, lambda result: result.seconds),
        "cost": cost,
    }


def _versions(software: Provenance) -> str:
    versions = {"agemem_envs": software.agemem_envs, "python": software.python}
    versions |= software.libraries
    return " ".join(f"{name}=={version}" for name, version in versions.items())


def _several(texts: Iterable[str]) -> str:
    """The different texts, sorted and joined."""
    return "; ".join(sorted(set(texts)))


def _per_cent(value: float | None) -> float | None:
    return None if value is None else value * 100


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(csv_cell(str(value)))


def average_of(row: LeaderboardRow) -> float | None:
    """The average of a row's scores; None unless it has all of the paper's benchmarks."""
    texts = [row[f"{b.key}_{b.measure.lower()}"] for b in PAPER]
    return sum(map(float, texts)) / len(texts) if all(texts) else None
