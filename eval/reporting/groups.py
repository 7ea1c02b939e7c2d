"""Comparison groups: results that may share a table, and the conditions that they share.

A group has one backbone. In each of its columns all rows were played under the same conditions.
A difference in conditions makes another row or another group, which names the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agemem.eval.paper.benchmarks import BENCHMARKS, PAPER, Benchmark
from agemem.eval.paper.exhibits import SCORE
from agemem.eval.paper.methods import LEARNED, NO_BACKBONE, UNTRAINED, Method, order
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
"""Metrics of question answering, in addition to the score."""
WORLD_METRICS = ("success", "progress")
"""Metrics of interactive worlds, in addition to the score."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A method in a comparison group.

    Attributes:
        key: The row's key in the numbers of the group.
        method: The method.
        variant: How the row differs from other rows of the same method, or empty.
        seeds: The number of training seeds of a trained method, in words, or empty.
    """

    key: str
    method: Method
    variant: str = ""
    seeds: str = ""

    @property
    def label(self) -> str:
        """The name of the row in tables."""
        return self.titled(self.method.title)

    def titled(self, title: str) -> str:
        """A title of the method with what else identifies the row."""
        details = ", ".join(filter(None, (self.variant, self.seeds)))
        return f"{title} ({details})" if details else title


@dataclass(frozen=True, slots=True)
class Note:
    """A remark below a table.

    Attributes:
        text: One sentence.
        benchmark: The column that it is about; empty if it is about all columns.
    """

    text: str
    benchmark: str = ""


@dataclass(frozen=True, slots=True)
class ComparisonGroup:
    """Results of one backbone that may be compared with each other.

    Attributes:
        title: The backbone, and how the group differs from others with the same backbone.
        backbone: The canonical name of the backbone.
        rows: The methods, in the order of the tables.
        benchmarks: The columns that have numbers.
        numbers: One estimate for each row, benchmark and metric.
        by_exhibit: Replaces ``numbers`` for exhibits that have numbers of their own.
        notes: The conditions of the group, of its columns and of its rows.
        results: The episodes of each row and column; empty for numbers without episodes.
        pooled: The runs behind each row and column that has several, in words.
        seed_of: The training seed of each result (:func:`training_seed`), by its ``id``.
        table: The table of protocols (:data:`agemem.eval.runs.comparability.TABLES`).
        protocols: The protocol of each benchmark.
    """

    title: str
    backbone: str
    rows: tuple[GroupRow, ...]
    benchmarks: tuple[Benchmark, ...]
    numbers: Numbers = field(default_factory=dict)
    by_exhibit: Mapping[str, Numbers] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    results: Mapping[tuple[str, str], Sequence[Result]] = field(default_factory=dict)
    pooled: Mapping[tuple[str, str], str] = field(default_factory=dict)
    seed_of: Mapping[int, str] = field(default_factory=dict)
    table: str = ""
    protocols: Mapping[str, str] = field(default_factory=dict)

    def numbers_of(self, exhibit: str) -> Numbers:
        """The numbers of an exhibit, by its key."""
        return self.by_exhibit.get(exhibit, self.numbers)


def make_groups(runs: Sequence[PlayedRun], checkpoints: Mapping[str, str]) -> list[ComparisonGroup]:
    """Sort the episodes of runs into comparison groups.

    Args:
        runs: The runs, in any order.
        checkpoints: The base model of each trained model, by the name that results record.
            A trained model joins the group of its base model.
    """
    run_of = {id(result): run for run in runs for result in run.results}
    classified = [
        classify(result, run, checkpoints)
        for run in sorted(runs, key=lambda run: run.sha256)
        for result in sorted(run.results, key=lambda result: result.key)
    ]
    partitions = list(_partition(classified))
    differing_names = differing(shared + model for _, shared, model, _ in partitions)
    groups = []
    for base, shared, model, members in partitions:
        differences = [f"{k}: {v}" for k, v in shared + model if k in differing_names]
        variants = list(_column_variants(members))
        for number, columns in enumerate(variants, 1):
            suffix = [f"variant {number}"] if len(variants) > 1 else []
            title = ", ".join([base, *differences, *suffix])
            aligned = [m for m in members if columns[m.benchmark.key] == m.column]
            groups.append(_group(title, base, aligned, listed(shared + model), run_of))
    return groups


def _partition(
    results: Sequence[ClassifiedResult],
) -> Iterable[tuple[str, Conditions, Conditions, list[ClassifiedResult]]]:
    """The episodes of each backbone under each set of shared conditions.

    Agents that call no model join every backbone with the same shared conditions.
    """
    partitions: dict[tuple[str, Conditions, Conditions], list[ClassifiedResult]] = {}
    for result in results:
        partitions.setdefault((result.base, result.shared, result.model), []).append(result)
    for (base, shared, model), members in sorted(partitions.items()):
        if base != NO_BACKBONE:
            yield base, shared, model, members + partitions.get((NO_BACKBONE, shared, ()), [])
        elif not any(b != NO_BACKBONE and s == shared for b, s, _ in partitions):
            yield base, shared, model, members


def _column_variants(members: Sequence[ClassifiedResult]) -> Iterable[dict[str, Conditions]]:
    """One set of column conditions, by benchmark, for each group that is needed.

    A benchmark that was played under several conditions contributes one of them to each group:
    first the paper's protocol, then the conditions with most episodes. A benchmark with fewer
    conditions than another repeats its last.
    """
    counts: dict[str, Counter[Conditions]] = {}
    for member in members:
        counts.setdefault(member.benchmark.key, Counter())[member.column] += 1
    papers = {member.benchmark.key: member.benchmark.protocol for member in members}
    variants = {
        key: sorted(count, key=lambda v: (not _is_papers(v, papers[key]), -count[v], v))
        for key, count in counts.items()
    }
    for number in range(max(map(len, variants.values()))):
        yield {key: columns[min(number, len(columns) - 1)] for key, columns in variants.items()}


def _is_papers(column: Conditions, protocol: str) -> bool:
    """Whether a column has the paper's protocol, without any other setting."""
    return {("protocol", protocol), ("overridden", "")} <= set(column)


def _group(
    title: str,
    base: str,
    members: Sequence[ClassifiedResult],
    conditions: str,
    run_of: Mapping[int, PlayedRun],
) -> ComparisonGroup:
    seed_of = {id(m.result): training_seed(m.result, run_of[id(m.result)]) for m in members}
    rows: dict[tuple[Method, Conditions], GroupRow] = {}
    variants: dict[Method, set[Conditions]] = {}
    for member in members:
        variants.setdefault(member.method, set()).add(member.row)
    for method in sorted(variants, key=order):
        differing_names = differing(variants[method])
        for row in sorted(variants[method]):
            variant = listed((k, v) for k, v in row if k in differing_names)
            key = f"{method.key} {variant}".strip()
            seeds = {seed_of[id(m.result)] for m in members if (m.method, m.row) == (method, row)}
            words = _counted_seeds(len(seeds)) if trained(method) else ""
            rows[method, row] = GroupRow(key, method, variant, words)
    cells: dict[tuple[str, str], list[Result]] = {}
    for member in members:
        cell = (rows[member.method, member.row].key, member.benchmark.key)
        cells.setdefault(cell, []).append(member.result)
    by_key = {member.benchmark.key: member.benchmark for member in members}
    registered = [key for key in BENCHMARKS if key in by_key]
    others = sorted(by_key.keys() - set(registered))
    benchmarks = tuple(by_key[key] for key in [*registered, *others])
    columns = {member.benchmark.key: member.column for member in members}
    pooled = {
        cell: words
        for cell, results in cells.items()
        if (words := pooled_runs([run_of[id(result)] for result in results]))
    }
    return ComparisonGroup(
        title=title,
        backbone=base,
        rows=tuple(rows.values()),
        benchmarks=benchmarks,
        numbers=_numbers(cells, by_key, pooled, seed_of),
        notes=(
            Note(f"Common to all rows: {conditions}."),
            *_row_notes(members, rows),
            *(note for b in benchmarks for note in _column_notes(b, columns[b.key])),
            *(n for b in benchmarks for n in _task_notes(b, cells, list(rows.values()))),
        ),
        results=cells,
        pooled=pooled,
        seed_of=seed_of,
        table=dict(members[0].shared)["protocol"],
        protocols={m.benchmark.key: m.result.episode.settings.protocol for m in members},
    )


def trained(method: Method) -> bool:
    """Whether a method is one of a trained model."""
    return method in LEARNED.values()


def training_seed(result: Result, run: PlayedRun) -> str:
    """Names the training seed of a result's model among the models of its row."""
    training = run.record.training
    return result.backbone if training is None else f"seed {training.seed}"


def _counted_seeds(count: int) -> str:
    return "1 training seed" if count == 1 else f"{count} training seeds"


def pooled_runs(runs: Sequence[PlayedRun]) -> str:
    """The runs that are pooled in a cell, with their seeds and sizes; empty for a single one.

    Args:
        runs: The run of each episode of the cell.
    """
    episodes = Counter(run.sha256 for run in runs)
    if len(episodes) < 2:
        return ""
    seed_of = {run.sha256: run.config.seed for run in runs}
    sizes = sorted((seed_of[digest], -count) for digest, count in episodes.items())
    seeds = [str(seed) for seed in dict.fromkeys(seed for seed, _ in sizes)]
    counts = [f"{-count}" for _, count in sizes]
    equal = len(set(counts)) == 1
    return (
        f"pooled: {len(sizes)} runs, seed{'s' if len(seeds) > 1 else ''} {_and(seeds)}, "
        f"{_and(counts[:1] if equal else counts)} episodes{' each' if equal else ''}"
    )


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _numbers(
    cells: Mapping[tuple[str, str], Sequence[Result]],
    benchmarks: Mapping[str, Benchmark],
    pooled: Mapping[tuple[str, str], str],
    seed_of: Mapping[int, str],
) -> Numbers:
    numbers: dict[Key, Estimate] = {}
    for (row, key), results in cells.items():
        words = pooled.get((row, key), "")
        seeds = [seed_of[id(result)] for result in results]
        numbers[row, key, SCORE] = estimate(results, benchmarks[key].metric, seeds, words)
        for metric in QA_METRICS if benchmarks[key].answers else WORLD_METRICS:
            numbers[row, key, metric] = estimate(results, metric, seeds, words)
    return with_averages(numbers)


def _row_notes(
    members: Sequence[ClassifiedResult], rows: Mapping[tuple[Method, Conditions], GroupRow]
) -> Iterable[Note]:
    """Notes on differences between rows and on agents that are listed under another name."""
    conditions = {row.label: dict(values) for (_, values), row in rows.items() if values}
    for name in ROW_FIELDS:
        labels: dict[str, list[str]] = {}
        for label, row in conditions.items():
            labels.setdefault(row[name], []).append(label)
        if len(labels) > 1 and name != "tools":  # every method has its own tools
            values = (f"{value} ({', '.join(names)})" for value, names in labels.items())
            yield Note(f"Rows differ in {name}: {'; '.join(values)}.")
    renamed = {(member.result.agent, member.method) for member in members}
    for agent, method in sorted(renamed, key=lambda pair: (pair[0], pair[1].key)):
        if UNTRAINED.get(agent) == method.key:
            yield Note(f"{method.title} includes the agent {agent} on an untrained backbone.")


def _column_notes(benchmark: Benchmark, column: Conditions) -> Iterable[Note]:
    """Notes on the conditions of a column, and on a protocol that is not the paper's."""
    yield Note(f"{benchmark.title} was run with {listed(column)}.", benchmark.key)
    if benchmark in PAPER and not _is_papers(column, benchmark.protocol):
        yield Note(
            f"The paper's numbers of {benchmark.title} are of protocol: {benchmark.protocol}; "
            "numbers under other conditions do not compare with the paper's.",
            benchmark.key,
        )
    elif benchmark.departs:
        yield Note(
            f"{benchmark.title} beside the paper's numbers: {benchmark.departs}.", benchmark.key
        )


def _task_notes(
    benchmark: Benchmark,
    cells: Mapping[tuple[str, str], Sequence[Result]],
    rows: Sequence[GroupRow],
) -> Iterable[Note]:
    """Notes on rows with different tasks, on unscored episodes and on the judge."""
    played = [(r, cells[r.key, benchmark.key]) for r in rows if (r.key, benchmark.key) in cells]
    tasks = [{result.episode.task_id for result in results} for _, results in played]
    if any(row_tasks != tasks[0] for row_tasks in tasks):
        counts = ", ".join(
            f"{row.label} {len(row_tasks)}"
            for (row, _), row_tasks in zip(played, tasks, strict=True)
        )
        shared = len(set.intersection(*tasks))
        yield Note(
            f"{benchmark.title}: the rows have different tasks ({counts}; {shared} shared).",
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
            "compare with the paper's.",
            benchmark.key,
        )


def failures(results: Iterable[Result]) -> dict[str, int]:
    """The number of unscored episodes, by what failed."""
    counts = {"endpoint": 0, "environment": 0, "judge": 0}
    for result in results:
        if not result.scored:
            reason = result.episode.stop_reason
            counts["endpoint" if reason == "endpoint_error" else "environment"] += 1
        elif result.episode.errors:
            counts["judge"] += 1
    return counts
