"""The paper's tables and figures from recorded runs, the paper's own numbers beside them.

agemem report results/runs/RUN [RUN ...] --out results/reports/NAME
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started as a file: import the packages beside it, whatever is installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.eval.reporting.curves import DEFAULT_METRIC, Curve, read_curves
from agemem.eval.reporting.document import REPORT, make_sections, run_section, to_text, write_report
from agemem.eval.reporting.groups import make_groups
from agemem.eval.reporting.published import published_groups, read_published
from agemem.eval.runs.reading import read_runs
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.cli import EXIT_OK, exit_status, folder, name_value

EPILOG = f"""\
what is written:
  {REPORT}            everything, with figures
  table2, table3, table4, figure2, figure3, figure4, gains, comparisons, breakdowns, episodes,
  runs, figure5        each as .csv (unrounded), .md and .tex
  figure*-light.png    figures, and the same with -dark.png

what is never averaged together:
  Runs on other data, under another protocol, by another judge, with constrained decoding, other
  budgets or other sampling stand in tables or rows of their own, which name the difference.
  Generated data has columns of its own.

examples:
  a suite, and single runs beside it:
    agemem report results/runs/table2 results/runs/my-run --out results/reports/mine

  a trained model beside the other methods on the backbone that it was made of:
    agemem report RUN RUN --checkpoint my-agemem=qwen3-4b --out OUT

  training curves of two rewards, two seeds each:
    agemem report --curves all-returns=a0.csv --curves all-returns=a1.csv \\
        --curves answer-only=b0.csv --curves answer-only=b1.csv --out OUT

  the paper's own numbers as if they were results:
    agemem report --published

exit status: 0, or 2 if there is nothing to report or it cannot be read; nothing is written then
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
        "runs", nargs="*", type=Path, metavar="RUN", help="a run's folder, or one that holds runs"
    )
    parser.add_argument("--out", type=folder, metavar="FOLDER", help="a new folder for the report")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=BACKBONE",
        help="a trained model, as its results name it, and the backbone that it was made of "
        "(known for the runs of a suite)",
    )
    parser.add_argument(
        "--curves",
        action="append",
        default=[],
        metavar="NAME=FILE.csv",
        help="a training log; the same NAME again is another seed; in a file of agemem curves, "
        "NAME is a series",
    )
    parser.add_argument(
        "--curve-metric",
        action="append",
        metavar="COLUMN",
        help=f"a column of the logs to draw; may be repeated ({DEFAULT_METRIC})",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="report the paper's own numbers as if they were results; without --out print them",
    )
    return parser


def report(argv: Sequence[str]) -> str:
    """Do what the command line says; what is to be printed.

    Raises:
        AgeMemError: It cannot be done; nothing is written.
    """
    options = build_parser().parse_args(argv)
    if options.published and (options.runs or options.curves):
        raise ConfigurationError("--published takes no runs and no curves")
    if not (options.published or options.runs or options.curves):
        raise ConfigurationError("there is nothing to report: name a RUN, --curves or --published")
    runs = read_runs(options.runs)
    if options.out is None and not options.published:
        raise ConfigurationError("the report needs a folder: --out FOLDER")
    published = read_published()
    if options.published:
        sections = make_sections(published_groups(published), published)
    else:
        panels = make_groups(
            runs,
            dict(name_value(text, "--checkpoint", "NAME=BACKBONE") for text in options.checkpoint),
        )
        sections = make_sections(panels, published, _curves(options))
        sections = [s for s in sections if s.sheets or runs]
        sections += [run_section(runs)] if runs else []
    if options.out is None:
        return to_text(sections)
    write_report(sections, options.out)
    return f"Written to {options.out / REPORT}"


def _curves(options: argparse.Namespace) -> list[Curve]:
    files: dict[str, list[Path]] = {}
    for text in options.curves:
        name, path = name_value(text, "--curves", "NAME=FILE.csv")
        files.setdefault(name, []).append(Path(path))
    return read_curves(files, options.curve_metric or [DEFAULT_METRIC]) if files else []


def main(argv: Sequence[str] | None = None) -> int:
    """The program. Errors that the user can mend are one message and status 2."""

    def run() -> int:
        print(report(sys.argv[1:] if argv is None else argv))
        return EXIT_OK

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
