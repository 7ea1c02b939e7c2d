"""Records as JSON, both ways: frozen dataclasses, decoded by type.

A record on disk is one line of pure ASCII, so that any Unicode (lone surrogates too) survives a
file. It begins with the number of its format: what is older is read, what is newer is refused by
one clear message.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

_LARGEST = 2**63 - 1
_HEAD = re.compile(rb'\{"format": ?(\d{1,9})[,}]')
"""The beginning of a record: its format comes first."""
Int = Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
"""A recorded integer: it fits into 64 bits."""
Number = Annotated[float, msgspec.Meta(ge=float(-_LARGEST), le=float(_LARGEST))]
"""A recorded number: finite, and small enough to be added up."""


class NewerFormatError(ValueError):
    """A record was written by a later version of this software."""


def to_plain(record: Any) -> Any:
    """Nested records as what ``json.dumps`` takes."""
    return msgspec.to_builtins(record)


def from_plain(kind: type[T], value: Any) -> T:
    """A record of type ``kind`` from what :func:`to_plain` made of it.

    Raises:
        ValueError: A field is missing or has another type; the message says where.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def to_line(record: Any, version: int) -> str:
    """A record as one line of JSON, without the newline.

    Args:
        record: A dataclass instance.
        version: The number of its format.
    """
    return json.dumps({"format": version, **to_plain(record)}, allow_nan=False)


def from_line(kind: type[T], line: str | bytes, version: int) -> tuple[T, int]:
    """The inverse of :func:`to_line`.

    Args:
        kind: The record's type.
        line: One line; unknown fields are ignored.
        version: The newest format that the caller understands.

    Returns:
        The record, and the number of its format; 0 if it does not begin with one.

    Raises:
        NewerFormatError: Its format is newer.
        ValueError: It is not JSON, a field is missing, has another type or is out of range.
    """
    data = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    head = _HEAD.match(data)
    written = int(head[1]) if head else 0
    refuse_newer(written, version)
    try:
        return _decoder(kind).decode(data), written
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    except msgspec.DecodeError:  # not JSON; or it holds a lone surrogate, which msgspec refuses
        return from_plain(kind, parse_json(data.decode("utf-8", "surrogatepass"))), written
    except RecursionError as error:
        raise ValueError("nested too deeply to be a record") from error


@contextmanager
def without_collection() -> Iterator[None]:
    """Suspend the cyclic garbage collector while many records are made.

    Records hold no cycles, and the collector would walk through all of them again and again.
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
    """Make sure that a format is not newer than the code.

    Raises:
        NewerFormatError: It is.
    """
    if written > version:
        raise NewerFormatError(
            f"its format is {written}, and this version of agemem reads formats up to {version}: "
            "install a newer version"
        )


def parse_json(text: str) -> Any:
    """The value of a JSON text; NaN and infinity are not JSON.

    Raises:
        ValueError: It is not JSON, or nested too deeply to be a record.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply to be a record") from error


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    if kind not in _DECODERS:
        _DECODERS[kind] = msgspec.json.Decoder(kind)
    return _DECODERS[kind]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
