"""Write the episodes of a run as one HTML page that works offline.

    agemem view results/runs/my-run
    agemem view results/runs/my-run --compare results/runs/other-run --out both.html

The page contains all texts of the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not (__package__ or "").startswith("agemem"):  # not installed: use this checkout
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.eval.viewer.page import check_target, show, write_page
from agemem_envs.util.cli import EXIT_OK, exit_status


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem view",
        description="Write the episodes of a run as one HTML page: a table, and each episode round "
        "by round. The page works offline and contains all texts of the run.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="RUN2",
        help="a second run, shown next to the first on the same tasks",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page (default: RUN/viewer.html, or RUN/compare.html with --compare)",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def view(argv: Sequence[str]) -> Path:
    """Run the command line, and return the file of the page.

    Raises:
        AgeMemError: A run cannot be read, or the page cannot be written.
    """
    options = build_parser().parse_args(argv)
    default = "compare.html" if options.compare else "viewer.html"
    out: Path = options.out or options.run / default
    if options.out:
        check_target(out)  # before the slow part
    write_page([options.run] + ([options.compare] if options.compare else []), out)
    if options.open:
        show(out)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Errors of the user print one message and give exit status 2."""

    def run() -> int:
        out = view(sys.argv[1:] if argv is None else argv)
        print(f"Written to {out} ({out.stat().st_size / 1e6:.1f} MB)")  # noqa: T201
        return EXIT_OK

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
