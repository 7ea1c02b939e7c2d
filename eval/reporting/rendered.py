"""Rendered tables: text for any output format, and records of the same numbers for CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

from agemem.eval.paper.exhibits import Column
from agemem.eval.reporting.groups import trained
from agemem.eval.reporting.tables import Cell, Ends, Gains, Mark, Table, TableRow

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
    signs = pooled_signs(
        cell.estimate.pooled for row in table.rows for cell in row.cells if cell.estimate
    )
    notes = (*(f"{sign} {words}." for words, sign in signs.items()), *table.notes)
    if not table.compared:
        notes = ("The paper has no numbers for this backbone or data.", *notes)
    return RenderedTable(
        title=title,
        header=(*lead, *(column.title for column in table.columns)),
        rows=tuple(line for row in table.rows for line in _lines(row, table, signs)),
        notes=notes,
        records=tuple(_records(table)),
    )


def pooled_signs(words: Iterable[str]) -> dict[str, str]:
    """A sign for each different description of pooled runs: ``(a)``, ``(b)`` and so on."""
    letters = ascii_lowercase
    return {
        text: f"({letters[n % len(letters)] * (n // len(letters) + 1)})"
        for n, text in enumerate(dict.fromkeys(filter(None, words)))
    }


def _lines(
    row: TableRow, table: Table, signs: Mapping[str, str]
) -> Iterator[tuple[RenderedCell, ...]]:
    pairs = list(zip(row.cells, table.columns, strict=True))
    ours = [_ours(cell, column, signs) for cell, column in pairs]
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


def _ours(cell: Cell, column: Column, signs: Mapping[str, str]) -> RenderedCell:
    if cell.estimate is None or cell.value is None:
        return RenderedCell(MISSING if cell.estimate is None else UNSCORED)
    low, high = cell.estimate.low, cell.estimate.high
    text = format_interval(cell.value, low, high, column.digits, signed=column.signed)
    sign = signs.get(cell.estimate.pooled, "")
    return RenderedCell(f"{text} {sign}".rstrip(), cell.mark)


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
                "training_seeds": number.trainings if number and trained(row.method) else None,
                "pooled": number and number.pooled,
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
                _gain(gain.points, gain.points_ends),
                _gain(gain.relative, gain.relative_ends),
            )
            for group, gain in gains.items()
        ),
        notes=(
            "Computed from the averages as shown, as in the paper. Methods of the AgeMem family "
            "are not baselines. Intervals are of the paired bootstrap over the tasks that both "
            "methods played.",
        ),
        records=tuple(
            {
                "panel": group,
                "best_baseline": gain.best_baseline,
                "points": gain.points,
                "points_low": gain.points_ends[0],
                "points_high": gain.points_ends[1],
                "relative_per_cent": gain.relative,
                "relative_low": gain.relative_ends[0],
                "relative_high": gain.relative_ends[1],
            }
            for group, gain in gains.items()
        ),
    )


def _gain(value: float | None, ends: Ends) -> RenderedCell:
    return RenderedCell(
        MISSING if value is None else format_interval(value, *ends, digits=2, signed=True)
    )
