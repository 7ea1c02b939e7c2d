"""Tables of estimates: their cells, the best in each column, and the paper's numbers."""

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
    compared,
    with_averages,
    with_gains,
    with_reductions,
)
from agemem.eval.reporting.groups import ComparisonGroup, GroupRow
from agemem.eval.stats.pairing import Of, difference, relative_gain


class Mark(StrEnum):
    """The rank of a cell in its column."""

    NONE = ""
    BEST = "best"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, in the unit of its column.

    Attributes:
        estimate: Our number; None if nothing was played.
        published: The paper's number, or None.
        mark: The rank of our number in the column.
    """

    estimate: Estimate | None
    published: float | None = None
    mark: Mark = Mark.NONE

    @property
    def value(self) -> float | None:
        """Our number, or None."""
        return None if self.estimate is None else self.estimate.value

    @property
    def difference(self) -> float | None:
        """Our number minus the paper's, or None if either is missing."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published


@dataclass(frozen=True, slots=True)
class TableRow:
    """A method, with one cell for each column."""

    key: str
    label: str
    method: Method
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One exhibit for one comparison group, and for one data set if it is about a single one.

    Attributes:
        exhibit: The table or figure of the paper.
        group: The title of the comparison group.
        backbone: The backbone of the group.
        dataset: The benchmark in place of :data:`DATASET`, or None.
        columns: The columns, generated stand-ins for the paper's benchmarks last.
        rows: The methods.
        notes: Sentences below the table.
    """

    exhibit: Exhibit
    group: str
    backbone: str
    dataset: Benchmark | None
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]

    @property
    def compared(self) -> bool:
        """Whether the paper has a number for any cell."""
        return any(cell.published is not None for row in self.rows for cell in row.cells)


def make_tables(
    exhibit: Exhibit, group: ComparisonGroup, published: Mapping[Key, float]
) -> Iterator[Table]:
    """The tables of an exhibit for a group: one, or one for each data set that was played.

    If nothing was played, a table for one data set says so in every cell, and a table of all
    benchmarks is left out. An exhibit that is not for the group's protocols has no table.

    Args:
        exhibit: The table or figure to make.
        group: Our numbers.
        published: The paper's numbers for this exhibit and backbone.
    """
    if not exhibit.is_for(group.table):
        return
    if not exhibit.per_dataset:
        tables = [_table(exhibit, group, published, None)]
    else:
        datasets = [benchmark for benchmark in group.benchmarks if benchmark.answers]
        tables = [_table(exhibit, group, published, dataset) for dataset in datasets]
    for table in tables:
        played = any(cell.estimate is not None for row in table.rows for cell in row.cells)
        if played or exhibit.per_dataset:
            yield table


def _table(
    exhibit: Exhibit,
    group: ComparisonGroup,
    published: Mapping[Key, float],
    dataset: Benchmark | None,
) -> Table:
    numbers = with_averages(group.numbers_of(exhibit.key))
    numbers = with_reductions(numbers, against="agemem-rag")
    numbers = with_gains(numbers, over="no-memory")
    columns = _columns(exhibit, group, dataset)
    rows = [
        TableRow(
            key=row.key,
            label=label,
            method=row.method,
            cells=tuple(
                _cell(
                    numbers.get((row.key, column.benchmark, column.metric)),
                    published.get((row.method.key, column.benchmark, column.metric)),
                    column.scale,
                )
                for column in columns
            ),
        )
        for row, label in _rows(exhibit, group)
    ]
    return Table(
        exhibit=exhibit,
        group=group.title,
        backbone=group.backbone,
        dataset=dataset,
        columns=columns,
        rows=tuple(_marked(rows, columns)),
        notes=tuple(
            note.text
            for note in group.notes
            if note.benchmark in ("", *(column.benchmark for column in columns))
        ),
    )


def _columns(
    exhibit: Exhibit, group: ComparisonGroup, dataset: Benchmark | None
) -> tuple[Column, ...]:
    """The columns of the exhibit, then generated data, then benchmarks that it does not know."""
    if dataset is not None:
        return tuple(
            replace(column, benchmark=dataset.key) if column.benchmark == DATASET else column
            for column in exhibit.columns
        )
    columns = list(exhibit.columns)
    for benchmark in group.benchmarks:
        if exhibit.protocols and group.protocols.get(benchmark.key) not in exhibit.protocols:
            continue
        if benchmark.stands_in_for is not None:
            title = BENCHMARKS[benchmark.stands_in_for].title
            columns += [
                replace(
                    column,
                    benchmark=benchmark.key,
                    title=column.title.replace(title, benchmark.title),
                )
                for column in exhibit.columns
                if column.benchmark == benchmark.stands_in_for
            ]
        elif benchmark.key not in BENCHMARKS and exhibit.others:
            title = f"{benchmark.title} ({benchmark.measure})"
            columns.append(Column(benchmark.key, SCORE, title, 100.0, ranked=True))
    return tuple(_with_protocol(column, group) for column in columns)


def _with_protocol(column: Column, group: ComparisonGroup) -> Column:
    """A column that names its protocol, if the table has columns of several."""
    protocol = group.protocols.get(column.benchmark, group.table)
    if protocol == group.table or column.benchmark not in group.protocols:
        return column
    return replace(column, title=f"{column.title}, {protocol}")


def _rows(exhibit: Exhibit, group: ComparisonGroup) -> Iterator[tuple[GroupRow, str]]:
    """The rows and their labels, with those of the paper that were not played."""
    titles = dict(exhibit.rows)
    played: dict[str, list[GroupRow]] = {}
    for row in group.rows:
        played.setdefault(row.method.key, []).append(row)
    methods = {key: METHODS[key] for key in titles}
    if exhibit.others:
        with_numbers = {row for row, _, _ in group.numbers_of(exhibit.key)}
        others = [row.method for row in group.rows if row.key in with_numbers]
        methods |= {m.key: m for m in others if m.key not in exhibit.left_out}
    keys = list(methods)
    if exhibit.others:
        keys.sort(key=lambda key: order(methods[key]))
    for key in keys:
        for row in played.get(key, [GroupRow(key, methods[key])]):
            yield row, row.titled(titles.get(key, row.method.title))


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

    Numbers are compared as rounded for display. If two share the best value, no cell is marked
    second; if all are equal, no cell is marked.
    """
    marks: dict[tuple[int, float], Mark] = {}
    for index, column in enumerate(columns):
        values = [
            round(cell.value, column.digits)
            for row in rows
            if row.method.kind is not Kind.REFERENCE
            and (cell := row.cells[index]).value is not None
        ]
        if column.ranked and len(set(values)) > 1:
            ranked = sorted(values, reverse=True)
            if ranked[1] < ranked[0]:
                marks[index, ranked[1]] = Mark.SECOND
            marks[index, ranked[0]] = Mark.BEST
    for row in rows:
        competes = row.method.kind is not Kind.REFERENCE
        cells = tuple(
            replace(cell, mark=marks.get((index, round(cell.value, column.digits)), Mark.NONE))
            if competes and cell.value is not None
            else cell
            for index, (cell, column) in enumerate(zip(row.cells, columns, strict=True))
        )
        yield replace(row, cells=cells)


Ends = tuple[float | None, float | None]
"""The ends of an interval, or None."""
NO_ENDS: Ends = (None, None)


@dataclass(frozen=True, slots=True)
class Gains:
    """The average gains of AgeMem, computed from the averages as rounded for display.

    Attributes:
        best_baseline: The label of the best method outside the AgeMem family.
        points: AgeMem's average minus that of the best baseline, in percentage points.
        relative: AgeMem's average relative to that without memory, in per cent above it.
        points_ends: The ends of the 95% paired bootstrap interval of the points, or None.
        relative_ends: The ends of that of the relative gain, or None.
    """

    best_baseline: str | None
    points: float | None
    relative: float | None
    points_ends: Ends = (None, None)
    relative_ends: Ends = (None, None)


def gains(table: Table) -> Gains:
    """The gains in the main table; None where a number is missing."""
    column = next(i for i, c in enumerate(table.columns) if c.metric == AVERAGE)
    digits = table.columns[column].digits
    cells = {row: cell for row in table.rows if (cell := row.cells[column]).value is not None}
    averages = {row: round(cell.value or 0.0, digits) for row, cell in cells.items()}
    ours = next((row for row in averages if row.method.key == "agemem"), None)
    without = next((row for row in averages if row.method.key == "no-memory"), None)
    rivals = [row for row in averages if row.method.kind is Kind.BASELINE]
    best = max(rivals, key=lambda row: (averages[row], row.label), default=None)
    points, relative = None, None
    points_ends, relative_ends = NO_ENDS, NO_ENDS
    if ours is not None and best is not None:
        points = round(averages[ours] - averages[best], digits)
        points_ends = _ends(cells[ours], cells[best], difference, f"{table.group}/points")
    if ours is not None and without is not None and averages[without]:
        relative = (averages[ours] - averages[without]) / averages[without] * 100
        name = f"{table.group}/relative"
        relative_ends = _ends(cells[ours], cells[without], relative_gain, name)
    label = None if best is None else best.label
    return Gains(label, points, relative, points_ends, relative_ends)


def _ends(first: Cell, second: Cell, of: Of, name: str) -> Ends:
    """The interval of a number from two averages, in per cent."""
    if first.estimate is None or second.estimate is None:
        return NO_ENDS
    number = compared(first.estimate, second.estimate, of, share=True, name=name)
    if number is None or number.low is None or number.high is None:
        return NO_ENDS
    return number.low * 100, number.high * 100
