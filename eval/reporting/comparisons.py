"""Paired tests between methods, and scores by type and difficulty of task."""

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
from agemem.eval.reporting.rendered import MISSING, UNSCORED, RenderedCell, RenderedTable
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import clustered_means, percentile_interval
from agemem.eval.stats.significance import holm, permutation_p


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods on the tasks that both were scored on.

    Attributes:
        first: Label of one.
        second: Label of the other.
        tasks: How many they share.
        difference: Mean over tasks of the first's score less the second's.
        low: The lower end of its 95% bootstrap interval, or None.
        high: The upper end.
        p: Two-sided p-value of a paired permutation test.
        adjusted: The same after Holm's correction for all pairs of the benchmark.
    """

    first: str
    second: str
    tasks: int
    difference: float
    low: float | None
    high: float | None
    p: float
    adjusted: float


def compare(panel: ComparisonGroup, benchmark: Benchmark) -> list[Comparison]:
    """All pairs of competing methods with shared tasks.

    A task that was played several times counts once, by its mean.
    """
    scores = {
        row.label: _by_task(panel.results[row.key, benchmark.key], benchmark.metric)
        for row in panel.rows
        if (row.key, benchmark.key) in panel.results and row.method.kind is not Kind.REFERENCE
    }
    pairs = []
    for first, second in itertools.combinations(scores, 2):
        tasks = sorted(scores[first].keys() & scores[second].keys())
        if tasks:
            values = [scores[first][task] - scores[second][task] for task in tasks]
            pairs.append((first, second, tasks, values))
    seeds = [zlib.crc32(f"{benchmark.key}/{f}/{s}".encode()) for f, s, _, _ in pairs]
    raw = [permutation_p(pair[3], seed) for pair, seed in zip(pairs, seeds, strict=True)]
    found = []
    for (first, second, tasks, values), seed, p, adjusted in zip(
        pairs, seeds, raw, holm(raw), strict=True
    ):
        draws = clustered_means(values, tasks, seed)
        low, high = (None, None) if draws is None else percentile_interval(draws)
        mean = float(np.mean(values))
        found.append(Comparison(first, second, len(tasks), mean, low, high, p, adjusted))
    return found


def _by_task(results: Sequence[Result], metric: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for result in results:
        value = METRICS[metric].of(result) if result.scored else None
        if value is not None:
            values.setdefault(result.episode.task_id, []).append(value)
    return {task: float(np.mean(group)) for task, group in values.items()}


def comparison_sheets(panel: ComparisonGroup) -> Iterator[RenderedTable]:
    """One sheet of paired tests for each benchmark of a panel."""
    for benchmark in panel.benchmarks:
        found = compare(panel, benchmark)
        if found:
            yield RenderedTable(
                title=f"{panel.title}, {benchmark.title} ({benchmark.measure}, points)",
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
                    for c in found
                ),
                records=tuple(
                    {
                        "panel": panel.title,
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
                    for c in found
                ),
            )


def breakdown_sheets(panel: ComparisonGroup) -> Iterator[RenderedTable]:
    """Scores by task type, and by the benchmark's own levels of difficulty."""
    for benchmark in panel.benchmarks:
        rows = [row for row in panel.rows if (row.key, benchmark.key) in panel.results]
        for aspect, name in (("category", "type"), ("difficulty", "difficulty")):
            values = {
                value
                for row in rows
                for result in panel.results[row.key, benchmark.key]
                if (value := getattr(result.episode, aspect))
            }
            if values:
                yield _breakdown(panel, benchmark, rows, aspect, name, sorted(values))


def _breakdown(
    panel: ComparisonGroup,
    benchmark: Benchmark,
    rows: Sequence[GroupRow],
    aspect: str,
    name: str,
    values: Sequence[str],
) -> RenderedTable:
    cells: dict[tuple[str, str], Estimate] = {}
    for value, row in itertools.product(values, rows):
        played = panel.results[row.key, benchmark.key]
        if chosen := [r for r in played if getattr(r.episode, aspect) == value]:
            cells[value, row.key] = estimate(chosen, benchmark.metric)
    return RenderedTable(
        title=f"{panel.title}, {benchmark.title} by {name} ({benchmark.measure}, per cent)",
        header=(name.capitalize(), *(row.label for row in rows)),
        rows=tuple(
            (
                RenderedCell(value),
                *(RenderedCell(_shown(cells.get((value, row.key)))) for row in rows),
            )
            for value in values
        ),
        notes=("In brackets the 95% interval, then the number of scored episodes.",),
        records=tuple(
            {
                "panel": panel.title,
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


def _shown(number: Estimate | None) -> str:
    if number is None:
        return MISSING
    if number.value is None:
        return UNSCORED
    return f"{_points(number.value, number.low, number.high)} ({number.scored})"


def _points(value: float, low: float | None, high: float | None, *, signed: bool = False) -> str:
    """A share in per cent, with its interval."""
    sign = "+" if signed else ""
    text = f"{value * 100 + 0.0:{sign}.1f}"
    if low is None or high is None:
        return text
    return f"{text} [{low * 100 + 0.0:{sign}.1f}, {high * 100 + 0.0:{sign}.1f}]"


def episode_sheet(panel: ComparisonGroup) -> RenderedTable:
    """What each number rests on: episodes, tasks, and what failed around the agents."""
    records = []
    for row, benchmark in itertools.product(panel.rows, panel.benchmarks):
        if results := panel.results.get((row.key, benchmark.key)):
            lost = failures(results)
            records.append(
                {
                    "panel": panel.title,
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
        title=panel.title,
        header=tuple(name.capitalize() for name in list(records[0])[1:]),
        rows=tuple(
            tuple(RenderedCell(str(value)) for value in list(record.values())[1:])
            for record in records
        ),
        records=tuple(records),
    )
