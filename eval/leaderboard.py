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

from agemem.eval.paper.methods import Kind, method_of
from agemem.eval.reporting.console import SafeConsole
from agemem.eval.reporting.summary import counted
from agemem.eval.runs.reading import PlayedRun, read_runs
from agemem.eval.submissions.admission import refusals
from agemem.eval.submissions.board import add, file_problems, is_older, read, row_problems
from agemem.eval.submissions.checks import problems
from agemem.eval.submissions.rows import (
    CLAIMED,
    SCORES,
    LeaderboardRow,
    Prices,
    leaderboard_rows,
    ranking_of,
    table_of,
)
from agemem_envs.protocols import DEFAULT
from agemem_envs.util.cli import EXIT_OK, exit_status, name_value
from agemem_envs.util.paths import results_folder

EXIT_INVALID = 1
FILE = results_folder() / "leaderboard.csv"
SHOWN_PROBLEMS = 20
SEEDS = 3
"""Seeds that a trained method should have; a row with fewer says so."""
CONDITIONS = ("tasks", "split", "protocol", "top_k", "max_context_tokens", "seed", "judge")
"""The conditions of a row that a table shows; of several benchmarks their different values."""
TEXTS = ("method", "backbone", "training", *CONDITIONS)
HEADINGS = {"top_k": "k", "max_context_tokens": "budget"}
WIDTH = 240
"""The width of a table that goes to a file or pipe, in characters."""

EPILOG = """\
A row is a whole published list of tasks with seed 0: a benchmark's evaluation split, or for
generated data its first tasks. A run is added only if it is that, and if every episode was played
and scored and every score follows from its record. Exact match, F1, progress, success, all parts
of the reward and the scores of the lexical judge are recomputed; the verdicts of a language model
are taken as recorded. A row may combine several runs of a method, such as the two protocols of a
suite, or one for each seed of a training: name them together, or name the folder that holds them.

Rows rank only among rows under the same conditions: protocol, data, list of tasks, k, context
budget, judge and every other setting but the method's own. A method is AgeMem by the record of its
model's training; without one it is AgeMem-noRL, whatever the model is called.

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


def run_refusals(runs: Sequence[PlayedRun]) -> list[str]:
    """Why runs make no row, one message each."""
    return [f"{run.name}: {reason}" for run in runs for reason in refusals(run)]


def show(rows: Sequence[LeaderboardRow], console: Console) -> None:
    """Print a table for each set of conditions, those of the default protocol first.

    Rows of older formats state no list of tasks: they stand apart, without ranks.
    """
    tables: dict[tuple[str, ...] | None, list[LeaderboardRow]] = {}
    for row in rows:
        tables.setdefault(ranking_of(row), []).append(row)
    ranked = [members for ranking, members in tables.items() if ranking is not None]
    for members in sorted(ranked, key=_precedence):
        console.print(_table(members))
    if older := tables.get(None):
        console.print(_table(older, ranked=False))


def _precedence(rows: Sequence[LeaderboardRow]) -> tuple[bool, str, bool, int]:
    """The default protocol first, as it is before as changed, and the tables of most rows."""
    name = table_of(rows[0])
    return name != DEFAULT, name, any(row["given"] for row in rows), -len(rows)


def _table(rows: Sequence[LeaderboardRow], *, ranked: bool = True) -> Table:
    table = Table(title=escape(_title(rows, ranked)), title_justify="left")
    names = ["method", "backbone", "average", *SCORES, "hotpotqa_memory_quality"]
    names += ["episodes", *CONDITIONS, "training", "prompt_tokens", "llm_calls", "seconds", "cost"]
    used = [name for name in names if any(row[name] for row in rows)]
    ordered = sorted(rows, key=lambda row: (-_strength(row), row["method"]))
    places = _places(ordered)
    for name in ("rank", *used) if ranked else used:
        justify = "left" if name in TEXTS else "right"
        table.add_column(HEADINGS.get(name, name.replace("_", " ")), justify=justify)  # type: ignore[arg-type]
    for row, place in zip(ordered, places, strict=True):
        cells = [escape(_cell(row, name)) for name in used]
        table.add_row(*([place, *cells] if ranked else cells))
    return table


def _title(rows: Sequence[LeaderboardRow], ranked: bool) -> str:
    names = ", ".join(sorted({table_of(row) for row in rows}))
    title = f"Leaderboard, protocol {names}: {counted(len(rows), 'row')}"
    if not ranked:
        return f"{title}, not ranked: of an older format, which states no list of tasks"
    data = rows[0]["data_sources"]
    given = sorted({text for row in rows for text in row["given"].split("; ") if text})
    beside = f"; not the protocol's: {', '.join(given)}" if given else ""
    return f"{title}\n{rows[0]['task_list']}\n{data}{beside}"


def _strength(row: LeaderboardRow) -> float:
    """The average by which rows rank; without all the paper's benchmarks, of those it has."""
    scores = [float(row[name]) for name in SCORES if row[name]]
    return float(row["average"] or (sum(scores) / len(scores) if scores else -1.0))


def _places(rows: Sequence[LeaderboardRow]) -> list[str]:
    """The places of ordered rows. References do not compete; equal rows share a place."""
    competing = [_strength(row) for row in rows if not _is_reference(row)]
    return ["-" if _is_reference(r) else str(competing.index(_strength(r)) + 1) for r in rows]


def _is_reference(row: LeaderboardRow) -> bool:
    return method_of(row["agent"]).kind is Kind.REFERENCE


def _cell(row: LeaderboardRow, name: str) -> str:
    if name == "training":
        return _trained(row)
    if name in CONDITIONS:
        values = dict.fromkeys(part.rpartition(": ")[2] for part in row[name].split("; "))
        return " / ".join(values)
    if name in TEXTS:
        return row[name]
    if not row[name]:
        return "missing"
    if name == "episodes":
        return row[name]
    text = f"{float(row[name]):,.2f}"
    if name == "average" and row["average_low"]:
        text += f" [{float(row['average_low']):.2f}, {float(row['average_high']):.2f}]"
    return text


def _trained(row: LeaderboardRow) -> str:
    """The number of seeds of a row's training, and whether it is only claimed."""
    if not row["training"]:
        return "-"
    seeds = counted(int(row["training_seeds"]), "seed")
    few = f", of the {SEEDS} asked for" if 1 < int(row["training_seeds"]) < SEEDS else ""
    return f"{seeds}{few}{', ' + CLAIMED if CLAIMED in row['training'] else ''}"


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
        return _verdict(list(file_problems(rows)), f"valid: {_counted_rows(rows)}", console)
    runs = read_runs(options.add or options.check)
    checkpoints = dict(
        name_value(text, "--checkpoint", "NAME=BACKBONE") for text in options.checkpoint
    )
    rows = read(options.file) if options.file.exists() else []
    older = {row["played_sha256"] for row in rows if is_older(row)} if options.check else set()
    new = [run for run in runs if not any(run.played_sha256 in text for text in older)]
    wrong = run_problems(runs) or run_refusals(new)
    if wrong:
        return _verdict(wrong, "", console)
    computed = leaderboard_rows(runs, checkpoints, prices)
    if options.check is not None:
        old = len(runs) - len(new)
        apart = f", of which {old} in rows that are not ranked" if old else ""
        success = f"valid: {counted(len(runs), 'run')}{apart}"
        return _verdict(list(row_problems(rows, computed)), success, console)
    if wrong := list(file_problems(computed)):
        return _verdict([text.split(" ", 2)[2] for text in wrong], "", console)
    add(options.file, computed)
    _say(console, f"Added {counted(len(computed), 'row')} to {options.file}")
    return EXIT_OK


def _counted_rows(rows: Sequence[LeaderboardRow]) -> str:
    older = sum(map(is_older, rows))
    apart = f", of which {older} of older formats are not ranked" if older else ""
    return f"{counted(len(rows), 'row')}{apart}"


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
    console = SafeConsole(width=None if sys.stdout.isatty() else WIDTH)
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv, console))


if __name__ == "__main__":
    sys.exit(main())
