"""Conversion of records (frozen dataclasses) to JSON and back, decoded by type.

A record on disk is one line of pure ASCII, so that any Unicode, including lone surrogates, survives
a round trip. It begins with the number of its format: older formats are read, newer ones are
refused with a message that says so.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

_LARGEST = 2**63 - 1
Int = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
"""A recorded integer that fits into 64 bits."""
Format = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]
"""The number of a format."""
Number = Annotated[float, msgspec.Meta(ge=float(-_LARGEST), le=float(_LARGEST))]
"""A recorded number: finite, and small enough that sums stay finite."""


class NewerFormatError(ValueError):
    """A record was written by a later version of this software."""


def to_plain(record: Any) -> Any:
    """Convert nested records to plain data for ``json.dumps``."""
    return msgspec.to_builtins(record)


def from_plain(kind: type[T], value: Any) -> T:
    """Convert the plain data of :func:`to_plain` back to a record of type ``kind``.

    Raises:
        ValueError: A field is missing or has the wrong type; the message says where.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def to_line(record: Any, version: int) -> str:
    """Encode a record as one line of JSON, without the newline.

    Args:
        record: A dataclass instance.
        version: The number of its format.
    """
    return json.dumps({"format": version, **to_plain(record)}, allow_nan=False)


def from_line(kind: type[T], line: str | bytes, version: int) -> tuple[T, int]:
    """Decode a line of JSON: the inverse of :func:`to_line`.

    Args:
        kind: The type of the record.
        line: One line; unknown fields are ignored.
        version: The newest format that the caller understands.

    Returns:
        The record, and the number of its format; 0 if the line states no format.

    Raises:
        NewerFormatError: The format is newer than ``version``.
        ValueError: The line is not JSON, or a field is missing, has the wrong type or is out of
            range.
    """
    data = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    written = version
    try:
        if not data.startswith(b'{"format": %d, ' % version):
            written = _decoder(_Head).decode(data).format
            refuse_newer(written, version)
        return _decoder(kind).decode(data), written
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except msgspec.DecodeError:  # not JSON; or it holds a lone surrogate, which msgspec refuses
        plain = parse_json(data.decode("utf-8", "surrogatepass"))
        written = from_plain(_Head, plain).format
        refuse_newer(written, version)
        return from_plain(kind, plain), written
    except RecursionError as error:
        raise ValueError("nested too deeply to be a record") from error


@contextmanager
def without_collection() -> Iterator[None]:
    """Suspend the cyclic garbage collector while many records are created.

    Records contain no cycles, and the collector would traverse all of them repeatedly.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            # Together these two put all objects into the oldest generation, unvisited: the
            # next collection of the youngest would walk through every record.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


def refuse_newer(written: int, version: int) -> None:
    """Refuse a format that is newer than the code.

    Raises:
        NewerFormatError: ``written`` is greater than ``version``.
    """
    if written > version:
        raise NewerFormatError(
            f"its format is {written}, and this version of agemem reads formats up to {version}: "
            "install a newer version"
        )


def parse_json(text: str) -> Any:
    """Parse a JSON text; NaN and infinity are refused, since they are not JSON.

    Raises:
        ValueError: The text is not JSON, or is nested too deeply to be a record.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply to be a record") from error


class _Head(msgspec.Struct):
    """The part of a record that is read first."""

    format: Format = 0


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    if kind not in _DECODERS:
        _DECODERS[kind] = msgspec.json.Decoder(kind)
    return _DECODERS[kind]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
