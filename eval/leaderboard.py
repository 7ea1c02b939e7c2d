"""Add verified runs to the leaderboard, check it, and print it.

agemem leaderboard --add results/runs/RUN
agemem leaderboard --check results/runs/RUN
agemem leaderboard --show
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if not __package__:  # run as a file: import the packages of this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agemem.eval.paper.benchmarks import PAPER
from agemem.eval.paper.methods import method_of
from agemem.eval.reporting.summary import counted
from agemem.eval.runs.reading import PlayedRun, read_runs
from agemem.eval.submissions.checks import problems
from agemem.eval.submissions.rows import (
    COLUMNS,
    FORMAT,
    QUALITIES,
    SCORES,
    SPENT,
    LeaderboardRow,
    Prices,
    average_of,
    leaderboard_rows,
)
from agemem_envs.errors import ConfigurationError, DataFormatError, DataNotFoundError
from agemem_envs.util.cli import EXIT_OK, exit_status, name_value
from agemem_envs.util.files import write_atomically
from agemem_envs.util.paths import results_folder
from agemem_envs.util.records import NewerFormatError, refuse_newer
from agemem_envs.util.sanitize import natural_number

EXIT_INVALID = 1
FILE = results_folder() / "leaderboard.csv"
SHOWN_PROBLEMS = 20
IDENTITY = ("method", "data_sources", "stages", "judge", "played_sha256")
"""The columns that identify a row. The same episodes may have one row for each judge."""
PRICED = ("cost", "price_in", "price_out")
"""The columns that depend on the prices, not on the runs."""
PER_CENT = (*SCORES, "average", "average_low", "average_high")
NUMBERS = (*PER_CENT, *QUALITIES, *SPENT, "price_in", "price_out", "episodes")
WIDTH = 200
"""The width of a table that goes to a file or pipe, in characters."""
ROUNDING = 1e-3
"""The tolerance of an average. Scores are stored with six digits."""

EPILOG = """\
A row may combine several runs of a method, such as the two protocols of a suite: name them
together, or name the folder of the suite. A run is added only if every episode was played and
scored and every score follows from its record. Exact match, F1, progress, success, all parts of
the reward and the scores of the lexical judge are recomputed; the verdicts of a language model are
taken as recorded.

examples:
  agemem leaderboard --add results/runs/table2 --price-in 0.10 --price-out 0.40
  agemem leaderboard --check results/runs/table2
  agemem leaderboard --check
  agemem leaderboard --show

exit status: 0; 1 if a run or a row is not valid; 2 on any other error
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem leaderboard",
        description="Add runs to the leaderboard, check it, and print it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--add", nargs="+", type=Path, metavar="RUN", help="check runs and add them")
    what.add_argument(
        "--check",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="check runs and their rows on the leaderboard; without RUN, the leaderboard alone",
    )
    what.add_argument("--show", action="store_true", help="print the leaderboard")
    parser.add_argument(
        "--price-in", type=float, metavar="X", help="price of a million prompt tokens"
    )
    parser.add_argument(
        "--price-out", type=float, metavar="X", help="price of a million completion tokens"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=BACKBONE",
        help="the base model of a trained model, as in agemem report",
    )
    parser.add_argument(
        "--file", type=Path, default=FILE, help="the leaderboard (default: %(default)s)"
    )
    return parser


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
    if columns not in (COLUMNS, COLUMNS[:-1]):  # the last column is the format
        raise DataFormatError(f"{path} does not have the columns of a leaderboard")
    return [row | {"format": str(FORMAT)} for row in rows]


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


def run_problems(runs: Sequence[PlayedRun]) -> list[str]:
    """The problems of runs, one message each."""
    return [f"{run.name}: {problem}" for run in runs for problem in problems(run)]


def row_problems(
    rows: Sequence[LeaderboardRow], computed: Sequence[LeaderboardRow]
) -> Iterator[str]:
    """Where leaderboard rows differ from the rows computed from their runs."""
    by_identity = {_identity(row): row for row in rows}
    for fresh in computed:
        row = by_identity.get(_identity(fresh))
        for name in COLUMNS if row else ():
            if row and row[name] != fresh[name] and name not in PRICED:
                where = f"{fresh['method']} on {fresh['backbone']}: {name}"
                yield (
                    f"{where} is {row[name]!r} on the leaderboard, "
                    f"but the runs give {fresh[name]!r}"
                )


def show(rows: Sequence[LeaderboardRow], console: Console) -> None:
    """Print the rows by descending average, then by name."""
    table = Table(title=f"Leaderboard: {counted(len(rows), 'row')}", title_justify="left")
    scores = [f"{b.key}_{b.measure.lower()}" for b in PAPER]
    extra = [name for name in SCORES if name not in scores]
    names = ["method", "backbone", *scores, *extra, "average", "hotpotqa_memory_quality"]
    names += ["prompt_tokens", "llm_calls", "seconds", "cost", "judge"]
    used = [name for name in names if any(row[name] for row in rows)]
    for name in used:
        justify = "left" if name in ("method", "backbone", "judge") else "right"
        table.add_column(name.replace("_", " "), justify=justify)  # type: ignore[arg-type]
    ranked = sorted(rows, key=lambda row: (-float(row["average"] or -1), row["method"]))
    for row in ranked:
        table.add_row(*(escape(_cell(row, name)) for name in used))
    console.print(table)


def _cell(row: LeaderboardRow, name: str) -> str:
    if name in ("method", "backbone", "judge"):
        return row[name]
    if not row[name]:
        return "missing"
    text = f"{float(row[name]):,.2f}"
    if name == "average" and row["average_low"]:
        text += f" [{float(row['average_low']):.2f}, {float(row['average_high']):.2f}]"
    return text


def run(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status.

    Raises:
        AgeMemError: A file cannot be read or written, or a row is already on the leaderboard.
    """
    options = build_parser().parse_args(argv)
    prices = Prices(options.price_in, options.price_out)
    if options.show:
        rows = read(options.file)
        if wrong := list(file_problems(rows)):
            return _verdict(wrong, "", console)
        show(rows, console)
        return EXIT_OK
    if options.check == []:
        rows = read(options.file)
        return _verdict(list(file_problems(rows)), f"valid: {counted(len(rows), 'row')}", console)
    runs = read_runs(options.add or options.check)
    checkpoints = dict(
        name_value(text, "--checkpoint", "NAME=BACKBONE") for text in options.checkpoint
    )
    wrong = run_problems(runs)
    if wrong:
        return _verdict(wrong, "", console)
    computed = leaderboard_rows(runs, checkpoints, prices)
    if options.check is not None:
        rows = read(options.file) if options.file.exists() else []
        return _verdict(
            list(row_problems(rows, computed)), f"valid: {counted(len(runs), 'run')}", console
        )
    add(options.file, computed)
    _say(console, f"Added {counted(len(computed), 'row')} to {options.file}")
    return EXIT_OK


def _verdict(messages: Sequence[str], success: str, console: Console) -> int:
    """Print the problems, or ``success`` if there are none; the exit status."""
    if not messages:
        _say(console, success)
        return EXIT_OK
    for message in messages[:SHOWN_PROBLEMS]:
        _say(console, f"not valid: {message}")
    if len(messages) > SHOWN_PROBLEMS:
        _say(console, f"and {len(messages) - SHOWN_PROBLEMS} more")
    return EXIT_INVALID


def _say(console: Console, text: str) -> None:
    console.print(escape(text), soft_wrap=True, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv, console))


if __name__ == "__main__":
    sys.exit(main())
