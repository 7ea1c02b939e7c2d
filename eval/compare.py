"""Compare the arms of an experiment on the same tasks, such as a policy before and after training.

    agemem compare --arm warm-start=RUN1,RUN2 --arm trained=RUN3,RUN4 --out results/reports/arms

The runs of an arm are evaluations of models that differ by their training seed. The others are
tested against the first arm. Files in the folder:

    held_out.csv  each metric of each arm, with 95% intervals over tasks and training runs
    tests.csv     paired differences with intervals, and permutation tests with Holm's correction
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

from agemem.eval.reporting.arms import SHOWN, Numbers, means, read_arms, tests
from agemem.eval.reporting.console import SafeConsole
from agemem.eval.reporting.summary import write_csv
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_OK, exit_status, folder, name_value


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem compare",
        description="Compare the arms of an experiment on the same tasks.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--arm",
        action="append",
        required=True,
        metavar="NAME=RUN[,RUN...]",
        help="the evaluations of an arm, one for each training seed; the first --arm is the one "
        "that the others are tested against",
    )
    parser.add_argument(
        "--out", type=folder, metavar="FOLDER", help="also write the tables as CSV to this folder"
    )
    return parser


def compare(argv: Sequence[str], console: Console) -> int:
    """Run the command line, and return the exit status."""
    options = build_parser().parse_args(argv)
    arms: dict[str, list[Path]] = {}
    for text in options.arm:
        name, runs = name_value(text, "--arm", "NAME=RUN[,RUN...]")
        if name in arms:
            raise ConfigurationError(f"--arm {name} is given twice: list its runs with commas")
        arms[name] = [Path(run) for run in runs.split(",")]
    numbers = read_arms(arms)
    console.print(_table(list(arms), numbers))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_csv(means(numbers), options.out / "held_out.csv")
        if tested := tests(numbers):
            write_csv(tested, options.out / "tests.csv")
        console.print(f"Written to {escape(str(options.out))}", highlight=False)
    return EXIT_OK


def _table(arms: Sequence[str], numbers: Numbers) -> Table:
    table = Table("", *map(escape, arms))
    for metric in SHOWN:
        values = [numbers[arm, metric].value for arm in arms]
        table.add_row(metric, *("" if value is None else f"{value:.3f}" for value in values))
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: compare(sys.argv[1:] if argv is None else argv, SafeConsole()))


if __name__ == "__main__":
    sys.exit(main())
