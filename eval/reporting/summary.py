"""The summary of a run: one row for each environment and data source."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from agemem.eval.runs.comparability import identity, summary_columns
from agemem.eval.runs.metrics import METRICS
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import bootstrap_interval, mean
from agemem_envs.stages import Stage, protocol_stages

Row = dict[str, Any]
_VARYING = [name for name, metric in METRICS.items() if metric.varying]


def summarize(results: Sequence[Result]) -> list[Row]:
    """One row for each group of results that may share a mean.

    Episodes that were played under different settings are never averaged together.
    """
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(_hashable(identity(result)), []).append(result)
    return [_row(group) for group in groups.values()]


def _hashable(values: Row) -> tuple[Any, ...]:
    return tuple(repr(value) for value in values.values())


def _row(group: Sequence[Result]) -> Row:
    scored = [result for result in group if result.scored]
    row: Row = {
        **summary_columns(group[0]),
        "episodes": len(group),
        "scored": len(scored),
        "endpoint_errors": _stopped(group, "endpoint_error"),
        "environment_errors": _stopped(group, "environment_error"),
        "unscored_by_judge": sum(bool(result.episode.errors) for result in scored),
    }
    for name, metric in METRICS.items():
        values = [metric.of(result) for result in scored]
        row[name] = mean(values)
        if metric.interval:
            row[f"{name}_low"], row[f"{name}_high"] = bootstrap_interval(values) or (None, None)
    return row


def _stopped(group: Sequence[Result], reason: str) -> int:
    return sum(result.episode.stop_reason == reason for result in group)


def unscored(results: Sequence[Result]) -> int:
    """Episodes that the surroundings spoiled: endpoint, environment or judge."""
    return sum(not result.scored or bool(result.episode.errors) for result in results)


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def write_summary(rows: Sequence[Row], folder: Path) -> None:
    """Write ``summary.csv``, and apart from it ``timing.csv``.

    ``summary.csv`` holds values that are reproducible bit for bit, whatever the machine or the
    order of the episodes; what varies is in ``timing.csv``.
    """
    columns = list(rows[0])
    repeatable = [name for name in columns if name not in _VARYING]
    timing = [*columns[: columns.index("episodes") + 1], *_VARYING]
    for name, chosen in (("summary.csv", repeatable), ("timing.csv", timing)):
        write_csv([{key: row[key] for key in chosen} for row in rows], folder / name)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows with all columns; an unscored cell is empty."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def table(rows: Sequence[Row]) -> Table:
    """The rows of a run as a terminal table, one column for each row."""
    what = [_distinct(rows, key) for key in ("agent", "backbone", "stages", "judge_name")]
    title = "{} / {}, stages: {}, judge: {}".format(*what)
    if any(row["constrained"] for row in rows):
        title += ", constrained"
    shown = Table(title=escape(title), title_justify="left")
    shown.add_column("", overflow="fold")
    for row in rows:
        name = row["env"].removeprefix("AgeMem-").rpartition("-v")[0] or row["env"]
        shown.add_column(name, justify="right", overflow="fold")
    shown.add_row("data", *(str(row["data_source"]) for row in rows))
    shown.add_row("episodes (scored)", *(f"{r['episodes']} ({r['scored']})" for r in rows))
    for name, metric in METRICS.items():
        if metric.title and _matters(rows, name):
            shown.add_row(metric.title, *(_cell(row, name) for row in rows))
    for label, key in (
        ("endpoint errors", "endpoint_errors"),
        ("environment errors", "environment_errors"),
        ("unscored by the judge", "unscored_by_judge"),
    ):
        if any(row[key] for row in rows):
            shown.add_row(label, *(str(row[key]) for row in rows))
    return shown


_ACHIEVED = (
    ("success", "success"),
    ("judge", "judge"),
    ("memory_quality", "memory\nquality"),
    ("prompt_tokens", "tokens\na call"),
    ("actions", "world\nactions"),
    ("seconds", "s"),
)
_SPENT = (
    ("memory_llm_calls", "LLM\ncalls"),
    ("memory_prompt_tokens", "prompt\ntokens"),
    ("memory_completion_tokens", "reply\ntokens"),
    ("memory_seconds", "s"),
    ("memory_llm_errors", "failed\ncalls"),
    ("memory_parse_failures", "bad\nreply"),
    ("memory_failures", "raised"),
    ("memory_dropped_writes", "lost\nwrites"),
)


def comparison(rows: Sequence[Row]) -> Group:
    """What agents achieved and what their memory systems spent, one line for each agent.

    Means over the episodes; each environment and protocol has tables of its own.
    """
    places: dict[str, list[Row]] = {}
    for row in rows:
        places.setdefault(f"{row['env']}, stages: {row['stages']}", []).append(row)
    tables = []
    for place, members in places.items():
        tables.append(_lines(f"Per episode in {place}", members, _ACHIEVED, episodes=True))
        if any(row["memory_llm_calls"] for row in members):
            spending = [row for row in members if row["memory_llm_calls"] is not None]
            tables.append(_lines("Of which the memory systems' own", spending, _SPENT))
    return Group(*tables)


def _matters(rows: Sequence[Row], name: str) -> bool:
    """Whether a metric says anything of any of the rows."""
    metric = METRICS[name]
    if metric.spending:
        return any(row[name] for row in rows)
    if name == "memory_quality":  # there is nothing to keep where nothing was told
        return any(Stage.CONSTRUCTION in protocol_stages(row["stages"]) for row in rows)
    return not metric.optional or any(row[name] is not None for row in rows)


def _distinct(rows: Sequence[Row], key: str) -> str:
    return ", ".join(dict.fromkeys(str(row[key]) for row in rows))


def _lines(
    title: str, rows: Sequence[Row], columns: Sequence[tuple[str, str]], episodes: bool = False
) -> Table:
    shown = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("agent", no_wrap=True)
    if episodes:
        shown.add_column("episodes\n(scored)", justify="right", no_wrap=True)
    told = [(n, label) for n, label in columns if any(row[n] is not None for row in rows)]
    used = [(n, label) for n, label in told if METRICS[n].spending or _matters(rows, n)]
    for _, label in used:
        shown.add_column(label, justify="right", no_wrap=True)
    for row in rows:
        cells = ["-" if row[n] is None else _cell(row, n).partition(" [")[0] for n, _ in used]
        counts = [f"{row['episodes']} ({row['scored']})"] if episodes else []
        shown.add_row(row["agent"], *counts, *cells)
    return shown


def _cell(row: Row, name: str) -> str:
    value = row[name]
    if value is None:
        return "unscored"
    digits = METRICS[name].digits
    if digits is None:
        digits = 1 if value < 1_000 else 0
    text = f"{value:,.{digits}f}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return text if low is None else f"{text} [{low:.3f}, {high:.3f}]"
