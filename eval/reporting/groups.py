"""Panels: results that may stand in one table, with what they have in common.

A panel has one backbone. In each of its columns all rows were played under the same
conditions; what differs makes another row, or another panel, which names the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agemem.eval.paper.benchmarks import BENCHMARKS, PAPER, Benchmark
from agemem.eval.paper.exhibits import SCORE
from agemem.eval.paper.methods import NO_BACKBONE, Kind, Method, order
from agemem.eval.reporting.estimates import Estimate, Key, Numbers, estimate, with_averages
from agemem.eval.runs.comparability import (
    ROW_FIELDS,
    ClassifiedResult,
    Conditions,
    classify,
    differing,
    listed,
)
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result
from agemem_envs.tools import TOOLS, short_name

QA_METRICS = (
    "judge",
    "memory_quality",
    "prompt_tokens",
    "tool_calls",
    *(f"{short_name(tool)}_calls" for tool in TOOLS),
)
"""Measured in question answering, beside the score."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A method in a panel.

    Attributes:
        key: Identifies it in the panel's numbers.
        method: What it is.
        variant: How it differs from other rows of the same method, or empty.
    """

    key: str
    method: Method
    variant: str = ""

    @property
    def label(self) -> str:
        """As shown."""
        return f"{self.method.title} ({self.variant})" if self.variant else self.method.title


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader of a table must know.

    Attributes:
        text: A sentence.
        benchmark: The column that it is about; empty if it is about all.
    """

    text: str
    benchmark: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonGroup:
    """Everything that may be compared with each other.

    Attributes:
        title: The backbone, and what tells this panel from others of the same one.
        backbone: The one name of the backbone.
        rows: The methods, in the order of the tables.
        benchmarks: The columns for which there are numbers.
        numbers: Of each row, benchmark and metric.
        by_exhibit: The same for single items of the report, where they have numbers of their own.
        notes: What all share, and what single columns and rows were played under.
        results: The episodes behind each row and column; empty for numbers without episodes.
    """

    title: str
    backbone: str
    rows: tuple[GroupRow, ...]
    benchmarks: tuple[Benchmark, ...]
    numbers: Numbers = field(default_factory=dict)
    by_exhibit: Mapping[str, Numbers] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    results: Mapping[tuple[str, str], Sequence[Result]] = field(default_factory=dict)

    def numbers_of(self, item: str) -> Numbers:
        """The numbers for one item of the report."""
        return self.by_exhibit.get(item, self.numbers)


def make_groups(runs: Sequence[PlayedRun], checkpoints: Mapping[str, str]) -> list[ComparisonGroup]:
    """Sort the episodes of runs into panels.

    Args:
        runs: As read.
        checkpoints: For a trained model, by the name that its results record, the backbone
            beside whose other methods it stands.
    """
    played = [
        classify(result, run, checkpoints)
        for run in sorted(runs, key=lambda run: run.sha256)
        for result in sorted(run.results, key=lambda result: result.key)
    ]
    groups = list(_groups(played))
    named = differing(shared + model for _, shared, model, _ in groups)
    panels = []
    for base, shared, model, members in groups:
        differences = [f"{k}: {v}" for k, v in shared + model if k in named]
        variants = list(_aligned(members))
        for number, columns in enumerate(variants, 1):
            told = [f"variant {number}"] if len(variants) > 1 else []
            title = ", ".join([base, *differences, *told])
            chosen = [p for p in members if columns[p.benchmark.key] == p.column]
            panels.append(_panel(title, base, chosen, listed(shared + model)))
    return panels


def _groups(
    played: Sequence[ClassifiedResult],
) -> Iterable[tuple[str, Conditions, Conditions, list[ClassifiedResult]]]:
    """The episodes of each backbone under each set of shared conditions.

    Agents without a model stand beside every backbone that was judged alike.
    """
    groups: dict[tuple[str, Conditions, Conditions], list[ClassifiedResult]] = {}
    for one in played:
        groups.setdefault((one.base, one.shared, one.model), []).append(one)
    for (base, shared, model), members in sorted(groups.items()):
        if base != NO_BACKBONE:
            yield base, shared, model, members + groups.get((NO_BACKBONE, shared, ()), [])
        elif not any(b != NO_BACKBONE and s == shared for b, s, _ in groups):
            yield base, shared, model, members


def _aligned(members: Sequence[ClassifiedResult]) -> Iterable[dict[str, Conditions]]:
    """One set of column conditions for each panel that is needed.

    Where a benchmark was played under several, the panels take them in turn, the paper's
    protocol and the most episodes first; a benchmark with fewer repeats its last.
    """
    found: dict[str, Counter[Conditions]] = {}
    for one in members:
        found.setdefault(one.benchmark.key, Counter())[one.column] += 1
    stages = {one.benchmark.key: one.benchmark.stages for one in members}
    variants = {
        key: sorted(c, key=lambda v: (("stages", stages[key]) not in v, -c[v], v))
        for key, c in found.items()
    }
    for number in range(max(map(len, variants.values()))):
        yield {key: known[min(number, len(known) - 1)] for key, known in variants.items()}


def _panel(
    title: str, base: str, members: Sequence[ClassifiedResult], conditions: str
) -> ComparisonGroup:
    rows: dict[tuple[Method, Conditions], GroupRow] = {}
    variants: dict[Method, set[Conditions]] = {}
    for one in members:
        variants.setdefault(one.method, set()).add(one.row)
    for method in sorted(variants, key=order):
        differing_fields = differing(variants[method])
        for row in sorted(variants[method]):
            variant = listed((k, v) for k, v in row if k in differing_fields)
            key = f"{method.key} {variant}".strip()
            rows[method, row] = GroupRow(key, method, variant)
    cells: dict[tuple[str, str], list[Result]] = {}
    for one in members:
        cell = (rows[one.method, one.row].key, one.benchmark.key)
        cells.setdefault(cell, []).append(one.result)
    found = {one.benchmark.key: one.benchmark for one in members}
    known = [key for key in BENCHMARKS if key in found]
    benchmarks = tuple(found[key] for key in [*known, *sorted(found.keys() - set(known))])
    columns = {one.benchmark.key: one.column for one in members}
    return ComparisonGroup(
        title=title,
        backbone=base,
        rows=tuple(rows.values()),
        benchmarks=benchmarks,
        numbers=_numbers(cells, found),
        notes=(
            Note(f"Common to all rows: {conditions}."),
            *_row_notes(members, rows),
            *(note for b in benchmarks for note in _column_notes(b, columns[b.key])),
            *(n for b in benchmarks for n in _task_notes(b, cells, list(rows.values()))),
        ),
        results=cells,
    )


def _numbers(
    cells: Mapping[tuple[str, str], Sequence[Result]], found: Mapping[str, Benchmark]
) -> Numbers:
    numbers: dict[Key, Estimate] = {}
    for (row, key), results in cells.items():
        numbers[row, key, SCORE] = estimate(results, found[key].metric)
        for metric in QA_METRICS if found[key].answers else ():
            numbers[row, key, metric] = estimate(results, metric)
    return with_averages(numbers)


def _row_notes(
    members: Sequence[ClassifiedResult], rows: Mapping[tuple[Method, Conditions], GroupRow]
) -> Iterable[Note]:
    """What differs between rows beside the method, and which agents they are."""
    conditions = {row.label: dict(known) for (_, known), row in rows.items() if known}
    for name in ROW_FIELDS:
        values: dict[str, list[str]] = {}
        for label, row in conditions.items():
            values.setdefault(row[name], []).append(label)
        if len(values) > 1 and name != "tools":  # every method has its own tools
            told = (f"{value} ({', '.join(labels)})" for value, labels in values.items())
            yield Note(f"Rows differ in {name}: {'; '.join(told)}.")
    renamed = {(one.result.agent, one.method) for one in members}
    for agent, method in sorted(renamed, key=lambda pair: (pair[0], pair[1].key)):
        if agent != method.key and method.kind is Kind.OURS:
            yield Note(f"{method.title} includes the agent {agent} on an untrained backbone.")


def _column_notes(benchmark: Benchmark, column: Conditions) -> Iterable[Note]:
    """What a column was played under, and whether the paper does so."""
    yield Note(f"{benchmark.title} is played under {listed(column)}.", benchmark.key)
    stages = dict(column)["stages"]
    if benchmark in PAPER and stages != benchmark.stages:
        yield Note(
            f"The paper runs {benchmark.title} with stages: {benchmark.stages}; "
            f"numbers with stages: {stages} do not compare with its own.",
            benchmark.key,
        )


def _task_notes(
    benchmark: Benchmark,
    cells: Mapping[tuple[str, str], Sequence[Result]],
    rows: Sequence[GroupRow],
) -> Iterable[Note]:
    """Whether methods were played on the same tasks, what is unscored, who judged."""
    played = [(r, cells[r.key, benchmark.key]) for r in rows if (r.key, benchmark.key) in cells]
    tasks = [{result.episode.task_id for result in results} for _, results in played]
    if any(one != tasks[0] for one in tasks):
        counts = ", ".join(
            f"{row.label} {len(one)}" for (row, _), one in zip(played, tasks, strict=True)
        )
        shared = len(set.intersection(*tasks))
        yield Note(
            f"{benchmark.title}: not all rows are on the same tasks ({counts}; {shared} shared).",
            benchmark.key,
        )
    for row, results in played:
        lost = ", ".join(f"{n} by the {name}" for name, n in failures(results).items() if n)
        if lost:
            text = f"{row.label}, {benchmark.title}: of {len(results)} episodes unscored: {lost}."
            yield Note(text, benchmark.key)
    judge = played[0][1][0].episode.settings.judge
    if benchmark in PAPER and benchmark.answers and not judge.startswith("llm:"):
        yield Note(
            f"The paper's judge is a language model; J and memory quality by {judge} do not "
            "compare with its own.",
            benchmark.key,
        )


def failures(results: Iterable[Result]) -> dict[str, int]:
    """How many episodes are unscored, by what failed."""
    counts = {"endpoint": 0, "environment": 0, "judge": 0}
    for result in results:
        if not result.scored:
            reason = result.episode.stop_reason
            counts["endpoint" if reason == "endpoint_error" else "environment"] += 1
        elif result.episode.errors:
            counts["judge"] += 1
    return counts
