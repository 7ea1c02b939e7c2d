"""Scores of single questions, by their types: of tasks that ask several about one memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from agemem.eval.reporting.summary import Row, write_csv
from agemem.eval.runs.comparability import identity, summary_columns
from agemem.eval.runs.result import Result
from agemem.eval.stats.intervals import mean
from agemem_envs.episode import UNKNOWN, Asked
from agemem_envs.judging.answers import abstains, contains_answer

FILE = "questions.csv"
ALL = "all"
"""The type of the row over all questions."""


def question_rows(results: Sequence[Result]) -> list[Row]:
    """One row for all questions of each group of results, and one for each of their types.

    Every question counts the same, whichever episode asks it. Results that may not share a mean are
    in different groups. Empty if no task asks several questions.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.scored and result.episode.asked:
            groups.setdefault(repr(identity(result)), []).append(result)
    return [row for group in groups.values() for row in _rows(group)]


def _rows(group: Sequence[Result]) -> list[Row]:
    asked = [one for result in group for one in result.episode.asked]
    types = sorted({one.question.category for one in asked} - {""})
    of_type = [(name, [o for o in asked if o.question.category == name]) for name in types]
    columns = summary_columns(group[0])
    return [{**columns, "type": name, **_scores(some)} for name, some in [(ALL, asked), *of_type]]


def _scores(asked: Sequence[Asked]) -> Row:
    """Counts and means; None for a share of none, and where a judge failed."""
    judged = [one.judged for one in asked]
    abstained = [one.prediction is not None and abstains(one.prediction) for one in asked]
    had_to = [one.question.reference == UNKNOWN for one in asked]
    return {
        "questions": len(asked),
        "answered": sum(one.prediction is not None for one in asked),
        "f1": mean([one.score for one in asked]),
        "contains": mean([float(contains_answer(o.question, o.prediction)) for o in asked]),
        "judge": None if None in judged else mean(judged),
        "unanswerable": sum(had_to),
        "abstention_recall": mean(
            [float(did) for did, needed in zip(abstained, had_to, strict=True) if needed]
        ),
        "abstention_precision": mean(
            [float(needed) for did, needed in zip(abstained, had_to, strict=True) if did]
        ),
    }


def write_questions(rows: Sequence[Row], folder: Path) -> None:
    """Write ``questions.csv``, if there is a row."""
    if rows:
        write_csv(rows, folder / FILE)


_SHOWN = (
    ("questions", "questions", 0),
    ("answered", "answered", 0),
    ("f1", "F1", 3),
    ("contains", "contains\nthe answer", 3),
    ("judge", "judge", 3),
    ("abstention_recall", "abstention\nrecall", 3),
)


def question_tables(rows: Sequence[Row]) -> Group:
    """The rows for the terminal: a table for each environment and agent."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        name = f"{row['env']}, {row['agent']}, protocol: {row['protocol']}"
        groups.setdefault(name, []).append(row)
    return Group(*(_table(name, members) for name, members in groups.items()))


def _table(name: str, rows: Sequence[Row]) -> Table:
    output = Table(
        title=escape(f"Per question in {name}"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    output.add_column("type", no_wrap=True)
    for _, heading, _ in _SHOWN:
        output.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = ("-" if row[n] is None else f"{row[n]:,.{digits}f}" for n, _, digits in _SHOWN)
        output.add_row(escape(row["type"]), *cells)
    return output
