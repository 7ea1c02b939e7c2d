"""Paired tests between methods, scores by type and difficulty of task, and episode counts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agemem.eval.paper.benchmarks import Benchmark
from agemem.eval.paper.exhibits import ALL, AVERAGE, SCORE
from agemem.eval.paper.methods import Kind
from agemem.eval.reporting.estimates import Estimate, compared, estimate, stable_seed
from agemem.eval.reporting.groups import ComparisonGroup, GroupRow, failures
from agemem.eval.reporting.rendered import (
    MISSING,
    UNSCORED,
    RenderedCell,
    RenderedTable,
    format_interval,
)
from agemem.eval.stats.pairing import Paired, difference
from agemem.eval.stats.significance import holm, permutation_p


@dataclass(frozen=True, slots=True)
class Measure:
    """What methods are compared by: a metric of a benchmark, or the average of the scores.

    Attributes:
        benchmark: The key of the benchmark, or :data:`ALL`.
        metric: The metric, as in the numbers of a group.
        title: The heading of its table.
        scale: The factor from the stored number to the displayed one.
        digits: The number of digits after the decimal point.
    """

    benchmark: str
    metric: str
    title: str
    scale: float = 100.0
    digits: int = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired test of two methods on the tasks for which both have scores.

    Attributes:
        measure: What is compared.
        first: The label of the first method.
        second: The label of the second method.
        paired: The first mean minus the second, with its paired bootstrap interval.
        p: The two-sided p-value of a paired permutation test.
        adjusted: The p-value after Holm's correction over the family of the group.
    """

    measure: Measure
    first: str
    second: str
    paired: Paired
    p: float
    adjusted: float


def measures(group: ComparisonGroup) -> list[Measure]:
    """The measures of a group: the scores, memory quality of answers, and the average."""
    found = [Measure(b.key, SCORE, f"{b.title} ({b.measure}, points)") for b in group.benchmarks]
    found += [
        Measure(b.key, "memory_quality", f"{b.title} (memory quality)", 1.0, 3)
        for b in group.benchmarks
        if b.answers
    ]
    return [*found, Measure(ALL, AVERAGE, "average (points)")]


def compare(group: ComparisonGroup) -> list[Comparison]:
    """Compare all pairs of competing methods by all measures, as one family of hypotheses.

    In the permutation test a task that was played several times counts once, with its mean score.
    """
    rows = [row for row in group.rows if row.method.kind is not Kind.REFERENCE]
    tests: list[tuple[Measure, str, str, Paired, float]] = []
    for measure in measures(group):
        for one, other in itertools.combinations(rows, 2):
            numbers = [group.numbers.get((r.key, *_key(measure))) for r in (one, other)]
            first, second = numbers
            if first is None or second is None or not first.samples or not second.samples:
                continue
            name = f"{measure.benchmark}/{measure.metric}/{one.label}/{other.label}"
            result = compared(first, second, difference, share=True, name=name)
            if result is not None:
                p = permutation_p(_differences(first, second), stable_seed(name))
                tests.append((measure, one.label, other.label, result, p))
    adjusted = holm([test[-1] for test in tests])
    return [Comparison(*test, p) for test, p in zip(tests, adjusted, strict=True)]


def _key(measure: Measure) -> tuple[str, str]:
    return measure.benchmark, measure.metric


def _differences(first: Estimate, second: Estimate) -> list[float]:
    """The differences on shared tasks, weighted so that their sum is that of the means."""
    values = []
    for one, other in zip(first.samples, second.samples, strict=True):
        ours, theirs = one.by_task, other.by_task
        shared = [task for task in ours if task in theirs]
        values += [(ours[task] - theirs[task]) / len(shared) for task in shared]
    return values


def render_comparisons(group: ComparisonGroup) -> Iterator[RenderedTable]:
    """One table of paired tests for each measure of a group."""
    comparisons = compare(group)
    shown = list(dict.fromkeys(c.measure for c in comparisons))
    family = (
        f"One family of hypotheses for Holm's correction: the {len(comparisons)} tests of "
        f"{group.title}, which are all pairs of its competing methods by "
        f"{'; '.join(measure.title for measure in shown)}."
    )
    for measure in shown:
        tests = [c for c in comparisons if c.measure == measure]
        yield RenderedTable(
            title=f"{group.title}, {measure.title}",
            header=("First", "Second", "Tasks", "Difference", "p", "p (Holm)"),
            rows=tuple(tuple(map(RenderedCell, _texts(c))) for c in tests),
            notes=(family, *pooled_notes(group, measure.benchmark)),
            records=tuple(
                {
                    "panel": group.title,
                    "benchmark": measure.benchmark,
                    "metric": measure.metric,
                    "first": c.first,
                    "second": c.second,
                    "tasks": c.paired.tasks,
                    "difference": c.paired.value * measure.scale,
                    "low": None if c.paired.low is None else c.paired.low * measure.scale,
                    "high": None if c.paired.high is None else c.paired.high * measure.scale,
                    "p": c.p,
                    "p_holm": c.adjusted,
                    "family": group.title,
                    "family_size": len(comparisons),
                }
                for c in tests
            ),
        )


def _texts(test: Comparison) -> tuple[str, ...]:
    ends = (test.paired.value, test.paired.low, test.paired.high)
    value, low, high = (None if end is None else end * test.measure.scale for end in ends)
    interval = format_interval(value or 0.0, low, high, test.measure.digits, signed=True)
    counts = str(test.paired.tasks), interval, f"{test.p:.4f}", f"{test.adjusted:.4f}"
    return test.first, test.second, *counts


def pooled_notes(group: ComparisonGroup, benchmark: str = ALL) -> Iterator[str]:
    """Notes on the cells of a benchmark, or of all, that hold several runs."""
    labels = {row.key: row.label for row in group.rows}
    titles = {b.key: b.title for b in group.benchmarks}
    for (row, key), words in group.pooled.items():
        if benchmark in (ALL, key):
            yield f"{labels[row]}, {titles[key]}: {words}."


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
            seeds = [group.seed_of[id(result)] for result in results]
            cells[value, row.key] = estimate(results, benchmark.metric, seeds)
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
        notes=(
            "The 95% interval is in brackets, the number of scored episodes in parentheses.",
            *pooled_notes(group, benchmark.key),
        ),
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


def _points(value: float, low: float | None, high: float | None) -> str:
    """A share in per cent, with its interval."""
    low, high = (None if end is None else end * 100 for end in (low, high))
    return format_interval(value * 100, low, high, digits=1)


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
        notes=tuple(pooled_notes(group)),
        records=tuple(records),
    )
