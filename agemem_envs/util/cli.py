"""Messages, option types and exit statuses of the command-line programs."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from agemem_envs.errors import AgeMemError, ConfigurationError
from agemem_envs.util.sanitize import printable, without_logins

EXIT_OK, EXIT_USAGE, EXIT_INTERRUPTED = 0, 2, 130
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def exit_status(program: Callable[[], int]) -> int:
    """Run a program, with each distinct warning shown as one line on standard error.

    Returns:
        The program's own status; 130 after an interrupt; 2 after an error that the user can
        correct (an :class:`AgeMemError`, or a file that cannot be read or written), which is shown
        as one message on standard error.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_once()
            return program()
    except (AgeMemError, OSError) as error:
        sys.stderr.write(f"error: {_shown(error)}\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return EXIT_INTERRUPTED


def _shown(message: object) -> str:
    """A message that may quote anything, without logins and control characters."""
    return printable(without_logins(str(message)))


def folder(text: str) -> Path:
    """``argparse`` type of a directory option; rejects the empty string (an unset variable)."""
    if not text:
        raise argparse.ArgumentTypeError("expected a directory, got an empty string")
    return Path(text)


def name_value(text: str, option: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Split the ``NAME=VALUE`` argument of an option.

    Args:
        text: The argument.
        option: The flag, for the error message.
        form: The expected form of the argument, for the error message.

    Raises:
        ConfigurationError: The name, the value or the equals sign is missing.
    """
    name, _, value = text.partition("=")
    if not (name and value):
        raise ConfigurationError(f"{option} takes {form}, got {text!r}")
    return name, value


def _show_once() -> Callable[..., None]:
    """A replacement for :func:`warnings.showwarning` that shows each text once."""
    texts: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = _ANSI.sub("", str(message)).removeprefix("WARN: ")  # Gymnasium colours its warnings
        text = _shown(text)
        if text not in texts:
            texts.add(text)
            (file or sys.stderr).write(f"warning: {text}\n")

    return show
