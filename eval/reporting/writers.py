"""Rendered tables as CSV, Markdown and LaTeX. Names are untrusted, so each format escapes them."""

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
    """The text on one line, without control characters."""
    return _CONTROL.sub(" ", text).strip()


def csv_cell(value: Any) -> Any:
    """A value that no spreadsheet reads as a formula. Numbers stay numbers, with ten digits."""
    if isinstance(value, float):
        return round(value, 10) + 0.0
    if isinstance(value, str):
        return "'" + plain(value) if value.startswith(_FORMULA) else plain(value)
    return value


def to_csv(records: Iterable[Record]) -> str:
    """Records as CSV with a header; an empty text without records."""
    rows = list(records)
    if not rows:
        return ""
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def markdown(text: str) -> str:
    """Escape Markdown and HTML."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("\\", "\\\\").replace("|", "\\|").translate(_MARKUP)


_MARKUP = str.maketrans({c: f"\\{c}" for c in "`*_[]~$#!"})


def to_markdown(table: RenderedTable, level: int = 3) -> str:
    """A pipe table, the best cells in bold and the second best underlined."""
    lines = [f"{'#' * level} {markdown(table.title)}", ""]
    lines += [_pipes(map(markdown, table.header)), _pipes("---" for _ in table.header)]
    lines += [_pipes(map(_markdown_cell, row)) for row in table.rows]
    lines += ["", *(f"- {markdown(note)}" for note in table.notes)] if table.notes else []
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
        "]": "{]}",  # [ and * have a meaning after the end of a line
        "*": "{*}",
    }
)


def latex(text: str) -> str:
    """Escape LaTeX."""
    return plain(text).translate(_LATEX)


_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Shrinks a table that is wider than the page."""
_NOTE = r"\footnotesize\raggedright"
_TITLE_WIDTH = 12
"""The maximal width of a column title in characters. Longer titles wrap between words."""


def to_latex(table: RenderedTable) -> str:
    """A ``table`` environment no wider than the page. It needs booktabs and graphicx."""
    columns = "l" * _lead(table) + "r" * (len(table.header) - _lead(table))
    lines = [
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{latex(table.title)}}}",
        rf"{_FITTED}\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _ampersands(map(_latex_title, table.header)),
        r"\midrule",
        *(_ampersands(map(_latex_cell, row)) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\smallskip{{{_NOTE} {latex(note)}\par}}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _lead(table: RenderedTable) -> int:
    """The number of leading columns that hold names."""
    return 2 if len(table.header) > 1 and table.header[1] == "" else 1


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


def joined(tables: Sequence[RenderedTable]) -> dict[str, str]:
    """The tables of one section in each format, by file suffix."""
    return {
        "csv": to_csv(record for table in tables for record in table.records),
        "md": "\n".join(to_markdown(table) for table in tables),
        "tex": "% needs \\usepackage{booktabs,graphicx}\n" + "\n".join(map(to_latex, tables)),
    }
