"""Make the paper's tables and figures from recorded runs, with the paper's numbers for comparison.

agemem report results/runs/RUN [RUN ...] --out results/reports/NAME
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

from agemem.eval.reporting.build import write
from agemem.eval.reporting.curves import DEFAULT_METRIC
from agemem.eval.reporting.document import REPORT, make_sections, to_text, write_report
from agemem.eval.reporting.published import published_groups, read_published
from agemem.eval.runs.reading import read_runs
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_OK, exit_status, folder, name_value

EPILOG = f"""\
output files:
  {REPORT}            all sections, with figures
  table2, table3, table4, figure2, figure3, figure4, gains, comparisons, breakdowns, episodes,
  runs, figure5        one file each as .csv (unrounded), .md and .tex
  figure*-light.png    figures; -dark.png for dark backgrounds

comparability:
  Runs that differ in data, protocol, judge, constrained decoding, budgets or sampling are never
  averaged together. They get separate tables or rows, which name the difference. Generated data
  has its own columns.

examples:
  a suite together with a single run:
    agemem report results/runs/table2 results/runs/my-run --out results/reports/mine

  a trained model, compared with the other methods on its base model:
    agemem report RUN RUN --checkpoint my-agemem=qwen3-4b --out OUT

  training curves of two rewards with two seeds each:
    agemem report --curves all-returns=a0.csv --curves all-returns=a1.csv \\
        --curves answer-only=b0.csv --curves answer-only=b1.csv --out OUT

  the paper's numbers as if they were results:
    agemem report --published

exit status: 0, or 2 if there is nothing to report or a file cannot be read; then no file is written
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem report",
        description="Make the paper's tables and figures from recorded runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="the folder of a run, or a folder of runs"
    )
    parser.add_argument("--out", type=folder, metavar="FOLDER", help="a new folder for the report")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=BACKBONE",
        help="the base model BACKBONE of the trained model that results call NAME; a suite "
        "records it itself",
    )
    parser.add_argument(
        "--curves",
        action="append",
        default=[],
        metavar="NAME=FILE.csv",
        help="a training log; repeat the NAME for further seeds; in a file written by agemem "
        "curves, NAME is a series",
    )
    parser.add_argument(
        "--curve-metric",
        action="append",
        metavar="COLUMN",
        help=f"a column of the logs to draw; may be repeated (default: {DEFAULT_METRIC})",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="report the paper's numbers as if they were results; print them without --out",
    )
    return parser


def report(argv: Sequence[str]) -> str:
    """Run the command line, and return the text to print.

    Raises:
        AgeMemError: The options contradict each other, a file cannot be read, or the report
            cannot be written. No file is written.
    """
    options = build_parser().parse_args(argv)
    if options.published and (options.runs or options.curves):
        raise ConfigurationError("--published cannot be combined with runs or --curves")
    if not (options.published or options.runs or options.curves):
        raise ConfigurationError("there is nothing to report: name a RUN, --curves or --published")
    if options.published:
        published = read_published()
        sections = make_sections(published_groups(published), published)
        if options.out is None:
            return to_text(sections)
        write_report(sections, options.out)
        return f"Written to {options.out / REPORT}"
    runs = read_runs(options.runs)
    if options.out is None:
        raise ConfigurationError("name a folder for the report: --out FOLDER")
    pairs = [name_value(text, "--checkpoint", "NAME=BACKBONE") for text in options.checkpoint]
    curves: dict[str, list[Path]] = {}
    for text in options.curves:
        name, path = name_value(text, "--curves", "NAME=FILE.csv")
        curves.setdefault(name, []).append(Path(path))
    written = write(
        runs,
        options.out,
        checkpoints=dict(pairs),
        curves=curves,
        curve_metrics=options.curve_metric or (DEFAULT_METRIC,),
    )
    return f"Written to {written}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""

    def run() -> int:
        print(report(sys.argv[1:] if argv is None else argv))
        return EXIT_OK

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
