"""The file of the leaderboard: its rows, added by many processes, and what is wrong with them."""

from __future__ import annotations

import csv
import fcntl
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agemem.eval.paper.methods import method_of
from agemem.eval.submissions.rows import (
    COLUMNS,
    FORMAT,
    QUALITIES,
    SCORES,
    SPENT,
    LeaderboardRow,
    average_of,
)
from agemem_envs.errors import ConfigurationError, DataFormatError, DataNotFoundError
from agemem_envs.util.files import write_atomically
from agemem_envs.util.records import NewerFormatError, refuse_newer
from agemem_envs.util.sanitize import natural_number

IDENTITY = ("method", "data_sources", "protocol", "stages", "judge", "played_sha256")
"""The columns that identify a row. The same episodes may have one row for each judge."""
OLDER_COLUMNS = (
    tuple(name for name in COLUMNS if name not in ("protocol", "format")),
    tuple(name for name in COLUMNS if name != "protocol"),
)
"""The columns of formats 0 and 1."""
PRICED = ("cost", "price_in", "price_out")
"""The columns that depend on the prices, not on the runs."""
PER_CENT = (*SCORES, "average", "average_low", "average_high")
NUMBERS = (*PER_CENT, *QUALITIES, *SPENT, "price_in", "price_out", "episodes")
ROUNDING = 1e-3
"""The tolerance of an average. Scores are stored with six digits."""


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
    if columns not in (COLUMNS, *OLDER_COLUMNS):
        raise DataFormatError(f"{path} does not have the columns of a leaderboard")
    return [_upgraded(row) for row in rows]


def _upgraded(row: LeaderboardRow) -> LeaderboardRow:
    """A row with all columns. Before protocols, each set of stages had its protocol."""
    return {"protocol": row["stages"], "format": "0", **row}


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
        for name in ("sha256", "played_sha256"):
            if not re.fullmatch(r"[0-9a-f]{64}(; [0-9a-f]{64})*", row[name]):
                yield f"{where}: {name} {row[name]!r} is not a SHA-256 digest"
        methods = {
            method_of(agent, backbone).key
            for agent in row["agent"].split("; ")
            for backbone in row["backbone"].split("; ")
        }
        if methods != {row["method"]}:
            yield f"{where}: the agent {row['agent']} is the method {', '.join(sorted(methods))}"
        try:
            numbers = {name: float(row[name]) for name in NUMBERS if row[name]}
        except ValueError as error:
            yield f"{where}: {error}"
            continue
        for name, value in numbers.items():
            most = 100.0 if name in PER_CENT else sys.float_info.max
            if not 0.0 <= value <= most:
                yield f"{where}: {name} is {value}, not in [0, {most:g}]"
        if not numbers.get("episodes", 0.0) >= 1.0:
            yield f"{where}: the row has no episodes"
        average = average_of(row)
        if (average is None) != ("average" not in numbers) or (
            average is not None and abs(average - numbers["average"]) > ROUNDING
        ):
            recorded = row["average"] or "empty"
            yield f"{where}: the average is {recorded}, but the scores give {average}"


def row_problems(
    rows: Sequence[LeaderboardRow], computed: Sequence[LeaderboardRow]
) -> Iterator[str]:
    """Where leaderboard rows differ from the rows computed from their runs.

    The conditions of a row of an older format are not compared: there are more of them now.
    """
    by_identity = {_identity(row): row for row in rows}
    for fresh in computed:
        row = by_identity.get(_identity(fresh))
        older = ("format", "conditions") if row and row["format"] != fresh["format"] else ()
        for name in COLUMNS if row else ():
            if row and row[name] != fresh[name] and name not in (*PRICED, *older):
                where = f"{fresh['method']} on {fresh['backbone']}: {name}"
                yield (
                    f"{where} is {row[name]!r} on the leaderboard, "
                    f"but the runs give {fresh[name]!r}"
                )
