"""Rendered tables: text for any output format, and records of the same numbers for CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agemem.eval.paper.exhibits import Column
from agemem.eval.reporting.tables import Cell, Gains, Mark, Table, TableRow

MISSING, UNSCORED = "missing", "unscored"
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RenderedCell:
    """The text of a cell, and whether it is emphasised as best or second best."""

    text: str
    mark: Mark = Mark.NONE


@dataclass(frozen=True, slots=True)
class RenderedTable:
    """A table as text.

    Attributes:
        title: The heading.
        header: One text for each column.
        rows: The cells. Their text is not escaped: each writer escapes it for its format.
        notes: Sentences below the table.
        records: The numbers without rounding, one record for each.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[RenderedCell, ...], ...]
    notes: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()


def render_table(table: Table) -> RenderedTable:
    """A table of scores: for each method our numbers, the paper's, and the difference."""
    lead = ("Method", "") if table.compared else ("Method",)
    title = f"{table.group}, {table.dataset.title}" if table.dataset else table.group
    notes = table.notes
    if not table.compared:
        notes = ("The paper has no numbers for this backbone or data.", *notes)
    return RenderedTable(
        title=title,
        header=(*lead, *(column.title for column in table.columns)),
        rows=tuple(line for row in table.rows for line in _lines(row, table)),
        notes=notes,
        records=tuple(_records(table)),
    )


def _lines(row: TableRow, table: Table) -> Iterator[tuple[RenderedCell, ...]]:
    pairs = list(zip(row.cells, table.columns, strict=True))
    ours = [_ours(cell, column) for cell, column in pairs]
    if not table.compared:
        yield RenderedCell(row.label), *ours
        return
    yield RenderedCell(row.label), RenderedCell("ours"), *ours
    if any(cell.published is not None for cell in row.cells):
        texts = [format_number(cell.published, c.digits, signed=c.signed) for cell, c in pairs]
        yield RenderedCell(""), RenderedCell("paper"), *map(RenderedCell, texts)
    if any(cell.difference is not None for cell in row.cells):
        texts = [format_number(cell.difference, c.digits, signed=True) for cell, c in pairs]
        yield RenderedCell(""), RenderedCell("difference"), *map(RenderedCell, texts)


def _ours(cell: Cell, column: Column) -> RenderedCell:
    if cell.estimate is None or cell.value is None:
        return RenderedCell(MISSING if cell.estimate is None else UNSCORED)
    low, high = cell.estimate.low, cell.estimate.high
    text = format_interval(cell.value, low, high, column.digits, signed=column.signed)
    return RenderedCell(text, cell.mark)


def format_number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """A number rounded to ``digits``; an empty text for None."""
    if value is None:
        return ""
    value = round(value, digits) + 0.0  # no minus before zero
    return f"{value:{'+' if signed else ''}.{digits}f}"


def format_interval(
    value: float, low: float | None, high: float | None, digits: int, *, signed: bool = False
) -> str:
    """``value [low, high]``, or the value alone if it has no interval."""
    text, *ends = (format_number(x, digits, signed=signed) for x in (value, low, high))
    return text if low is None or high is None else f"{text} [{', '.join(ends)}]"


def _records(table: Table) -> Iterator[Record]:
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            number = cell.estimate
            yield {
                "item": table.exhibit.key,
                "panel": table.group,
                "backbone": table.backbone,
                "method": row.key,
                "label": row.label,
                "benchmark": column.benchmark,
                "quantity": column.metric,
                "unit": "per cent" if column.scale == 100 else "",
                "status": MISSING if number is None else UNSCORED if cell.value is None else "",
                "value": cell.value,
                "low": number and number.low,
                "high": number and number.high,
                "episodes": number and number.episodes,
                "scored": number and number.scored,
                "tasks": number and number.tasks,
                "mark": cell.mark.value,
                "paper": cell.published,
                "difference": cell.difference,
            }


def render_gains(gains: dict[str, Gains]) -> RenderedTable:
    """The average gains of AgeMem, one line for each comparison group.

    Args:
        gains: The gains by the title of the group.
    """
    return RenderedTable(
        title="AgeMem's gains on average",
        header=("Panel", "Best baseline", "Points above it", "Above no memory (per cent)"),
        rows=tuple(
            (
                RenderedCell(group),
                RenderedCell(gain.best_baseline or MISSING),
                RenderedCell(MISSING if gain.points is None else f"{gain.points:+.2f}"),
                RenderedCell(MISSING if gain.relative is None else f"{gain.relative:+.2f}"),
            )
            for group, gain in gains.items()
        ),
        notes=(
            "Computed from the averages as shown, as in the paper. Methods of the AgeMem family "
            "are not baselines.",
        ),
        records=tuple(
            {
                "panel": group,
                "best_baseline": gain.best_baseline,
                "points": gain.points,
                "relative_per_cent": gain.relative,
            }
            for group, gain in gains.items()
        ),
    )
