"""The report folder: each section in every format, and ``report.md`` with all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agemem.eval.paper.exhibits import AVERAGE, EXHIBITS
from agemem.eval.reporting.comparisons import render_breakdowns, render_comparisons, render_episodes
from agemem.eval.reporting.curves import Curve, render_curves
from agemem.eval.reporting.figures import THEMES, draw_curves, draw_table
from agemem.eval.reporting.groups import ComparisonGroup
from agemem.eval.reporting.published import Published
from agemem.eval.reporting.rendered import (
    Record,
    RenderedCell,
    RenderedTable,
    render_gains,
    render_table,
)
from agemem.eval.reporting.tables import Gains, Table, gains, make_tables
from agemem.eval.reporting.writers import joined, markdown, to_markdown
from agemem.eval.runs.reading import PlayedRun
from agemem_envs.util.files import new_folder

REPORT = "report.md"


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the report.

    Attributes:
        key: The name of its files.
        title: The heading.
        rendered: The tables: one for each comparison group, or for each group and data set.
        drawn: The tables to draw as figures.
        curves: The training curves to draw as a figure.
        inline: Whether ``report.md`` contains the tables, or only a link to them.
        missing: The reason shown for a section without tables.
        pictures: Further figures: their names, and the functions that draw them.
    """

    key: str
    title: str
    rendered: tuple[RenderedTable, ...]
    drawn: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    inline: bool = True
    missing: str = "none of its methods was played"
    pictures: tuple[tuple[str, Callable[[Path], Sequence[Path]]], ...] = ()


def make_sections(
    groups: Sequence[ComparisonGroup], published: Published, curves: Sequence[Curve] = ()
) -> list[Section]:
    """All sections of the report except the list of runs.

    Args:
        groups: Our numbers.
        published: The paper's numbers, shown next to ours.
        curves: The training curves.
    """
    sections = []
    averages: dict[str, Gains] = {}
    for exhibit in EXHIBITS:
        numbers = published.get(exhibit.key, {})
        tables = [
            table
            for group in groups
            for table in make_tables(exhibit, group, numbers.get(group.backbone, {}))
        ]
        if not tables and exhibit.tables and not any(exhibit.is_for(g.table) for g in groups):
            continue
        rendered = tuple(map(render_table, tables))
        drawn = tuple(table for table in tables if exhibit.plotted and _has_values(table))
        sections.append(Section(exhibit.key, exhibit.title, rendered, drawn))
        if any(column.metric == AVERAGE for column in exhibit.columns):
            averages |= {table.group: gains(table) for table in tables}
        if exhibit.key == "table2" and averages:
            sections.append(Section("gains", "Gains of AgeMem", (render_gains(averages),)))
    sections.append(
        Section(
            "figure5",
            "Figures 5 and 10: training curves",
            rendered=(render_curves(curves),) if curves else (),
            curves=tuple(curves),
            missing="no training log was given (--curves)",
        )
    )
    played = [group for group in groups if group.results]
    for key, title, render, inline in (
        ("comparisons", "Paired tests between methods", render_comparisons, False),
        ("breakdowns", "Scores by type and difficulty of task", render_breakdowns, False),
        ("episodes", "Episodes", lambda group: [render_episodes(group)], True),
    ):
        rendered = tuple(table for group in played for table in render(group))
        if rendered:
            sections.append(Section(key, title, rendered, inline=inline))
    return sections


def _has_values(table: Table) -> bool:
    plotted = [i for i, c in enumerate(table.columns) if c.metric in table.exhibit.plotted]
    return any(row.cells[i].value is not None for row in table.rows for i in plotted)


def run_section(runs: Sequence[PlayedRun]) -> Section:
    """The list of runs behind the report, with their agents, backbones, data and code revisions."""
    records: list[Record] = [
        {
            "run": run.name,
            "agent": run.results[0].agent,
            "backbone": run.results[0].backbone,
            "episodes": len(run.results),
            "seed": run.config.seed,
            "data": ", ".join(sorted({str(result.episode.source) for result in run.results})),
            "started": run.record.started,
            "code": run.record.provenance.git_revision,
            "sha256": run.sha256,
        }
        for run in runs
    ]
    rows = tuple(
        tuple(
            RenderedCell(str(value)[:16]) if name == "sha256" else RenderedCell(str(value))
            for name, value in r.items()
        )
        for r in records
    )
    header = tuple(name.capitalize() for name in records[0])
    table = RenderedTable("Runs", header, rows, records=tuple(records))
    return Section("runs", "Runs", (table,))


INTRODUCTION = """\
# Report

Each number is a mean over scored episodes, followed by its 95% interval in brackets. Shares, which
are in [0, 1], have Wilson's interval; other quantities have Student's. The number of independent
trials is that of the tasks: repetitions of a task narrow an interval only as far as they differ. An
average is the mean of the paper's five benchmarks, and is missing if one of them is missing; its
interval follows from those of its parts, which are independent. Differences between methods, and
tokens saved, have paired bootstrap intervals over the tasks that both methods played. A method that
was trained with several seeds is drawn first by training seed, then by task; a row with one seed
says so, and its interval does not hold for other seeds. The best number of a column is **bold**,
the second best <u>underlined</u>; oracles and random actions do not compete. *missing* means that
nothing was played. *unscored* means that a server, a simulator or a judge failed: such episodes are
counted below, and never enter a mean as zero. Letters in parentheses, such as (a), mark numbers of
several runs, which are named below the table. Diamonds in figures and the lines *paper* are the
numbers that the paper printed for this backbone.

Paired tests are two-sided permutation tests of the mean difference on shared tasks. Holm's
correction is over one family for each panel: all pairs of methods, by all measures of the panel.
"""


def write_report(sections: Sequence[Section], out: Path) -> None:
    """Write all files of the report, or none if anything fails.

    Raises:
        ConfigurationError: The folder is not empty or cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    with new_folder(out) as folder:
        text = [INTRODUCTION]
        for section in sections:
            text += [f"## {markdown(section.title)}\n"]
            if not section.rendered:
                text += [f"missing: {section.missing}.\n"]
                continue
            for ending, content in joined(section.rendered).items():
                (folder / f"{section.key}.{ending}").write_text(content, encoding="utf-8")
            pictures = [_picture(name) for name in _draw(section, folder)]
            if section.inline:
                text += [to_markdown(table) for table in section.rendered] + pictures
            else:
                text += [f"{len(section.rendered)} tables: [{section.key}.md]({section.key}.md)\n"]
        (folder / REPORT).write_text("\n".join(text), encoding="utf-8")


def to_text(sections: Iterable[Section]) -> str:
    """The inline sections as one Markdown text, without figures."""
    return "\n".join(
        "\n".join([f"## {markdown(section.title)}\n", *map(to_markdown, section.rendered)])
        for section in sections
        if section.inline and section.rendered
    )


def _draw(section: Section, folder: Path) -> Iterator[str]:
    """Draw the figures of a section, and yield their names without theme and suffix."""
    for number, table in enumerate(section.drawn, 1):
        dataset = table.dataset.key if table.dataset else ""
        name = _slug([section.key, str(number), table.group, dataset])
        draw_table(table, folder / name)
        yield name
    for name, draw in section.pictures:
        draw(folder / name)
        yield name
    if section.curves:
        metrics = {curve.metric for curve in section.curves}
        name = _slug([section.key, *(metrics if len(metrics) == 1 else ())])
        draw_curves(section.curves, folder / name)
        yield name


def _slug(parts: Iterable[str]) -> str:
    """A file name of at most 80 plain characters. A number among the parts makes it unique."""
    return "-".join(
        filter(None, (re.sub(r"[^a-z0-9.]+", "-", p.lower()).strip("-.") for p in parts))
    )[:80]


def _picture(name: str) -> str:
    light, dark = (f"{name}-{theme.name}.png" for theme in THEMES)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{name}" width="720"></picture>\n'
    )
