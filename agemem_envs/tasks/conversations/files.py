"""Files of conversations: read once per process, as JSON arrays or objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from agemem_envs.data import read_text, reading
from agemem_envs.errors import DataFormatError
from agemem_envs.util.records import parse_json

Stamp: TypeAlias = tuple[str, int]
"""A file as a key of a cache: its path, and the time at which it was written."""


def stamped(file: Path) -> Stamp:
    """The key of a file, which changes with its content."""
    return str(file.resolve()), file.stat().st_mtime_ns


def json_of(file: Path) -> Any:
    """The JSON of a file.

    Raises:
        DataNotFoundError: It cannot be read.
        DataFormatError: It is not JSON.
    """
    with reading(f"{file} is not JSON"):
        return parse_json(read_text(file))


def rows_of(file: Path, what: str) -> Iterator[tuple[str, Any]]:
    """The rows of a JSON array, each with its place for error messages.

    Args:
        file: The file.
        what: What a row is.

    Raises:
        DataNotFoundError: It cannot be read.
        DataFormatError: It is not a JSON array with at least one row.
    """
    rows = json_of(file)
    if not isinstance(rows, list) or not rows:
        raise DataFormatError(f"{file} is not a JSON array: of each {what} one row")
    for number, row in enumerate(rows):
        yield f"{file}, {what} {number}", row
