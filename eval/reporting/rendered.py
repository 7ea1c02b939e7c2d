"""Sheets: finished text, ready for any format, and the same as records for CSV."""

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
    """A cell as shown; the mark is how it is set off."""

    text: str
    mark: Mark = Mark.NONE


@dataclass(frozen=True, slots=True)
class RenderedTable:
    """A table as shown.

    Attributes:
        title: Its heading.
        header: One text for each column.
        rows: The cells; text may come from anyone, and is escaped by whoever writes it.
        notes: Sentences below it.
        records: The same numbers unrounded, one record for each.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[RenderedCell, ...], ...]
    notes: tuple[str, ...] = ()
    records: tuple[Record, ...] = ()


def sheet_of(table: Table) -> RenderedTable:
    """A table of scores: for each method our numbers, the paper's, and the difference."""
    lead = ("Method", "") if table.compared else ("Method",)
    title = f"{table.panel}, {table.dataset.title}" if table.dataset else table.panel
    notes = table.notes
    if not table.compared:
        notes = ("The paper has no numbers for this backbone or data.", *notes)
    return RenderedTable(
        title=title,
        header=(*lead, *(q.title for q in table.columns)),
        rows=tuple(line for row in table.rows for line in _lines(row, table)),
        notes=notes,
        records=tuple(_records(table)),
    )


def _lines(row: TableRow, table: Table) -> Iterator[tuple[RenderedCell, ...]]:
    pairs = list(zip(row.cells, table.columns, strict=True))
    ours = [_ours(cell, q) for cell, q in pairs]
    if not table.compared:
        yield RenderedCell(row.label), *ours
        return
    yield RenderedCell(row.label), RenderedCell("ours"), *ours
    if any(cell.published is not None for cell in row.cells):
        yield (
            RenderedCell(""),
            RenderedCell("paper"),
            *(RenderedCell(shown(c.published, q)) for c, q in pairs),
        )
    if any(cell.difference is not None for cell in row.cells):
        signed = [RenderedCell(shown(c.difference, q, signed=True)) for c, q in pairs]
        yield RenderedCell(""), RenderedCell("difference"), *signed


def _ours(cell: Cell, column: Column) -> RenderedCell:
    if cell.estimate is None or cell.value is None:
        return RenderedCell(MISSING if cell.estimate is None else UNSCORED)
    text = shown(cell.value, column)
    if cell.estimate.low is not None:
        low, high = shown(cell.estimate.low, column), shown(cell.estimate.high, column)
        text = f"{text} [{low}, {high}]"
    return RenderedCell(text, cell.mark)


def shown(value: float | None, column: Column, signed: bool = False) -> str:
    """A number with the digits of its column; an empty text for none."""
    if value is None:
        return ""
    value = round(value, column.digits) + 0.0  # no minus before zero
    return f"{value:{'+' if signed or column.signed else ''}.{column.digits}f}"


def _records(table: Table) -> Iterator[Record]:
    for row in table.rows:
        for cell, column in zip(row.cells, table.columns, strict=True):
            number = cell.estimate
            yield {
                "item": table.item.key,
                "panel": table.panel,
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


def gains_sheet(found: dict[str, Gains]) -> RenderedTable:
    """AgeMem's gains on average, one line for each panel."""
    return RenderedTable(
        title="AgeMem's gains on average",
        header=("Panel", "Best baseline", "Points above it", "Above no memory (per cent)"),
        rows=tuple(
            (
                RenderedCell(panel),
                RenderedCell(gain.best_baseline or MISSING),
                RenderedCell(MISSING if gain.points is None else f"{gain.points:+.2f}"),
                RenderedCell(MISSING if gain.relative is None else f"{gain.relative:+.2f}"),
            )
            for panel, gain in found.items()
        ),
        notes=(
            "From the averages as they are shown, as in the paper. Methods of the AgeMem family "
            "are no baselines.",
        ),
        records=tuple(
            {
                "panel": panel,
                "best_baseline": gain.best_baseline,
                "points": gain.points,
                "relative_per_cent": gain.relative,
            }
            for panel, gain in found.items()
        ),
    )
