"""The report as a folder: each item in every format, and ``report.md`` that shows all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agemem.eval.paper.exhibits import EXHIBITS
from agemem.eval.reporting.comparisons import breakdown_sheets, comparison_sheets, episode_sheet
from agemem.eval.reporting.curves import Curve, curve_sheet
from agemem.eval.reporting.figures import THEMES, draw_curves, draw_table
from agemem.eval.reporting.groups import ComparisonGroup
from agemem.eval.reporting.published import Published
from agemem.eval.reporting.rendered import (
    Record,
    RenderedCell,
    RenderedTable,
    gains_sheet,
    sheet_of,
)
from agemem.eval.reporting.tables import Table, gains, make_tables
from agemem.eval.reporting.writers import joined, markdown, to_markdown
from agemem.eval.runs.reading import PlayedRun
from agemem_envs.errors import ConfigurationError

REPORT = "report.md"


@dataclass(frozen=True, slots=True)
class Section:
    """One item of the report.

    Attributes:
        key: Of its files.
        title: Its heading.
        sheets: One for each panel, and for each data set where it is about one.
        tables: What is drawn, beside its sheets.
        curves: Likewise.
        shown: Whether ``report.md`` shows it; else it names the files.
        missing: Why it has no sheet, if it has none.
    """

    key: str
    title: str
    sheets: tuple[RenderedTable, ...]
    tables: tuple[Table, ...] = ()
    curves: tuple[Curve, ...] = ()
    shown: bool = True
    missing: str = "none of its methods was played"


def make_sections(
    panels: Sequence[ComparisonGroup], published: Published, curves: Sequence[Curve] = ()
) -> list[Section]:
    """Everything that can be said of the panels, the paper's numbers beside ours."""
    sections = []
    for item in EXHIBITS:
        tables = [
            table
            for panel in panels
            for table in make_tables(item, panel, published[item.key].get(panel.backbone, {}))
        ]
        sheets = tuple(map(sheet_of, tables))
        drawn = tuple(table for table in tables if item.plotted and _has_values(table))
        sections.append(Section(item.key, item.title, sheets, drawn))
        if item.key == "table2" and tables:
            found = gains_sheet({table.panel: gains(table) for table in tables})
            sections.append(Section("gains", "Gains of AgeMem", (found,)))
    sections.append(
        Section(
            "figure5",
            "Figures 5 and 10: training curves",
            sheets=(curve_sheet(curves),) if curves else (),
            curves=tuple(curves),
            missing="no training log was named (eval/report.py --curves)",
        )
    )
    played = [panel for panel in panels if panel.results]
    for key, title, make, shown in (
        ("comparisons", "Paired tests between methods", comparison_sheets, False),
        ("breakdowns", "Scores by type and difficulty of task", breakdown_sheets, False),
        ("episodes", "Episodes", lambda panel: [episode_sheet(panel)], True),
    ):
        sheets = tuple(sheet for panel in played for sheet in make(panel))
        if sheets:
            sections.append(Section(key, title, sheets, shown=shown))
    return sections


def _has_values(table: Table) -> bool:
    plotted = [i for i, q in enumerate(table.columns) if q.metric in table.item.plotted]
    return any(row.cells[i].value is not None for row in table.rows for i in plotted)


def run_section(runs: Sequence[PlayedRun]) -> Section:
    """Which runs the report is made of, and what played them."""
    records: list[Record] = [
        {
            "run": run.name,
            "agent": run.results[0].agent,
            "backbone": run.results[0].backbone,
            "episodes": len(run.results),
            "seed": run.config.seed,
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
    sheet = RenderedTable("Runs", header, rows, records=tuple(records))
    return Section("runs", "Runs", (sheet,))


INTRODUCTION = """\
# Report

Each number is a mean over scored episodes; in brackets its 95% bootstrap interval, for which tasks
are drawn, not episodes, so that a task that was played several times counts as one. An average is
the mean of the paper's five benchmarks and is missing without one of them; its interval draws from
each of them by itself. Where all episodes have the same score the bootstrap sees no spread, and the
interval is a point: of few episodes that says little. The best number of a column is **bold**, the
second <u>underlined</u>; oracles and random play do not compete. *missing* was not played;
*unscored* was, and a server, a simulator or a judge failed: such episodes are counted below, never
as zero. Diamonds in figures and the lines *paper* are what the paper printed for this backbone.

Paired tests are permutation tests of the mean difference on shared tasks, two-sided, with Holm's
correction over all pairs of a benchmark.
"""


def write_report(sections: Sequence[Section], out: Path) -> None:
    """Write all files, or none.

    Raises:
        ConfigurationError: The folder is not empty, or cannot be written.
        MissingDependencyError: matplotlib is not installed.
    """
    with _new_folder(out) as folder:
        text = [INTRODUCTION]
        for section in sections:
            text += [f"## {markdown(section.title)}\n"]
            if not section.sheets:
                text += [f"missing: {section.missing}.\n"]
                continue
            for ending, content in joined(section.sheets).items():
                (folder / f"{section.key}.{ending}").write_text(content, encoding="utf-8")
            pictures = [_picture(name) for name in _draw(section, folder)]
            if section.shown:
                text += [to_markdown(sheet) for sheet in section.sheets] + pictures
            else:
                text += [f"{len(section.sheets)} tables: [{section.key}.md]({section.key}.md)\n"]
        (folder / REPORT).write_text("\n".join(text), encoding="utf-8")


def to_text(sections: Iterable[Section]) -> str:
    """The shown sections as one Markdown text, without figures."""
    return "\n".join(
        "\n".join([f"## {markdown(section.title)}\n", *map(to_markdown, section.sheets)])
        for section in sections
        if section.shown and section.sheets
    )


def _draw(section: Section, folder: Path) -> Iterator[str]:
    """Draw a section's figures; their names without theme and ending."""
    for number, table in enumerate(section.tables, 1):
        parts = [section.key, str(number), table.panel, table.dataset.key if table.dataset else ""]
        name = _slug(parts)
        draw_table(table, folder / name)
        yield name
    if section.curves:
        metrics = {curve.metric for curve in section.curves}
        name = _slug([section.key, *(metrics if len(metrics) == 1 else ())])
        draw_curves(section.curves, folder / name)
        yield name


def _slug(parts: Iterable[str]) -> str:
    """A short file name of plain letters; a number in it keeps names apart."""
    return "-".join(
        filter(None, (re.sub(r"[^a-z0-9.]+", "-", p.lower()).strip("-.") for p in parts))
    )[:80]


def _picture(name: str) -> str:
    light, dark = (f"{name}-{theme.name}.png" for theme in THEMES)
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{name}" width="720"></picture>\n'
    )


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which is put in its place when it is complete."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigurationError(f"{out} is not an empty folder: choose another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error}") from error
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
