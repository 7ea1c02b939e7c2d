"""The record of a run, ``config.json``: the one writer and reader that all programs share.

It states the kind of run, its configuration, its data sources and the software that made it.
Evaluation and training write the same record; only the class of their settings differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.settings import plain_settings, settings_from
from agemem_envs.training_record import MODEL, TrainedModel, Training
from agemem_envs.util.files import write_atomically
from agemem_envs.util.provenance import Provenance, provenance
from agemem_envs.util.records import Format, from_plain, parse_json, refuse_newer, to_plain
from agemem_envs.version import __version__

FORMAT = 2
"""The format of ``config.json``. 0 means that it was written before formats were numbered; 1 was
before protocols."""
FILE = "config.json"
Upgrade = Callable[[dict[str, Any], int], dict[str, Any]]
"""Converts a configuration of an older format, whose number it is given, to the current one."""


class RunKind(StrEnum):
    """The kind of a run."""

    EVALUATION = "evaluation"
    SUITE = "suite"
    TRAINING = "training"
    WARM_START = "warm start"


@dataclass(frozen=True, slots=True)
class Origin:
    """The original of a run that another judge scored again.

    Attributes:
        run: The name of its folder.
        episodes_sha256: SHA-256 of its ``episodes.jsonl``, as it was played.
    """

    run: str
    episodes_sha256: str


C = TypeVar("C")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(Generic[C]):
    """The description of a run, stored next to its results.

    Attributes:
        kind: The kind of run.
        config: Its settings.
        started: The start time, ISO 8601 in UTC; None if it was not recorded.
        sources: The data source of each environment, as text.
        provenance: The software that made it.
        rejudged: The run whose episodes were scored again, or None.
        model: The model that the run trained; None if it trained none, or has not ended.
        training: The training of the model that the run plays, or None if none is known.
    """

    kind: RunKind
    config: C
    started: str | None = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds")
    )
    sources: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=provenance)
    rejudged: Origin | None = None
    model: TrainedModel | None = None
    training: Training | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """The record as stored on disk, its configuration not yet decoded."""

    kind: RunKind = RunKind.EVALUATION
    config: dict[str, Any]
    started: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    rejudged: Origin | None = None
    model: TrainedModel | None = None
    training: Training | None = None
    format: Format = 0


def has_record(folder: Path) -> bool:
    """Whether this folder holds the record of a run."""
    return (folder / FILE).exists()


def is_foreign(folder: Path) -> bool:
    """Whether the file ``config.json`` in a folder is that of another program."""
    try:
        data = parse_json((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not isinstance(data, dict) or "config" not in data


def training_record(folder: Path) -> dict[str, Any] | None:
    """The record of the training in a folder, as plain data.

    Args:
        folder: The folder of a training or warm start, or that of its model.

    Returns:
        The content of its ``config.json``; None if the folder is not one of these.

    Raises:
        DataFormatError: The record has a newer format.
    """
    folder = folder.resolve()
    file = (folder.parent if folder.name == MODEL else folder) / FILE
    try:
        data = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(data, dict) or data.get("kind") not in (RunKind.TRAINING, RunKind.WARM_START):
        return None
    _stored(file, data)  # only for its errors
    return data


def refuse_existing(folder: Path) -> None:
    """Refuse to start a new run in a folder that already holds one.

    Raises:
        ConfigurationError: The folder already holds a run, or the path is a file.
    """
    if has_record(folder):
        raise ConfigurationError(
            f"{folder} already holds a run. Continue it with --resume, or choose another folder "
            "with --out."
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file; --out must name a folder")


def write_record(folder: Path, record: RunRecord[Any]) -> None:
    """Write a run's record into its folder, atomically."""
    write_atomically(folder / FILE, json.dumps(record_data(record), indent=2) + "\n")


def record_data(record: RunRecord[Any]) -> dict[str, Any]:
    """A run's record as the plain data that is written."""
    parts = {name: to_plain(getattr(record, name)) for name in _PARTS}
    return {"format": FORMAT, "config": plain_settings(record.config), **parts}


_PARTS = tuple(field.name for field in fields(RunRecord) if field.name != "config")


def read_record(
    folder: Path, cls: type[C], kinds: Mapping[RunKind, Upgrade | None]
) -> RunRecord[C]:
    """Read the record in a run's folder.

    Args:
        folder: The folder of the run.
        cls: The class of its settings.
        kinds: The kinds of run that the caller accepts, each with the function that upgrades a
            configuration of an older format, or None if it needs no upgrade.

    Raises:
        ConfigurationError: There is no record, or the run is of another kind.
        DataFormatError: The file is unreadable, damaged, of a newer format or not a record.
    """
    return read_record_file(folder / FILE, cls, kinds)


def read_record_file(
    file: Path, cls: type[C], kinds: Mapping[RunKind, Upgrade | None]
) -> RunRecord[C]:
    """Read a record from a file of any name; otherwise the same as :func:`read_record`."""
    stored = _read(file)
    if stored.kind not in kinds:
        wanted = " or ".join(repr(str(kind)) for kind in kinds)
        raise ConfigurationError(
            f"{file} records a run of kind {str(stored.kind)!r}, expected {wanted}"
        )
    upgrade = kinds[stored.kind] if stored.format < FORMAT else None
    try:
        values = upgrade(stored.config, stored.format) if upgrade else stored.config
        config = settings_from(cls, values)
    except (ConfigurationError, KeyError, TypeError, ValueError) as error:
        writer = stored.provenance.agemem_envs or __version__
        by = (
            ""
            if writer == __version__
            else f" (written by version {writer}, read by {__version__})"
        )
        raise DataFormatError(f"{file} is not a run's configuration{by}: {error}") from error
    return RunRecord(config=config, **{name: getattr(stored, name) for name in _PARTS})


def _read(file: Path) -> _Stored:
    try:
        data = parse_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(f"there is no run to read: {file} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataFormatError(f"{file} is not a run's configuration: {error}") from error
    return _stored(file, data)


def _stored(file: Path, data: Any) -> _Stored:
    try:
        if not isinstance(data, dict):
            raise ValueError(f"expected an object, got {_JSON.get(type(data), 'null')}")
        written = data.get("format", 0)
        if type(written) is int:
            refuse_newer(written, FORMAT)
        return from_plain(_Stored, _oldest(data) if "format" not in data else data)
    except ValueError as error:
        raise DataFormatError(f"{file} is not a run's configuration: {error}") from error


_JSON = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean"}
"""JSON's names of what is not an object."""


def _oldest(data: dict[str, Any]) -> dict[str, Any]:
    """A record of format 0, with its kind added. That of a training is its bare configuration."""
    if "config" not in data and "backbone" in data:
        return {"kind": RunKind.TRAINING, "config": data}
    config = data.get("config")
    suite = isinstance(config, dict) and config.get("suite")
    return {**data, "kind": RunKind.SUITE if suite else RunKind.EVALUATION}
