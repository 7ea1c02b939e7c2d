"""The summary of a run: one row for each environment and data source."""

from __future__ import annotations

import csv
import io
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
from agemem.eval.stats.intervals import mean, mean_interval
from agemem.eval.stats.sample import make_sample
from agemem_envs.stages import Stage, named_stages
from agemem_envs.util.files import write_atomically

Row = dict[str, Any]
_VARYING = [name for name, metric in METRICS.items() if metric.varying]


def summarize(results: Sequence[Result]) -> list[Row]:
    """One row for each group of results that may share a mean.

    Episodes with different settings are never averaged together.
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
    tasks = [result.episode.task_id for result in scored]
    for name, metric in METRICS.items():
        values = [metric.of(result) for result in scored]
        row[name] = mean(values)
        if metric.interval:
            interval = mean_interval(make_sample(values, tasks), share=metric.share)
            row[f"{name}_low"], row[f"{name}_high"] = interval or (None, None)
    return row


def _stopped(group: Sequence[Result], reason: str) -> int:
    return sum(result.episode.stop_reason == reason for result in group)


def unscored(results: Sequence[Result]) -> int:
    """The number of episodes that an endpoint, an environment or a judge failed."""
    return sum(not result.scored or bool(result.episode.errors) for result in results)


def counted(number: int, noun: str) -> str:
    """A number with its noun in singular or plural: ``1 row``, ``2 rows``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def write_summary(rows: Sequence[Row], folder: Path) -> None:
    """Write ``summary.csv`` and ``timing.csv``.

    ``summary.csv`` holds values that are reproducible bit for bit on any machine and in any order
    of the episodes. ``timing.csv`` holds those that vary.
    """
    columns = list(rows[0])
    repeatable = [name for name in columns if name not in _VARYING]
    timing = [*columns[: columns.index("episodes") + 1], *_VARYING]
    for name, keys in (("summary.csv", repeatable), ("timing.csv", timing)):
        write_csv([{key: row[key] for key in keys} for row in rows], folder / name)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write rows to a CSV file. Unscored cells are empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    # Lone surrogates have no form in UTF-8.
    plain = text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
    write_atomically(path, plain)


def table(rows: Sequence[Row]) -> Table:
    """The summary of a run for the terminal, with one column for each of its rows."""
    what = [_distinct(rows, key) for key in ("agent", "backbone", "protocol", "judge_name")]
    title = "{} / {}, protocol: {}, judge: {}".format(*what)
    for key in ("stages", "overridden"):
        if value := _distinct(rows, key):
            title += f", {key}: {value}"
    if any(row["constrained"] for row in rows):
        title += ", constrained"
    output = Table(title=escape(title), title_justify="left")
    output.add_column("", overflow="fold")
    for row in rows:
        name = row["env"].removeprefix("AgeMem-").rpartition("-v")[0] or row["env"]
        output.add_column(escape(name), justify="right", overflow="fold")
    output.add_row("data", *(escape(str(row["data_source"])) for row in rows))
    output.add_row("episodes (scored)", *(f"{r['episodes']} ({r['scored']})" for r in rows))
    for name, metric in METRICS.items():
        if metric.title and _matters(rows, name):
            output.add_row(metric.title, *(_cell(row, name) for row in rows))
    for label, key in (
        ("endpoint errors", "endpoint_errors"),
        ("environment errors", "environment_errors"),
        ("unscored by the judge", "unscored_by_judge"),
    ):
        if any(row[key] for row in rows):
            output.add_row(label, *(str(row[key]) for row in rows))
    return output


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
    """Scores of agents and costs of their memory systems, one line for each agent.

    The numbers are means over episodes. Each environment and protocol has its own tables.
    """
    places: dict[str, list[Row]] = {}
    for row in rows:
        places.setdefault(f"{row['env']}, protocol: {row['protocol']}", []).append(row)
    tables = []
    for place, members in places.items():
        tables.append(_lines(f"Per episode in {place}", members, _ACHIEVED, episodes=True))
        if any(row["memory_llm_calls"] for row in members):
            spending = [row for row in members if row["memory_llm_calls"] is not None]
            tables.append(_lines("Of which the memory systems' own", spending, _SPENT))
    return Group(*tables)


def _matters(rows: Sequence[Row], name: str) -> bool:
    """Whether a metric is worth a line for these rows."""
    metric = METRICS[name]
    if metric.spending:
        return any(row[name] for row in rows)
    if name == "memory_quality":  # only stage 1 has facts to store
        return any(Stage.CONSTRUCTION in named_stages(row["stages"]) for row in rows)
    return not metric.optional or any(row[name] is not None for row in rows)


def _distinct(rows: Sequence[Row], key: str) -> str:
    return ", ".join(dict.fromkeys(str(row[key]) for row in rows))


def _lines(
    title: str, rows: Sequence[Row], columns: Sequence[tuple[str, str]], episodes: bool = False
) -> Table:
    output = Table(
        title=escape(title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    output.add_column("agent", no_wrap=True)
    if episodes:
        output.add_column("episodes\n(scored)", justify="right", no_wrap=True)
    measured = [(n, label) for n, label in columns if any(row[n] is not None for row in rows)]
    used = [(n, label) for n, label in measured if METRICS[n].spending or _matters(rows, n)]
    for _, label in used:
        output.add_column(label, justify="right", no_wrap=True)
    several = len({row["agent"] for row in rows}) < len(rows)
    for row in rows:
        cells = ["-" if row[n] is None else _cell(row, n).partition(" [")[0] for n, _ in used]
        counts = [f"{row['episodes']} ({row['scored']})"] if episodes else []
        name = f"{row['agent']}\n  {row['backbone']}" if several else row["agent"]
        output.add_row(escape(name), *counts, *cells)
    return output


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
