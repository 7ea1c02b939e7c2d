"""Learning curves of training runs, as CSV and PNG: the paper's Figure 5.

    agemem curves --series all-returns=RUN1,RUN2 --series answer-only=RUN3 --out FOLDER

Runs of one series differ by their seed: the line is their mean, the band its 95% interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: import the packages beside it, whatever is installed
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from agemem_envs.util.checkout import use_checkout

    use_checkout()

from agemem.train.log import read_log
from agemem_envs.errors import ConfigurationError, require
from agemem_envs.util.cli import EXIT_OK, exit_status, name_value

PANELS = {
    "mean_return": "mean of the three returns",
    "success": "task success",
    "reward/task": "R_task",
    "reward/context": "R_context",
    "reward/memory": "R_memory",
    "memory_quality": "memory quality",
}
"""What is drawn; ``mean_return`` is there to compare runs whose reward weighs otherwise."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, told apart by the colour-blind too."""


def table(series: Mapping[str, Sequence[Path]]) -> Any:
    """All logged numbers of all runs, one row for each step.

    Args:
        series: The runs of each label.

    Returns:
        A data frame with the columns ``series``, ``run`` and ``step``, ``mean_return``, and
        all that the log has.

    Raises:
        DataNotFoundError: A run has no log.
    """
    pandas = require("pandas", extra="train")
    rows = [
        {"series": label, "run": run.name, **entry}
        for label, runs in series.items()
        for run in runs
        for entry in read_log(run)
    ]
    frame = pandas.DataFrame(rows)
    if frame.empty:
        raise ConfigurationError("the runs have not logged a step yet")
    returns = ["reward/task", "reward/context", "reward/memory"]
    frame.insert(3, "mean_return", frame[returns].mean(axis=1, skipna=False))
    return frame


def interval(values: Any) -> tuple[float, float]:
    """Mean and half width of its 95% interval by Student's t; NaN for fewer than two values."""
    stats = require("scipy.stats", extra="eval")
    values = values.dropna()
    width = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1) if len(values) > 1 else None
    return float(values.mean()), float("nan" if width is None else width)


def draw(frame: Any, path: Path, window: int) -> None:
    """One panel for each of :data:`PANELS`, one line for each series.

    Args:
        frame: From :func:`table`.
        path: Of the PNG.
        window: Steps over which each run is averaged before runs are.
    """
    matplotlib = require("matplotlib", extra="train")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.5), sharex=True)
    for axis, (name, title) in zip(axes.flat, PANELS.items(), strict=True):
        for colour, label in zip(COLOURS, frame["series"].unique(), strict=False):
            runs = frame[frame["series"] == label].pivot(index="step", columns="run", values=name)
            smooth = runs.rolling(window, min_periods=1).mean()
            points = [interval(row) for _, row in smooth.iterrows()]
            middle = [mean for mean, _ in points]
            axis.plot(smooth.index, middle, color=colour, label=label)
            if smooth.shape[1] > 1:
                low = [mean - width for mean, width in points]
                high = [mean + width for mean, width in points]
                axis.fill_between(smooth.index, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.set_title(title)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("optimizer step")
    axes.flat[0].legend()
    figure.suptitle(f"mean over seeds with 95% interval, each run averaged over {window} steps")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def write(series: Mapping[str, Sequence[Path]], out: Path, window: int) -> Any:
    """Write ``curves.csv`` and ``curves.png``, and return the table."""
    frame = table(series)
    out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(out / "curves.csv", index=False, float_format="%.6g")
    draw(frame, out / "curves.png", window)
    return frame


def _series(items: Sequence[str]) -> dict[str, list[Path]]:
    series = {}
    for item in items:
        label, runs = name_value(item, "--series", "LABEL=RUN[,RUN...]")
        series[label] = [Path(run) for run in runs.split(",")]
    return series


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="agemem curves", description="Learning curves as CSV and PNG.", allow_abbrev=False
    )
    parser.add_argument("--series", action="append", required=True, metavar="LABEL=RUN[,RUN...]")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--window", type=int, default=10, metavar="N", help="smoothing (10)")
    return parser


def run(argv: Sequence[str]) -> int:
    """Draw what the command line says; the exit status.

    Raises:
        AgeMemError: A run cannot be read.
    """
    options = build_parser().parse_args(argv)
    write(_series(options.series), options.out, options.window)
    print(f"Written to {options.out}")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """The program."""
    return exit_status(lambda: run(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
