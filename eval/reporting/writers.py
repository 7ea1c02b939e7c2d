"""Sheets as CSV, Markdown and LaTeX. Names come from anyone: each format escapes them."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from agemem.eval.reporting.rendered import Record, RenderedCell, RenderedTable
from agemem.eval.reporting.tables import Mark

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]+")


def plain(text: str) -> str:
    """One line without control characters."""
    return _CONTROL.sub(" ", text).strip()


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula; numbers stay numbers."""
    if isinstance(value, float):
        return round(value, 10) + 0.0
    if isinstance(value, str):
        return "'" + plain(value) if value.startswith(_FORMULA) else plain(value)
    return value


def to_csv(records: Iterable[Record]) -> str:
    """Records as CSV with a header; an empty text if there are none."""
    rows = list(records)
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def markdown(text: str) -> str:
    """Text in which Markdown finds no markup, HTML included."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\\", "\\\\").replace("|", "\\|").translate(_MARKUP)


_MARKUP = str.maketrans({c: f"\\{c}" for c in "`*_[]~$#!"})


def to_markdown(sheet: RenderedTable, level: int = 3) -> str:
    """A sheet as a pipe table, best in bold and second best underlined."""
    lines = [f"{'#' * level} {markdown(sheet.title)}", ""]
    lines += [_pipes(map(markdown, sheet.header)), _pipes("---" for _ in sheet.header)]
    lines += [_pipes(map(_markdown_cell, row)) for row in sheet.rows]
    lines += ["", *(f"- {markdown(note)}" for note in sheet.notes)] if sheet.notes else []
    return "\n".join(lines) + "\n"


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: RenderedCell) -> str:
    value, _, rest = markdown(cell.text).partition(" ")
    styles = {Mark.BEST: f"**{value}**", Mark.SECOND: f"<u>{value}</u>"}
    return f"{styles.get(cell.mark, value)} {rest}".strip()


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "^": r"\textasciicircum{}",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "%": r"\%",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "[": "{[}",
        "]": "{]}",  # as is *: either has a meaning after a line's end
        "*": "{*}",
    }
)


def latex(text: str) -> str:
    """Text in which LaTeX finds no command."""
    return plain(text).translate(_LATEX)


_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""As wide as it is, if the page is."""
_NOTE = r"\footnotesize\raggedright"
_TITLE_WIDTH = 12
"""Characters of a column's title in one line, if its words allow it."""


def to_latex(sheet: RenderedTable) -> str:
    """A sheet as a ``table`` for the packages booktabs and graphicx, no wider than the page."""
    columns = "l" * _lead(sheet) + "r" * (len(sheet.header) - _lead(sheet))
    lines = [
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{latex(sheet.title)}}}",
        rf"{_FITTED}\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _ampersands(map(_latex_title, sheet.header)),
        r"\midrule",
        *(_ampersands(map(_latex_cell, row)) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\smallskip{{{_NOTE} {latex(note)}\par}}" for note in sheet.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _lead(sheet: RenderedTable) -> int:
    """How many columns hold names."""
    return 2 if len(sheet.header) > 1 and sheet.header[1] == "" else 1


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_title(text: str) -> str:
    lines = textwrap.wrap(plain(text), _TITLE_WIDTH, break_long_words=False)
    if len(lines) < 2:
        return latex(text)
    return r"\begin{tabular}[b]{@{}r@{}}" + r"\\".join(map(latex, lines)) + r"\end{tabular}"


def _latex_cell(cell: RenderedCell) -> str:
    value, _, rest = cell.text.partition(" ")
    styles = {Mark.BEST: r"\textbf{%s}", Mark.SECOND: r"\underline{%s}"}
    return f"{styles.get(cell.mark, '%s') % latex(value)} {latex(rest)}".strip()


def joined(sheets: Sequence[RenderedTable]) -> dict[str, str]:
    """The sheets of one item, by the ending of its files."""
    return {
        "csv": to_csv(record for sheet in sheets for record in sheet.records),
        "md": "\n".join(to_markdown(sheet) for sheet in sheets),
        "tex": "% needs \\usepackage{booktabs,graphicx}\n" + "\n".join(map(to_latex, sheets)),
    }
