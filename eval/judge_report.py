"""Compare two judges that scored the same episodes.

    agemem run --rejudge RUN --judge judge-model@http://localhost:8001/v1
    agemem judge-report RUN RUN-rejudged-judge-model

The agreement covers only what a judge had to decide: given answers, and stored or retrieved
memories. A missing answer or an empty memory scores 0 with any judge, and would look like
agreement. The ranks of methods include these zeros, as the tables do.
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

from agemem.eval.reporting.console import SafeConsole
from agemem.eval.reporting.judges import RIGHT, agreement, pair, ranks, read_side
from agemem.eval.reporting.summary import Row, write_csv
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_OK, exit_status, folder


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem judge-report",
        description="Compare two judges on the same episodes.",
        allow_abbrev=False,
    )
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, help="a run, or a folder of runs")
    parser.add_argument(
        "--right",
        type=float,
        default=RIGHT,
        help=f"the lowest score that counts as right (default: {RIGHT})",
    )
    parser.add_argument(
        "--out", type=folder, metavar="FOLDER", help="also write the tables as CSV to this folder"
    )
    return parser


def report(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status."""
    options = build_parser().parse_args(argv)
    if not 0.0 <= options.right <= 1.0:
        raise ConfigurationError(f"--right must be in [0, 1], got {options.right}")
    first, second = read_side(options.first), read_side(options.second)
    pairs = pair(first, second)
    agreed = agreement([(a.episode, b.episode) for a, b in pairs], options.right)
    ranked = ranks(pairs)
    names = [side[0].episode.settings.judge for side in (first, second)]
    console.print(f"first: {names[0]}, second: {names[1]}", highlight=False)
    alone = len(first) + len(second) - 2 * len(pairs)
    console.print(f"{len(pairs)} episodes on both sides, {alone} on one side only", highlight=False)
    if agreed:
        console.print(_across("Agreement", agreed))
    if ranked:
        console.print(_down("Ranks of methods", ranked))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        for name, rows in (("judge_agreement.csv", agreed), ("judge_ranks.csv", ranked)):
            if rows:
                write_csv(rows, options.out / name)
    return EXIT_OK


def _across(title: str, rows: Sequence[Row]) -> Table:
    """A table with one column for each row, for many statistics of few scores."""
    table = Table("", *(str(row["score"]) for row in rows), title=title, title_justify="left")
    for name in list(rows[0])[1:]:
        table.add_row(name.replace("_", " "), *(_text(row[name]) for row in rows))
    return table


def _down(title: str, rows: Sequence[Row]) -> Table:
    """A table with one line for each row."""
    names = [name.replace("_", " ") for name in rows[0]]
    table = Table(*names, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(_text(value) for value in row.values()))
    return table


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: report(sys.argv[1:] if argv is None else argv, SafeConsole()))


if __name__ == "__main__":
    sys.exit(main())
