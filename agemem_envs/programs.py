"""How a command-line program ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from agemem_envs.errors import AgeMemError

EXIT_OK, EXIT_USAGE, EXIT_INTERRUPTED = 0, 2, 130


def exit_status(program: Callable[[], int]) -> int:
    """Run a program.

    Returns:
        Its own status; 2 after an error that the user can mend, which is one message on
        standard error; 130 if it was interrupted.
    """
    try:
        return program()
    except AgeMemError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
