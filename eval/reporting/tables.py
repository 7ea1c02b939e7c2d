"""Tables from plain numbers: which cells they have, which are best, what the paper printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from agemem.eval.paper.benchmarks import BENCHMARKS, Benchmark
from agemem.eval.paper.exhibits import AVERAGE, DATASET, SCORE, Column, Exhibit
from agemem.eval.paper.methods import METHODS, Kind, Method, order
from agemem.eval.reporting.estimates import (
    Estimate,
    Key,
    with_averages,
    with_gains,
    with_reductions,
)
from agemem.eval.reporting.groups import ComparisonGroup, GroupRow


class Mark(StrEnum):
    """The place of a cell in its column."""

    NONE = ""
    BEST = "best"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, in the unit of its column.

    Attributes:
        estimate: Our number; None where nothing was played.
        published: The paper's, or None.
        mark: Its place in the column.
    """

    estimate: Estimate | None
    published: float | None = None
    mark: Mark = Mark.NONE

    @property
    def value(self) -> float | None:
        """Our number, if there is one."""
        return None if self.estimate is None else self.estimate.value

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published


@dataclass(frozen=True, slots=True)
class TableRow:
    """A method, one cell for each column."""

    key: str
    label: str
    method: Method
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One item of the report for one panel, and one data set where it is about one.

    Attributes:
        item: What it is.
        panel: The panel's title.
        backbone: The panel's backbone.
        dataset: What the :data:`DATASET` is, or None.
        columns: The columns; stand-ins of the paper's benchmarks come last.
        rows: The methods.
        notes: What the reader must know.
    """

    item: Exhibit
    panel: str
    backbone: str
    dataset: Benchmark | None
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]

    @property
    def compared(self) -> bool:
        """Whether the paper has a number for any of its cells."""
        return any(cell.published is not None for row in self.rows for cell in row.cells)


def make_tables(
    item: Exhibit, panel: ComparisonGroup, published: Mapping[Key, float]
) -> Iterator[Table]:
    """The item's tables for a panel: one, or one for each data set that was played.

    A table of which nothing was played says so in every cell; one of all benchmarks is left out.

    Args:
        item: What is made.
        panel: Our numbers.
        published: The paper's for this item and backbone.
    """
    if not item.per_dataset:
        tables = [_table(item, panel, published, None)]
    else:
        datasets = [benchmark for benchmark in panel.benchmarks if benchmark.answers]
        tables = [_table(item, panel, published, dataset) for dataset in datasets]
    for table in tables:
        played = any(cell.estimate is not None for row in table.rows for cell in row.cells)
        if played or item.per_dataset:
            yield table


def _table(
    item: Exhibit, panel: ComparisonGroup, published: Mapping[Key, float], dataset: Benchmark | None
) -> Table:
    numbers = with_averages(panel.numbers_of(item.key))
    numbers = with_reductions(numbers, against="agemem-rag")
    numbers = with_gains(numbers, over="no-memory")
    columns = _columns(item, panel, dataset)
    rows = [
        TableRow(
            key=row.key,
            label=label,
            method=row.method,
            cells=tuple(
                _cell(
                    numbers.get((row.key, q.benchmark, q.metric)),
                    published.get((row.method.key, q.benchmark, q.metric)),
                    q.scale,
                )
                for q in columns
            ),
        )
        for row, label in _rows(item, panel)
    ]
    return Table(
        item=item,
        panel=panel.title,
        backbone=panel.backbone,
        dataset=dataset,
        columns=columns,
        rows=tuple(_marked(rows, columns)),
        notes=tuple(
            note.text
            for note in panel.notes
            if note.benchmark in ("", *(q.benchmark for q in columns))
        ),
    )


def _columns(
    item: Exhibit, panel: ComparisonGroup, dataset: Benchmark | None
) -> tuple[Column, ...]:
    """The item's columns, then those of generated data, then of benchmarks of others."""
    if dataset is not None:
        return tuple(
            replace(q, benchmark=dataset.key) if q.benchmark == DATASET else q for q in item.columns
        )
    columns = list(item.columns)
    for benchmark in panel.benchmarks:
        if benchmark.stands_in_for is not None:
            title = BENCHMARKS[benchmark.stands_in_for].title
            columns += [
                replace(q, benchmark=benchmark.key, title=q.title.replace(title, benchmark.title))
                for q in item.columns
                if q.benchmark == benchmark.stands_in_for
            ]
        elif benchmark.key not in BENCHMARKS and item.others:
            title = f"{benchmark.title} ({benchmark.measure})"
            columns.append(Column(benchmark.key, SCORE, title, 100.0, ranked=True))
    return tuple(columns)


def _rows(item: Exhibit, panel: ComparisonGroup) -> Iterator[tuple[GroupRow, str]]:
    """The rows and their labels; one of the paper's that was not played is there too."""
    named = dict(item.rows)
    played: dict[str, list[GroupRow]] = {}
    for row in panel.rows:
        played.setdefault(row.method.key, []).append(row)
    methods = {key: METHODS[key] for key in named}
    if item.others:
        known = {row for row, _, _ in panel.numbers_of(item.key)}
        others = [row.method for row in panel.rows if row.key in known]
        methods |= {m.key: m for m in others if m.key not in item.left_out}
    listed = sorted(methods, key=lambda key: order(methods[key])) if item.others else list(methods)
    for key in listed:
        for row in played.get(key, [GroupRow(key, methods[key])]):
            title = named.get(key, row.method.title)
            yield row, f"{title} ({row.variant})" if row.variant else title


def _cell(estimate: Estimate | None, published: float | None, scale: float) -> Cell:
    if published is not None:
        published *= scale
    if estimate is None or estimate.value is None:
        return Cell(estimate, published)
    ends = (None if end is None else end * scale for end in (estimate.low, estimate.high))
    low, high = ends
    return Cell(replace(estimate, value=estimate.value * scale, low=low, high=high), published)


def _marked(rows: Sequence[TableRow], columns: Sequence[Column]) -> Iterator[TableRow]:
    """The rows with the best and second-best cells of the ranked columns marked.

    Numbers that are shown alike are equal. Two that are best leave no second, and where all
    are equal none is best.
    """
    marks: dict[tuple[int, float], Mark] = {}
    for index, column in enumerate(columns):
        shown = [
            round(cell.value, column.digits)
            for row in rows
            if row.method.kind is not Kind.REFERENCE
            and (cell := row.cells[index]).value is not None
        ]
        if column.ranked and len(set(shown)) > 1:
            ranked = sorted(shown, reverse=True)
            if ranked[1] < ranked[0]:
                marks[index, ranked[1]] = Mark.SECOND
            marks[index, ranked[0]] = Mark.BEST
    for row in rows:
        competes = row.method.kind is not Kind.REFERENCE
        cells = tuple(
            replace(cell, mark=marks.get((index, round(cell.value, q.digits)), Mark.NONE))
            if competes and cell.value is not None
            else cell
            for index, (cell, q) in enumerate(zip(row.cells, columns, strict=True))
        )
        yield replace(row, cells=cells)


@dataclass(frozen=True, slots=True)
class Gains:
    """How much AgeMem is above the others on average, from the averages as they are shown.

    Attributes:
        best_baseline: The label of the best method that is not of the AgeMem family.
        points: AgeMem's average less that method's, in points.
        relative: By how many per cent AgeMem's average is above that without memory.
    """

    best_baseline: str | None
    points: float | None
    relative: float | None


def gains(table: Table) -> Gains:
    """The gains that the main table shows; None where a number for one is missing."""
    column = next(i for i, q in enumerate(table.columns) if q.metric == AVERAGE)
    digits = table.columns[column].digits
    averages = {
        row: round(value, digits)
        for row in table.rows
        if (value := row.cells[column].value) is not None
    }
    ours = next((v for row, v in averages.items() if row.method.key == "agemem"), None)
    without = next((v for row, v in averages.items() if row.method.key == "no-memory"), None)
    rivals = [(v, row.label) for row, v in averages.items() if row.method.kind is Kind.BASELINE]
    best, label = max(rivals, default=(None, None))
    points = None if ours is None or best is None else round(ours - best, digits)
    relative = None if ours is None or not without else (ours - without) / without * 100
    return Gains(label, points, relative)
