"""Builds a report from runs and training logs: the one call behind the programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agemem.eval.reporting.curves import DEFAULT_METRIC, read_curves
from agemem.eval.reporting.document import REPORT, make_sections, run_section, write_report
from agemem.eval.reporting.groups import make_groups
from agemem.eval.reporting.ladder import is_ladder, ladder_section
from agemem.eval.reporting.published import read_published
from agemem.eval.runs.reading import PlayedRun


def write(
    runs: Sequence[PlayedRun],
    out: Path,
    *,
    checkpoints: Mapping[str, str] | None = None,
    curves: Mapping[str, Sequence[Path]] | None = None,
    curve_metrics: Sequence[str] = (DEFAULT_METRIC,),
) -> Path:
    """Write the report on runs and training curves.

    Args:
        runs: The runs; none for a report on curves alone.
        out: A new or empty folder.
        checkpoints: The base model of each trained model, by the name that results record.
        curves: The training logs of each training, by its name.
        curve_metrics: The columns of the training logs to draw.

    Returns:
        The report's Markdown file.

    Raises:
        AgeMemError: A file cannot be read, or the report cannot be written. No file is written.
    """
    if is_ladder(runs):
        write_report([ladder_section(runs), run_section(runs)], out)
        return out / REPORT
    groups = make_groups(runs, checkpoints or {})
    drawn = read_curves(curves, curve_metrics) if curves else []
    sections = make_sections(groups, read_published(), drawn)
    if runs:
        sections.append(run_section(runs))
    else:
        sections = [section for section in sections if section.rendered]
    write_report(sections, out)
    return out / REPORT
