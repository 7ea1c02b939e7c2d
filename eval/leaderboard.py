"""Add verified runs to the leaderboard, check it, and print it.

agemem leaderboard --add results/runs/RUN
agemem leaderboard --check results/runs/RUN
agemem leaderboard --show
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agemem.eval.paper.benchmarks import PAPER
from agemem.eval.reporting.summary import counted
from agemem.eval.runs.reading import PlayedRun, read_runs
from agemem.eval.submissions.board import add, file_problems, read, row_problems
from agemem.eval.submissions.checks import problems
from agemem.eval.submissions.rows import SCORES, LeaderboardRow, Prices, leaderboard_rows, table_of
from agemem_envs.protocols import DEFAULT
from agemem_envs.util.cli import EXIT_OK, exit_status, name_value
from agemem_envs.util.paths import results_folder

EXIT_INVALID = 1
FILE = results_folder() / "leaderboard.csv"
SHOWN_PROBLEMS = 20
WIDTH = 200
"""The width of a table that goes to a file or pipe, in characters."""

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


def run_problems(runs: Sequence[PlayedRun]) -> list[str]:
    """The problems of runs, one message each."""
    return [f"{run.name}: {problem}" for run in runs for problem in problems(run)]


def show(rows: Sequence[LeaderboardRow], console: Console) -> None:
    """Print a table for each protocol, its rows by descending average, then by name."""
    tables: dict[str, list[LeaderboardRow]] = {}
    for row in rows:
        tables.setdefault(table_of(row), []).append(row)
    for name in sorted(tables, key=lambda name: (name != DEFAULT, name)):
        console.print(_table(name, tables[name]))


def _table(protocol: str, rows: Sequence[LeaderboardRow]) -> Table:
    title = f"Leaderboard, protocol {protocol}: {counted(len(rows), 'row')}"
    table = Table(title=title, title_justify="left")
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
    return table


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
