"""The logs of several training runs as one table, to draw their learning curves.

    agemem curves --series all-returns=RUN1,RUN2 --series answer-only=RUN3 --out FOLDER

Runs of one series differ by their seed. The report draws the table, as in the paper's Figure 5:

    agemem report --curves all-returns=FOLDER/curves.csv --curve-metric mean_return --out REPORT
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.log import ROUND, read_log
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.util.cli import EXIT_OK, exit_status, name_value

if TYPE_CHECKING:
    from pandas import DataFrame

FILE = "curves.csv"


def curve_table(series: Mapping[str, Sequence[Path]]) -> DataFrame:
    """All logged numbers of all runs, one row for each step of each run.

    Args:
        series: The folders of the runs, by the name of their series.

    Returns:
        A table with the columns ``series``, ``run`` and ``step``, all columns of the log, and
        ``mean_return``, the mean of the three returns, which compares runs whose reward weighs
        the returns differently. Of several optimizer steps on one round, the first has its
        numbers.

    Raises:
        DataNotFoundError: A run has no log.
        ConfigurationError: No run has logged a step.
    """
    pandas = require("pandas", extra="train")
    rows = [
        {"series": name, "run": run.name, **entry}
        for name, runs in series.items()
        for run in runs
        for entry in read_log(run)
    ]
    table = pandas.DataFrame(rows)
    if table.empty:
        raise ConfigurationError("the runs have not logged a step yet")
    table.insert(3, "mean_return", table[list(ROUND)].mean(axis=1, skipna=False))
    return table


def write_curves(series: Mapping[str, Sequence[Path]], out: Path) -> DataFrame:
    """Write the table to ``out/curves.csv``, and return it."""
    table = curve_table(series)
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / FILE, index=False, float_format="%.6g")
    return table


def _series(items: Sequence[str]) -> dict[str, list[Path]]:
    series = {}
    for item in items:
        name, runs = name_value(item, "--series", "NAME=RUN[,RUN...]")
        series[name] = [Path(run) for run in runs.split(",")]
    return series


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem curves",
        description="Write the logs of training runs as one CSV file; "
        "agemem report --curves draws it.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--series",
        action="append",
        required=True,
        metavar="NAME=RUN[,RUN...]",
        help="the runs of one training, which differ by their seed; may be repeated",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"for {FILE}")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command line, and return the exit status.

    Raises:
        AgeMemError: A run cannot be read.
    """
    options = build_parser().parse_args(argv)
    write_curves(_series(options.series), options.out)
    print(f"Written to {options.out / FILE}")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
