"""What an attack tried, and what got through."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal may obey, but for tabs and newlines."""
LONGEST = 60
"""Seconds that one input may take."""


@dataclass
class Tally:
    """The inputs of one attack, and its escapes.

    Attributes:
        name: What was attacked.
        tried: The number of inputs.
        escapes: One line for each input that did what none may do.
    """

    name: str
    tried: int = 0
    escapes: list[str] = field(default_factory=list)

    def escape(self, number: int, what: str) -> None:
        """Note what an input did."""
        self.escapes.append(f"{self.name} {number}: {what}")


class TooLongError(Exception):
    """An input took more than :data:`LONGEST` seconds."""


@contextlib.contextmanager
def bounded(seconds: int = LONGEST) -> Iterator[None]:
    """Raise :class:`TooLongError` in the block if it takes too long; of the main thread alone."""

    def ring(*_: Any) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def program(call: Callable[[], int], allowed: tuple[int, ...] = (0, 1, 2, 3)) -> str | None:
    """What a program does that none may do; None if all is well.

    It may end with a status that it documents, and with nothing on the terminal that is not text.
    """
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), bounded():
            status = call()
    except TooLongError:
        return f"more than {LONGEST} seconds"
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # whatever it is, a user would see it
        place = traceback.extract_tb(sys.exc_info()[2])[-1]
        return f"{type(error).__name__}: {error!s:.200} ({place.filename}:{place.lineno})"
    said = out.getvalue() + err.getvalue()
    if status not in allowed:
        return f"status {status}"
    if "Traceback" in said:
        return f"a traceback: {said[-300:]!r}"
    if (found := CONTROL.search(said)) is not None:
        return f"a control character: {said[max(0, found.start() - 60) : found.end() + 20]!r}"
    if status == 2 and err.getvalue().count("\n") > 3:
        return f"an error of several lines: {err.getvalue()[:300]!r}"
    return None
