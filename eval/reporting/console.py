"""The console of the programs: what records and models say cannot control the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.segment import Segment

from agemem_envs.util.sanitize import printable


class SafeConsole(Console):
    """A console that shows control characters instead of sending them.

    Colours and other controls of its own are not text, and are sent as ever.
    """

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        shown = (
            part if part.control else Segment(printable(part.text), part.style) for part in buffer
        )
        return super()._render_buffer(shown)
