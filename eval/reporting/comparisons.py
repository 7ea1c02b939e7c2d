"""Paired tests between methods, scores by type and difficulty of task, and episode counts."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agemem.eval.paper.benchmarks import Benchmark
from agemem.eval.paper.methods import Kind
from agemem.eval.reporting.estimates import Estimate, estimate
from agemem.eval.reporting.groups import ComparisonGroup, GroupRow, failures
from agemem.eval.reporting.rendered import (
    MISSING,
    UNSCORED,
    RenderedCell,
    RenderedTable,
    format_interval,
)
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import clustered_means, percentile_interval
from agemem.eval.stats.significance import holm, permutation_p


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired test of two methods on the tasks for which both have scores.

    Attributes:
        first: The label of the first method.
        second: The label of the second method.
        tasks: The number of shared tasks.
        difference: The mean over tasks of the first score minus the second.
        low: The lower end of the 95% bootstrap interval of the difference, or None.
        high: The upper end, or None.
        p: The two-sided p-value of a paired permutation test.
        adjusted: The p-value after Holm's correction over all pairs of the benchmark.
    """

    first: str
    second: str
    tasks: int
    difference: float
    low: float | None
    high: float | None
    p: float
    adjusted: float


def compare(group: ComparisonGroup, benchmark: Benchmark) -> list[Comparison]:
    """Compare all pairs of competing methods that share tasks.

    A task that was played several times counts once, with its mean score.
    """
    scores = {
        row.label: _by_task(group.results[row.key, benchmark.key], benchmark.metric)
        for row in group.rows
        if (row.key, benchmark.key) in group.results and row.method.kind is not Kind.REFERENCE
    }
    pairs = []
    for first, second in itertools.combinations(scores, 2):
        tasks = sorted(scores[first].keys() & scores[second].keys())
        if tasks:
            values = [scores[first][task] - scores[second][task] for task in tasks]
            pairs.append((first, second, tasks, values))
    seeds = [zlib.crc32(f"{benchmark.key}/{f}/{s}".encode()) for f, s, _, _ in pairs]
    raw = [permutation_p(pair[3], seed) for pair, seed in zip(pairs, seeds, strict=True)]
    comparisons = []
    for (first, second, tasks, values), seed, p, adjusted in zip(
        pairs, seeds, raw, holm(raw), strict=True
    ):
        draws = clustered_means(values, tasks, seed)
        low, high = (None, None) if draws is None else percentile_interval(draws)
        mean = float(np.mean(values))
        comparisons.append(Comparison(first, second, len(tasks), mean, low, high, p, adjusted))
    return comparisons


def _by_task(results: Sequence[Result], metric: str) -> dict[str, float]:
    """The mean of a metric for each task with a score."""
    values: dict[str, list[float]] = {}
    for result in results:
        value = METRICS[metric].of(result) if result.scored else None
        if value is not None:
            values.setdefault(result.episode.task_id, []).append(value)
    return {task: float(np.mean(scores)) for task, scores in values.items()}


def render_comparisons(group: ComparisonGroup) -> Iterator[RenderedTable]:
    """One table of paired tests for each benchmark of a group."""
    for benchmark in group.benchmarks:
        comparisons = compare(group, benchmark)
        if comparisons:
            yield RenderedTable(
                title=f"{group.title}, {benchmark.title} ({benchmark.measure}, points)",
                header=("First", "Second", "Tasks", "Difference", "p", "p (Holm)"),
                rows=tuple(
                    (
                        RenderedCell(c.first),
                        RenderedCell(c.second),
                        RenderedCell(str(c.tasks)),
                        RenderedCell(_points(c.difference, c.low, c.high, signed=True)),
                        RenderedCell(f"{c.p:.4f}"),
                        RenderedCell(f"{c.adjusted:.4f}"),
                    )
                    for c in comparisons
                ),
                records=tuple(
                    {
                        "panel": group.title,
                        "benchmark": benchmark.key,
                        "first": c.first,
                        "second": c.second,
                        "tasks": c.tasks,
                        "difference": c.difference * 100,
                        "low": None if c.low is None else c.low * 100,
                        "high": None if c.high is None else c.high * 100,
                        "p": c.p,
                        "p_holm": c.adjusted,
                    }
                    for c in comparisons
                ),
            )


def render_breakdowns(group: ComparisonGroup) -> Iterator[RenderedTable]:
    """Scores by task type, and by the benchmark's own levels of difficulty."""
    for benchmark in group.benchmarks:
        rows = [row for row in group.rows if (row.key, benchmark.key) in group.results]
        for aspect, name in (("category", "type"), ("difficulty", "difficulty")):
            values = {
                value
                for row in rows
                for result in group.results[row.key, benchmark.key]
                if (value := getattr(result.episode, aspect))
            }
            if values:
                yield _breakdown(group, benchmark, rows, aspect, name, sorted(values))


def _breakdown(
    group: ComparisonGroup,
    benchmark: Benchmark,
    rows: Sequence[GroupRow],
    aspect: str,
    name: str,
    values: Sequence[str],
) -> RenderedTable:
    cells: dict[tuple[str, str], Estimate] = {}
    for value, row in itertools.product(values, rows):
        played = group.results[row.key, benchmark.key]
        if results := [r for r in played if getattr(r.episode, aspect) == value]:
            cells[value, row.key] = estimate(results, benchmark.metric)
    return RenderedTable(
        title=f"{group.title}, {benchmark.title} by {name} ({benchmark.measure}, per cent)",
        header=(name.capitalize(), *(row.label for row in rows)),
        rows=tuple(
            (
                RenderedCell(value),
                *(RenderedCell(_breakdown_cell(cells.get((value, row.key)))) for row in rows),
            )
            for value in values
        ),
        notes=("The 95% interval is in brackets, the number of scored episodes in parentheses.",),
        records=tuple(
            {
                "panel": group.title,
                "benchmark": benchmark.key,
                "by": name,
                "group": value,
                "method": row,
                "value": None if e.value is None else e.value * 100,
                "low": None if e.low is None else e.low * 100,
                "high": None if e.high is None else e.high * 100,
                "episodes": e.episodes,
                "scored": e.scored,
                "tasks": e.tasks,
            }
            for (value, row), e in cells.items()
        ),
    )


def _breakdown_cell(number: Estimate | None) -> str:
    if number is None:
        return MISSING
    if number.value is None:
        return UNSCORED
    return f"{_points(number.value, number.low, number.high)} ({number.scored})"


def _points(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """A share in per cent, with its interval."""
    low, high = (None if end is None else end * 100 for end in (low, high))
    return format_interval(value * 100, low, high, digits=1, signed=signed)


def render_episodes(group: ComparisonGroup) -> RenderedTable:
    """The numbers of episodes, tasks and failures behind each score."""
    records = []
    for row, benchmark in itertools.product(group.rows, group.benchmarks):
        if results := group.results.get((row.key, benchmark.key)):
            lost = failures(results)
            records.append(
                {
                    "panel": group.title,
                    "method": row.label,
                    "benchmark": benchmark.title,
                    "episodes": len(results),
                    "tasks": len({r.episode.task_id for r in results}),
                    "scored": len(results) - lost["endpoint"] - lost["environment"],
                    "endpoint failures": lost["endpoint"],
                    "environment failures": lost["environment"],
                    "judge failures": lost["judge"],
                }
            )
    return RenderedTable(
        title=group.title,
        header=tuple(name.capitalize() for name in list(records[0])[1:]),
        rows=tuple(
            tuple(RenderedCell(str(value)) for value in list(record.values())[1:])
            for record in records
        ),
        records=tuple(records),
    )
