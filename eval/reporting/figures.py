"""PNG figures in a light and a dark theme. Drawing leaves matplotlib's global state unchanged."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agemem.eval.paper.exhibits import REDUCTION
from agemem.eval.paper.methods import Kind
from agemem.eval.reporting.curves import Curve
from agemem.eval.reporting.rendered import format_number
from agemem.eval.reporting.tables import Cell, Table
from agemem.eval.reporting.writers import plain
from agemem_envs.errors import require

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""The colour-blind-safe palette of Okabe and Ito."""
DOTS_PER_INCH = 160
MAX_LABEL = 34
CURVE_COLUMNS = 3
"""The number of training-curve panels in a row."""
LETTERS_PER_INCH = 11
"""The width of a title, a conservative estimate."""


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of everything except the data."""

    name: str
    paper: str
    ink: str
    grid: str


THEMES = (
    Theme("light", "#ffffff", "#1f2328", "#d0d7de"),
    Theme("dark", "#0d1117", "#e6edf3", "#30363d"),
)
Draw = Callable[[Any, Theme], None]


def save(
    draw: Draw,
    title: str,
    size: tuple[float, float],
    path: Path,
    grid: tuple[int, int] = (1, 1),
) -> list[Path]:
    """Draw a figure once for each theme, and save it.

    Args:
        draw: Draws on the given axes: a single one, or an array of them for a grid.
        title: Lines above the axes, wrapped to fit; the first is the heading.
        size: Width and height in inches.
        path: The path without suffix; the name of the theme is added.
        grid: The numbers of rows and columns of axes.

    Returns:
        The files, in the order of the themes.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", extra="eval")
    files = []
    for theme in THEMES:
        with _style(theme):
            figure = figures.Figure(figsize=size, layout="constrained")
            axes = figure.subplots(*grid)
            draw(axes, theme)
            lines = _wrapped(title, int(size[0] * LETTERS_PER_INCH))
            figure.suptitle(lines, x=0.02, ha="left")
            files.append(path.with_name(f"{path.name}-{theme.name}.png"))
            figure.savefig(files[-1], dpi=DOTS_PER_INCH)
    return files


def _style(theme: Theme) -> AbstractContextManager[None]:
    matplotlib = require("matplotlib", extra="eval")
    context: AbstractContextManager[None] = matplotlib.rc_context(
        {
            "figure.facecolor": theme.paper,
            "savefig.facecolor": theme.paper,
            "axes.facecolor": theme.paper,
            "axes.edgecolor": theme.grid,
            "axes.labelcolor": theme.ink,
            "figure.titlesize": 10,
            "figure.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "grid.color": theme.grid,
            "grid.linewidth": 0.6,
            "text.color": theme.ink,
            "text.parse_math": False,  # names are untrusted
            "xtick.color": theme.ink,
            "ytick.color": theme.ink,
            "legend.frameon": False,
            "font.size": 9,
            "font.family": "DejaVu Sans",
        }
    )
    return context


def draw_table(table: Table, path: Path) -> list[Path]:
    """Draw the plotted columns of a table: one as horizontal bars, several as grouped bars."""
    plotted = [i for i, c in enumerate(table.columns) if c.metric in table.exhibit.plotted]
    columns = [i for i in plotted if any(row.cells[i].value is not None for row in table.rows)]
    if len(plotted) == 1:
        rows = [row for row in table.rows if row.cells[plotted[0]].value is not None]
        size = (7.0, 1.3 + 0.38 * len(rows))
        return save(
            lambda axes, theme: _bar_lines(axes, theme, table, plotted[0]),
            _title(table),
            size,
            path,
        )
    size = (max(5.5, 1.6 + 2.1 * len(columns)), 3.8)
    return save(
        lambda axes, theme: _bar_groups(axes, theme, table, columns), _title(table), size, path
    )


def _bar_lines(axes: Any, theme: Theme, table: Table, index: int) -> None:
    """One horizontal bar for each method, the first on top."""
    rows = [row for row in table.rows if row.cells[index].value is not None]
    column = table.columns[index]
    cells = [row.cells[index] for row in rows]
    places = range(len(rows) - 1, -1, -1)
    colours = [_colour(row.method.kind) for row in rows]
    values = [cell.value or 0.0 for cell in cells]
    axes.barh(places, values, height=0.66, color=colours, xerr=_errors(cells), **_bars(theme))
    _paper(axes, theme, [cell.published for cell in cells], places, flipped=True)
    for place, cell, row in zip(places, cells, rows, strict=True):
        text = format_number(cell.value, column.digits, signed=column.signed)
        for other, c in zip(row.cells, table.columns, strict=True):
            if c.metric == REDUCTION and other.value:
                share = format_number(abs(other.value), c.digits, signed=c.signed)
                text += f"  ({share} % {'fewer' if other.value > 0 else 'more'})"
        axes.annotate(
            text,
            (_reach(cell), place),
            (5, 0),
            textcoords="offset points",
            va="center",
            bbox={
                "facecolor": theme.paper,
                "edgecolor": "none",
                "pad": 1,
            },  # hides the error bar behind the text
        )
    axes.set_yticks(places, [_short(row.label) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(table.exhibit.axis)
    longest = max(map(_reach, cells)) or 1.0
    axes.set_xlim(0, longest * 1.35)
    axes.set_xticks(
        [tick for tick in axes.get_xticks() if tick <= longest]
    )  # labels are to the right
    axes.grid(axis="x")
    _legend(axes)


def _bar_groups(axes: Any, theme: Theme, table: Table, columns: Sequence[int]) -> None:
    """A group of bars for each benchmark, one bar for each method."""
    width = 0.8 / len(table.rows)
    for number, row in enumerate(table.rows):
        offset = (number - (len(table.rows) - 1) / 2) * width
        cells = [row.cells[i] for i in columns]
        here = [i + offset for i, cell in enumerate(cells) if cell.value is not None]
        scored = [cell for cell in cells if cell.value is not None]
        if not scored:
            continue
        axes.bar(
            here,
            [cell.value for cell in scored],
            width=width * 0.92,
            color=PALETTE[number % len(PALETTE)],
            label=_short(row.label),
            yerr=_errors(scored),
            **_bars(theme),
        )
        label = None if "paper" in axes.get_legend_handles_labels()[1] else "paper"
        _paper(axes, theme, [cell.published for cell in scored], here, flipped=False, label=label)
        for place, cell in zip(here, scored, strict=True):
            axes.annotate(
                f"{cell.value:.1f}",
                (place, max(_reach(cell), cell.published or 0.0)),
                (0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
    axes.set_xticks(range(len(columns)), [_short(table.columns[i].title) for i in columns])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(table.exhibit.axis)
    axes.grid(axis="y")
    tallest = max(_reach(row.cells[i]) for row in table.rows for i in columns)
    axes.set_ylim(0, tallest * 1.12 or 100.0)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=5, fontsize=8)


def _bars(theme: Theme) -> dict[str, Any]:
    return {"error_kw": {"ecolor": theme.ink, "elinewidth": 1.0, "capsize": 2.5}}


def _colour(kind: Kind) -> str:
    return {Kind.OURS: PALETTE[0], Kind.BASELINE: PALETTE[4], Kind.REFERENCE: PALETTE[7]}[kind]


def _errors(cells: Sequence[Cell]) -> list[list[float]] | None:
    """The distances from each value to the ends of its interval; None without intervals."""
    pairs = [(c.value, c.estimate) for c in cells if c.value is not None and c.estimate is not None]
    if all(e.low is None for _, e in pairs):
        return None
    below = [max(0.0, value - (value if e.low is None else e.low)) for value, e in pairs]
    above = [max(0.0, (value if e.high is None else e.high) - value) for value, e in pairs]
    return [below, above]


def _reach(cell: Cell) -> float:
    """The largest value drawn for a cell: the bar, its interval or the paper's number."""
    number = cell.estimate
    ends = (cell.value, number.high if number else None, cell.published)
    return max((end for end in ends if end is not None), default=0.0)


def _paper(
    axes: Any,
    theme: Theme,
    values: Sequence[float | None],
    places: Sequence[float],
    *,
    flipped: bool,
    label: str | None = "paper",
) -> None:
    """Draw the paper's numbers as hollow diamonds."""
    points = [(v, place) for v, place in zip(values, places, strict=True) if v is not None]
    if points:
        first, second = zip(*points, strict=True)
        x, y = (first, second) if flipped else (second, first)
        axes.scatter(
            x,
            y,
            marker="D",
            s=26,
            facecolor=theme.paper,
            edgecolor=theme.ink,
            zorder=4,
            label=label,
        )


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _title(table: Table) -> str:
    where = f", {table.dataset.title}" if table.dataset else ""
    return f"{table.exhibit.title}\n{table.group}{where}"


def _short(text: str) -> str:
    """A label on one line, shortened to :data:`MAX_LABEL` characters."""
    text = plain(text)
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def _wrapped(text: str, width: int) -> str:
    """The text in lines of at most ``width`` characters, three for each line of the input."""
    lines = (textwrap.wrap(plain(line), width, max_lines=3) for line in text.split("\n"))
    return "\n".join(part for parts in lines for part in parts)


def draw_curves(curves: Sequence[Curve], path: Path) -> list[Path]:
    """Draw training curves, one panel for each metric.

    Each run is smoothed over a tenth of the steps. A line is the mean over seeds, with its
    :attr:`~agemem.eval.reporting.curves.Curve.band`.
    """
    window = max(1, max(len(curve.steps) for curve in curves) // 10)
    metrics = list(dict.fromkeys(curve.metric for curve in curves))
    rows, columns = -(-len(metrics) // CURVE_COLUMNS), min(len(metrics), CURVE_COLUMNS)

    def draw(panels: Any, theme: Theme) -> None:
        panels = np.ravel(panels)
        for axes, metric in zip(panels, metrics, strict=False):
            _curves(axes, [c.smoothed(window) for c in curves if c.metric == metric])
            axes.set_ylabel(_short(metric))
        panels[0].legend(fontsize=8)
        for axes in panels[len(metrics) :]:  # the last row may have fewer panels
            axes.remove()

    size = (7.0, 4.0) if len(metrics) == 1 else (4.0 * columns, 0.6 + 3.0 * rows)
    notes = []
    if any(curve.seeds > 1 for curve in curves):
        notes.append("mean over seeds with its 95% interval (Student's t)")
    if any(curve.extremes is not None for curve in curves):
        notes.append("band of a log: its lowest and highest seed")
    if window > 1:
        notes.append(f"each run averaged over {window} steps")
    heading = metrics if len(metrics) == 1 else []
    title = "\n".join(["Figures 5 and 10: training", *heading, ", ".join(notes)])
    return save(draw, title.rstrip(), size, path, (rows, columns))


def _curves(axes: Any, curves: Sequence[Curve]) -> None:
    for number, curve in enumerate(curves):
        colour = PALETTE[number % len(PALETTE)]
        label = f"{_short(curve.name)} ({curve.seeds} seed{'s' if curve.seeds > 1 else ''})"
        axes.plot(curve.steps, curve.mean, color=colour, linewidth=1.6, label=label)
        if curve.band is not None:
            axes.fill_between(curve.steps, *curve.band, color=colour, alpha=0.2, lw=0)
    axes.set_xlabel("training step")
    axes.grid()
