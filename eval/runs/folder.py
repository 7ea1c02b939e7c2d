"""The folder of a run: ``config.json`` and ``episodes.jsonl``.

An episode is one line, appended and flushed to the disk. A last line that a crash left incomplete
is dropped when the run is resumed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from agemem.eval.runs.config import KINDS, RunConfig
from agemem.eval.runs.result import Result
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.run_record import (
    FILE,
    RunRecord,
    has_record,
    read_record,
    refuse_existing,
    write_record,
)
from agemem_envs.util.files import write_atomically
from agemem_envs.util.records import without_collection

_BUFFER = 1 << 20
"""Bytes that are read at a time; a line has some hundred thousand."""


class ResultsFolder:
    """The folder of one run.

    Args:
        path: The folder. :meth:`create` creates it, not the constructor, so that a run that
            cannot start leaves nothing behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / FILE
        self.episodes_file = path / "episodes.jsonl"
        self._stream: TextIO | None = None
        self._lock: int | None = None

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return has_record(self.path) or self.episodes_file.exists()

    def refuse_existing(self) -> None:
        """Refuse to start a new run here if there is one already.

        Raises:
            ConfigurationError: The folder already holds a run, or the path is a file.
        """
        refuse_existing(self.path)
        if self.exists:  # its record is lost
            raise ConfigurationError(
                f"{self.path} already holds the episodes of a run: choose another folder with --out"
            )

    def create(self, record: RunRecord[RunConfig]) -> None:
        """Create the folder, lock it and write the record of a new run.

        Raises:
            ConfigurationError: The folder already holds a run, or cannot be created or locked.
        """
        self.refuse_existing()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot create the results folder {self.path}: {error}"
            ) from error
        self.lock()
        write_record(self.path, record)

    def lock(self) -> None:
        """Prevent other processes from writing here, until :meth:`close` or the end of the process.

        Raises:
            ConfigurationError: Another process holds the lock.
        """
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another process is writing to {self.path}: wait until it ends, or stop it first"
            ) from error

    def record(self) -> RunRecord[RunConfig]:
        """The content of ``config.json``.

        Raises:
            ConfigurationError: There is no record, or the run is of another kind.
            DataFormatError: The file is damaged or of a newer format.
        """
        return read_record(self.path, RunConfig, KINDS)

    def reconfigure(self, config: RunConfig) -> None:
        """Replace the recorded configuration; the rest of the record stays the same."""
        write_record(self.path, replace(self.record(), config=config))

    def read(self) -> list[Result]:
        """All complete episodes, sorted by key, since the order in which they ended is arbitrary.

        Raises:
            DataFormatError: A line is not an episode, other than an incomplete last line.
        """
        return self._parse(lambda line: None)[0]

    def read_some(self) -> tuple[list[Result], str]:
        """All complete episodes, at least one, and the SHA-256 of their file.

        Raises:
            ConfigurationError: There is no episode; the message lists runs in subfolders, if any.
            DataFormatError: A line is not an episode, other than an incomplete last line.
        """
        digest = hashlib.sha256()
        results, _ = self._parse(digest.update)
        if results:
            return results, digest.hexdigest()
        members = sorted(file.parent.name for file in self.path.glob("*/episodes.jsonl"))
        if members:
            raise ConfigurationError(
                f"{self.path} holds several runs: name one of them, {', '.join(members)}"
            )
        raise ConfigurationError(f"{self.path} holds no finished episode yet")

    def _parse(self, on_line: Callable[[bytes], None]) -> tuple[list[Result], int]:
        """The complete episodes, sorted by key, and the number of bytes that they occupy.

        Args:
            on_line: Called with each line of the file, even an incomplete last one.
        """
        results: list[Result] = []
        good = 0
        if not self.episodes_file.exists():
            return results, good
        with self.episodes_file.open("rb", buffering=_BUFFER) as file, without_collection():
            for number, line in enumerate(file, start=1):
                on_line(line)
                if not line.endswith(b"\n"):
                    break  # incomplete: the newline is written last
                try:
                    results.append(Result.from_json(line))
                except ValueError as error:
                    raise DataFormatError(
                        f"{self.episodes_file}, line {number} is not an episode: {error}"
                    ) from error
                good += len(line)
        keys = Counter(result.key for result in results)
        if len(keys) < len(results):
            key = next(key for key, count in keys.items() if count > 1)
            raise DataFormatError(f"{self.episodes_file} holds episode {key} twice")
        return sorted(results, key=lambda result: result.key), good

    def repair(self) -> list[Result]:
        """Remove an incomplete last line, and return all complete episodes."""
        results, good = self._parse(lambda line: None)
        if self.episodes_file.exists() and self.episodes_file.stat().st_size > good:
            os.truncate(self.episodes_file, good)
        return results

    def rewrite(self, results: Iterable[Result]) -> None:
        """Replace all episodes, atomically."""
        text = "".join(result.to_json() + "\n" for result in results)
        write_atomically(self.episodes_file, text)

    def append(self, result: Result) -> None:
        """Append an episode, and flush it to the disk."""
        if self._stream is None:
            self._stream = self.episodes_file.open("a", encoding="ascii", newline="\n")
        self._stream.write(result.to_json() + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file and release the lock. Calling it again has no effect."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
