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

from agemem.eval.runs.folder import Result
from agemem.eval.runs.metrics import JUDGE_COSTS, METRICS, VARYING
from agemem.eval.stats.intervals import bootstrap_interval, mean
from agemem_envs.stages import Stage, protocol_stages
from agemem_envs.tools import TOOL_SETS

Row = dict[str, Any]
_WITH_INTERVAL = ("success", "judge")
_FRACTIONS = {"success", "progress", "judge", "em", "f1", "memory_quality", "malformed_rate"}
_SHOWN = (
    ("success", "success"),
    ("judge", "judge"),
    ("em", "EM"),
    ("f1", "F1"),
    ("memory_quality", "memory quality"),
    ("reward", "reward"),
    ("prompt_tokens", "prompt tokens per call"),
    ("tool_calls", "tool calls"),
    ("actions", "world actions"),
    ("agentboard_progress", "AgentBoard's progress"),
    ("rounds", "rounds"),
    ("seconds", "seconds per episode"),
    ("malformed_rate", "malformed outputs"),
    ("memory_llm_calls", "memory system: LLM calls"),
    ("memory_prompt_tokens", "memory system: prompt tokens"),
    ("memory_completion_tokens", "memory system: completion tokens"),
    ("memory_seconds", "memory system: seconds"),
    ("memory_llm_errors", "memory system: failed calls"),
    ("memory_parse_failures", "memory system: unusable replies"),
    ("memory_failures", "memory system: exceptions"),
    ("memory_dropped_writes", "memory system: messages lost"),
    ("judge_calls", "judge: calls"),
    ("judge_cached_calls", "judge: of these from the cache"),
    ("judge_prompt_tokens", "judge: prompt tokens"),
    ("judge_completion_tokens", "judge: completion tokens"),
)


_OPTIONAL = {"em", "f1", "actions", "agentboard_progress", *JUDGE_COSTS}
"""What not every benchmark or judge has: no line where none of the rows does."""
_SPENDING = {name for name, _ in _SHOWN if name.startswith("memory_")} - {"memory_quality"}
"""What a memory system's own calls cost: no line where none was made."""


def summarize(results: Sequence[Result]) -> list[Row]:
    """One row for each group of results that may share a mean.

    Episodes with different environments, data sources, protocols, judges or decoding are
    never averaged together.
    """
    groups: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(tuple(identity(result).values()), []).append(result)
    return [_row(group) for group in groups.values()]


def identity(result: Result) -> Row:
    """What results must have in common to share a mean."""
    episode = result.episode
    settings = episode.settings
    return {
        "agent": result.agent,
        "backbone": result.backbone,
        "engine": result.engine,
        "constrained": result.constrained,
        "env": episode.env_id,
        "data_source": str(episode.source),
        "task": settings.get("task", ""),
        "stages": settings["stages"],
        "tools": _tool_set(settings["tools"]),
        "judge_name": settings["judge"],
        "encoder": settings["encoder"],
        "summarizer": settings["summarizer"],
        "token_counter": settings["token_counter"],
        "max_task_actions": settings["max_task_actions"],
        "list_actions": settings["list_actions"],
    }


def _tool_set(tools: Sequence[str]) -> str:
    """The name of a tool set, or its members."""
    named = (name for name, members in TOOL_SETS.items() if list(members) == list(tools))
    return next(named, "+".join(tools))


def _row(group: Sequence[Result]) -> Row:
    scored = [result for result in group if result.scored]
    row: Row = {
        **identity(group[0]),
        "episodes": len(group),
        "scored": len(scored),
        "endpoint_errors": _stopped(group, "endpoint_error"),
        "environment_errors": _stopped(group, "environment_error"),
        "unscored_by_judge": sum(bool(result.episode.errors) for result in scored),
    }
    for name, metric in METRICS.items():
        values = [metric(result) for result in scored]
        row[name] = mean(values)
        if name in _WITH_INTERVAL:
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

    The first holds what the same episodes give again, to the last digit, wherever and in
    whatever order they are played; the second what they do not.
    """
    columns = list(rows[0])
    repeatable = [name for name in columns if name not in VARYING]
    timing = [*columns[: columns.index("episodes") + 1], *VARYING]
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
    for name, label in _SHOWN:
        if _matters(rows, name):
            shown.add_row(label, *(_cell(row, name) for row in rows))
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
    if name in _SPENDING:
        return any(row[name] for row in rows)
    if name == "memory_quality":  # there is nothing to keep where nothing was told
        return any(Stage.CONSTRUCTION in protocol_stages(row["stages"]) for row in rows)
    return name not in _OPTIONAL or any(row[name] is not None for row in rows)


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
    used = [(n, label) for n, label in told if n in _SPENDING or _matters(rows, n)]
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
    digits = 3 if name in _FRACTIONS or name == "reward" else 1 if value < 1_000 else 0
    text = f"{value:,.{digits}f}"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return text if low is None else f"{text} [{low:.3f}, {high:.3f}]"
