"""What records say cannot control the terminal."""

from __future__ import annotations

import io
from typing import Any

from rich.table import Table

from agemem.eval.reporting.console import SafeConsole

HOSTILE = "\x1b]0;title\x07\x1b[2Jname\r\x9b1m\u202e"
SHOWN = r"\x1b]0;title\x1b[2Jname\x9b1m\u202e"
"""Rich drops some controls, such as the bell."""


def printed(*, terminal: bool) -> str:
    file = io.StringIO()
    color: Any = "standard" if terminal else None
    console = SafeConsole(file=file, force_terminal=terminal, width=120, color_system=color)
    table = Table("method", title=HOSTILE)
    table.add_row(f"[red]{HOSTILE.replace('[', chr(92) + '[')}[/red]")
    console.print(table)
    console.print(HOSTILE, markup=False, highlight=False)
    return file.getvalue()


def test_controls_are_shown_in_a_file() -> None:
    text = printed(terminal=False)
    assert SHOWN in text
    assert not any(mark in text for mark in ("\x1b", "\x07", "\r", "\x9b", "\u202e"))


def test_its_own_colours_are_kept_on_a_terminal() -> None:
    text = printed(terminal=True)
    assert "\x1b[31m" in text
    assert not any(mark in text for mark in ("\x1b]0", "\x1b[2J", "\x07", "\r", "\x9b", "\u202e"))
