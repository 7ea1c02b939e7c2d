"""The file of the leaderboard: its rows, added by many processes, and what is wrong with them."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from agemem.eval.paper.benchmarks import BENCHMARKS
from agemem.eval.paper.methods import Learning, method_of
from agemem.eval.paper.task_lists import SEED, lists_of
from agemem.eval.submissions.rows import (
    COLUMNS,
    FORMAT,
    OLDER,
    QUALITIES,
    SCORES,
    SPENT,
    TRAINED,
    LeaderboardRow,
    average_of,
)
from agemem_envs.encoders import recorded_name
from agemem_envs.errors import ConfigurationError, DataFormatError, DataNotFoundError
from agemem_envs.util.files import write_atomically
from agemem_envs.util.records import NewerFormatError, refuse_newer
from agemem_envs.util.sanitize import natural_number

IDENTITY = ("method", "data_sources", "protocol", "stages", "judge", "played_sha256")
"""The columns that identify a row. The same episodes may have one row for each judge."""
PRICED = ("cost", "price_in", "price_out")
"""The columns that depend on the prices, not on the runs."""
PER_CENT = (*SCORES, "average", "average_low", "average_high")
NUMBERS = (*PER_CENT, *QUALITIES, *SPENT, "price_in", "price_out", "episodes", "training_seeds")
ROUNDING = 1e-3
"""The tolerance of an average. Scores are stored with six digits."""
DIGITS = 1e-6
"""The relative tolerance of a score in per cent with six digits."""


def read(path: Path) -> list[LeaderboardRow]:
    """Read the rows of a leaderboard.

    Raises:
        DataNotFoundError: The file does not exist.
        DataFormatError: The file is not a leaderboard, or has a newer format.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except FileNotFoundError as error:
        raise DataNotFoundError(
            f"leaderboard {path} does not exist: create it with --add RUN"
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataFormatError(f"{path} is not a leaderboard: {error}") from error
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataFormatError(
                f"{path}, line {number} does not have the {len(columns)} columns of the header"
            )
        _refuse_newer(path, number, row)
    if columns not in (COLUMNS, *OLDER.values()):
        raise DataFormatError(f"{path} does not have the columns of a leaderboard")
    return [_upgraded(row) for row in rows]


def _upgraded(row: LeaderboardRow) -> LeaderboardRow:
    """A row with all columns. Before protocols, each set of stages had its protocol.

    A row of the current format may be older than the revisions in encoders' names.
    """
    full = {**dict.fromkeys(COLUMNS, ""), "protocol": row["stages"], "format": "0", **row}
    if is_older(full):
        return full
    named = _ENCODER.sub(lambda name: recorded_name(name[0]), full["conditions"])
    return {**full, "conditions": named}


_ENCODER = re.compile(r"(?<=\bencoder: )[^,;]+")
"""The name of an encoder among the conditions."""


def is_older(row: LeaderboardRow) -> bool:
    """Whether a row is of an older format, which states no list of tasks and no training."""
    return row["format"] != str(FORMAT)


def _refuse_newer(path: Path, number: int, row: LeaderboardRow) -> None:
    written = natural_number(row.get("format", "0"))
    if written is None:
        raise DataFormatError(f"{path}, line {number}: format {row['format']!r} is not a number")
    try:
        refuse_newer(written, FORMAT)
    except NewerFormatError as error:
        raise DataFormatError(f"{path}, line {number}: {error}") from error


def add(path: Path, new: Sequence[LeaderboardRow]) -> None:
    """Append rows to a leaderboard. Several processes may add rows at the same time.

    Raises:
        ConfigurationError: A row is already on the leaderboard, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _add(path, new)
    except OSError as error:
        raise ConfigurationError(f"cannot write the leaderboard {path}: {error}") from error


def _add(path: Path, new: Sequence[LeaderboardRow]) -> None:
    with _locked(path.parent):
        rows = read(path) if path.exists() else []
        identities = {_identity(row) for row in rows}
        for row in new:
            if _identity(row) in identities:
                raise ConfigurationError(
                    f"{row['method']} on {row['backbone']} with these episodes is already on the "
                    "leaderboard"
                )
        file = io.StringIO()
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *new])
        write_atomically(path, file.getvalue())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _identity(row: LeaderboardRow) -> tuple[str, ...]:
    return tuple(row[name] for name in IDENTITY)


def file_problems(rows: Sequence[LeaderboardRow]) -> Iterator[str]:
    """The problems of leaderboard rows, without their runs."""
    seen: set[tuple[str, ...]] = set()
    for number, row in enumerate(rows, 2):
        where = f"line {number} ({row['method']} on {row['backbone']})"
        if _identity(row) in seen:
            yield f"{where}: the row is a duplicate"
        seen.add(_identity(row))
        for problem in _row_alone(row):
            yield f"{where}: {problem}"


def _row_alone(row: LeaderboardRow) -> Iterator[str]:
    for name in ("sha256", "played_sha256"):
        if not re.fullmatch(r"[0-9a-f]{64}(; [0-9a-f]{64})*", row[name]):
            yield f"{name} {row[name]!r} is not a SHA-256 digest"
    yield from _method(row)
    try:
        numbers = {name: float(row[name]) for name in NUMBERS if row[name]}
    except ValueError as error:
        yield str(error)
        return
    for name, value in numbers.items():
        most = 100.0 if name in PER_CENT else sys.float_info.max
        if not 0.0 <= value <= most:
            yield f"{name} is {value}, not in [0, {most:g}]"
    if not numbers.get("episodes", 0.0) >= 1.0:
        yield "the row has no episodes"
    average = average_of(row)
    if (average is None) != ("average" not in numbers) or (
        average is not None and abs(average - numbers["average"]) > ROUNDING
    ):
        recorded = row["average"] or "empty"
        yield f"the average is {recorded}, but the scores give {average}"
    if not is_older(row):
        yield from _tasks(row, numbers)


def _method(row: LeaderboardRow) -> Iterator[str]:
    """Check that the method follows from the agent and the training."""
    trainings = [TRAINED.fullmatch(text) for text in row["training"].split("; ") if text]
    if None in trainings:
        yield f"the training {row['training']!r} is none"
        return
    learned = {Learning(t["learning"]) for t in trainings if t} or {Learning.NOTHING}
    agents = row["agent"].split("; ")
    methods = {method_of(agent, what).key for agent in agents for what in learned}
    if methods != {row["method"]}:
        names = ", ".join(sorted(methods))
        because = "" if trainings else ": there is no training record"
        yield f"the agent {row['agent']} is the method {names}{because}"
    seeds = {t["seed"] for t in trainings if t}
    if not is_older(row) and row["training_seeds"] != (str(len(seeds)) if seeds else ""):
        yield f"training_seeds is {row['training_seeds'] or 'empty'}, but there are {len(seeds)}"


def _tasks(row: LeaderboardRow, numbers: Mapping[str, float]) -> Iterator[str]:
    """Check that each score is that of a whole published list, and one that its number allows."""
    if row["seed"] != str(SEED):
        yield f"the seed is {row['seed'] or 'empty'}, not {SEED}"
    parts = {name: _by_benchmark(row[name]) for name in ("split", "task_list", "tasks")}
    digests = _by_benchmark(row["tasks_sha256"])
    repeated = max(1.0, numbers.get("training_seeds", 1.0))
    total = 0
    for key, benchmark in BENCHMARKS.items():
        title, column = benchmark.title, f"{key}_{benchmark.measure.lower()}"
        stated = tuple(parts[name].pop(title, "") for name in parts)
        if column not in numbers and not any(stated):
            continue
        listed = ((t, (t.split, t.name, str(t.tasks))) for t in lists_of(key))
        tasks = next((t for t, texts in listed if texts == stated), None)
        if tasks is None or digests.get(title) != (tasks.sha256 or digests.get(title)):
            yield f"{title}: {', '.join(stated)} is no published list of tasks"
            continue
        total += tasks.tasks
        if column not in numbers:
            yield f"{title}: its list was played, but it has no score"
        elif benchmark.metric == "success":
            count = numbers[column] / 100 * tasks.tasks * repeated
            if abs(count - round(count)) > DIGITS * tasks.tasks * repeated:
                yield f"{column} is {row[column]}, which {tasks.tasks} tasks cannot give"
    if others := sorted({title for part in parts.values() for title in part}):
        yield f"{', '.join(others)}: there is no such benchmark"
    elif total * repeated != numbers.get("episodes"):
        yield f"the row has {row['episodes']} episodes, but its lists have {total * repeated:g}"


def _by_benchmark(text: str) -> dict[str, str]:
    """The values of a column that has one for each benchmark, by the benchmark's title."""
    pairs = (part.partition(": ") for part in text.split("; ") if part)
    return {title: value for title, _, value in pairs}


def row_problems(
    rows: Sequence[LeaderboardRow], computed: Sequence[LeaderboardRow]
) -> Iterator[str]:
    """Where leaderboard rows differ from the rows computed from their runs.

    Of a row of an older format only what it states is compared, and not its conditions: there are
    more of them now.
    """
    by_identity = {_identity(row): row for row in rows}
    for fresh in computed:
        row = by_identity.get(_identity(fresh))
        stated = COLUMNS if row and not is_older(row) else OLDER[2]
        unstated = (*PRICED, *(() if stated is COLUMNS else ("format", "conditions")))
        for name in stated if row else ():
            if row and row[name] != fresh[name] and name not in unstated:
                where = f"{fresh['method']} on {fresh['backbone']}: {name}"
                yield (
                    f"{where} is {row[name]!r} on the leaderboard, "
                    f"but the runs give {fresh[name]!r}"
                )
