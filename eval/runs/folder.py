"""A run's results on disk: one folder, ``config.json`` and ``episodes.jsonl``.

An episode is one line, appended and flushed to the disk: it is there whole or not at all.
A line torn by a crash is dropped when the run is resumed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

from agemem.eval.runs.config import RunConfig
from agemem_envs.episode import Episode, decode, encode, parse_json
from agemem_envs.errors import AgeMemError, ConfigurationError, DataFormatError

Key = tuple[str, int]
"""Identifies an episode within a run: the environment, and which of its episodes."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the settings of every episode must say, for its numbers to be compared with others.

    Attributes:
        stages: The protocol.
        tools: Of the policy.
        encoder: Of the memory.
        judge: Who scored.
        summarizer: Of Summary_context.
        token_counter: What counts the context.
        max_context_tokens: The context's budget.
        max_task_actions: In a world.
        list_actions: Whether observations end with the admissible actions.
    """

    stages: str
    tools: tuple[str, ...]
    encoder: str
    judge: str
    summarizer: str
    token_counter: str
    max_context_tokens: int
    max_task_actions: int | None
    list_actions: bool


_CONDITIONS = [f.name for f in fields(Conditions)]


@contextmanager
def consistent(episode: Episode) -> Iterator[None]:
    """For what is computed of a record.

    Raises:
        DataFormatError: The record contradicts itself.
    """
    try:
        yield
    except AgeMemError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataFormatError(
            f"{episode.env_id}, task {episode.task_id!r}: the record contradicts itself: "
            f"{error!r}. It was not written by this harness, or damaged since."
        ) from error


@dataclass(frozen=True, slots=True)
class Result:
    """One episode as evaluated.

    Attributes:
        agent: Name of the agent.
        backbone: Name of the model, or ``none``.
        engine: What ran it, or ``none``.
        constrained: Whether decoding was forced into the protocol.
        index: Which episode of its environment it is, from 0.
        seconds: Wall time from reset to reward, shared out over the episodes of a batch.
        episode: The whole record.
    """

    agent: str
    backbone: str
    engine: str
    constrained: bool
    index: int
    seconds: float
    episode: Episode

    @property
    def key(self) -> Key:
        """Identifies the episode within a run."""
        return self.episode.env_id, self.index

    @property
    def scored(self) -> bool:
        """Whether the episode says anything about the agent."""
        reason = self.episode.stop_reason
        return reason is not None and reason.scored

    def to_json(self) -> str:
        """One line of pure ASCII."""
        return json.dumps(encode(self), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Result:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: The line is not a result, or of an episode that has not ended.
        """
        result = decode(cls, parse_json(line))
        if result.episode.stop_reason is None:
            raise ValueError("the episode has not ended")
        settings = result.episode.settings
        decode(Conditions, {name: settings[name] for name in _CONDITIONS if name in settings})
        return result


class ResultsFolder:
    """The folder of one run.

    Args:
        path: It is created by :meth:`create`, not before: a run that cannot start leaves
            nothing behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.episodes_file = path / "episodes.jsonl"
        self._stream: TextIO | None = None
        self._lock: int | None = None

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config_file.exists() or self.episodes_file.exists()

    def refuse_existing(self) -> None:
        """Make sure that a new run may begin here.

        Raises:
            ConfigurationError: There is a run already, or the path is a file.
        """
        if self.exists:
            raise ConfigurationError(
                f"{self.path} already holds a run. Continue it with --resume, or choose another "
                "folder with --out."
            )
        if self.path.exists() and not self.path.is_dir():
            raise ConfigurationError(f"{self.path} is a file: --out names a folder")

    def create(self, config: dict[str, Any]) -> None:
        """Begin a run.

        Raises:
            ConfigurationError: There is one already.
        """
        self.refuse_existing()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be a results folder: {error}") from error
        self.lock()
        write_atomically(self.config_file, json.dumps(config, indent=2) + "\n")

    def lock(self) -> None:
        """Keep other processes from writing here, until :meth:`close` or the process's end.

        Raises:
            ConfigurationError: Another process is writing.
        """
        self._lock = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"another process is running in {self.path}: wait for it, or stop it first"
            ) from error

    def record(self) -> dict[str, Any]:
        """The content of ``config.json``: the configuration, and what is recorded beside it.

        Raises:
            DataFormatError: It cannot be read, or a part is of another type.
        """
        file = self.config_file
        try:
            data = parse_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataFormatError(f"{file} is not a run's configuration: {error}") from error
        if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
            raise DataFormatError(f"{file} is not a run's configuration: it has no object 'config'")
        for name in ("sources", "provenance", "rejudged"):
            if not isinstance(data.get(name) or {}, dict):
                raise DataFormatError(f"{file}: {name} is not an object")
        if not isinstance((data.get("provenance") or {}).get("libraries") or {}, dict):
            raise DataFormatError(f"{file}: the provenance's libraries are not an object")
        if "rejudged" in data and not isinstance(data["rejudged"].get("episodes_sha256"), str):
            raise DataFormatError(f"{file}: rejudged does not say of which episodes")
        return data

    def stored_sources(self) -> dict[str, str]:
        """The data source of each environment when the run was begun."""
        return dict(self.record().get("sources") or {})

    def update_config(self, config: RunConfig) -> None:
        """Record the configuration with which the run goes on; the rest stays as it was."""
        text = json.dumps(self.record() | {"config": config.to_dict()}, indent=2)
        write_atomically(self.config_file, text + "\n")

    def read(self) -> list[Result]:
        """All whole episodes, by key: the order in which they ended means nothing.

        Raises:
            DataFormatError: A line other than a torn last one is not an episode.
        """
        return self._parse()[0]

    def read_some(self) -> list[Result]:
        """All whole episodes, of which there must be one.

        Raises:
            ConfigurationError: There is none; what could be meant instead is told.
            DataFormatError: As :meth:`read`.
        """
        results = self.read()
        if results:
            return results
        members = sorted(file.parent.name for file in self.path.glob("*/episodes.jsonl"))
        if members:
            raise ConfigurationError(
                f"{self.path} holds several runs: name one of them, {', '.join(members)}"
            )
        raise ConfigurationError(f"{self.path} holds no finished episode yet")

    def _parse(self) -> tuple[list[Result], int]:
        """The episodes, and how many bytes of the file they take."""
        if not self.episodes_file.exists():
            return [], 0
        results, good = [], 0
        data = self.episodes_file.read_bytes()
        lines = data.splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break  # torn: the newline is written last
            try:
                results.append(Result.from_json(line.decode("ascii")))
            except ValueError as error:
                raise DataFormatError(
                    f"{self.episodes_file}, line {number} is not an episode: {error}"
                ) from error
            good += len(line)
        keys = [result.key for result in results]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise DataFormatError(f"{self.episodes_file} holds the episode {twice} twice")
        return sorted(results, key=lambda result: result.key), good

    def repair(self) -> list[Result]:
        """Drop a torn last line, and return all whole episodes."""
        results, good = self._parse()
        if self.episodes_file.exists() and self.episodes_file.stat().st_size > good:
            os.truncate(self.episodes_file, good)
        return results

    def rewrite(self, results: Iterable[Result]) -> None:
        """Replace all episodes, atomically."""
        text = "".join(result.to_json() + "\n" for result in results)
        write_atomically(self.episodes_file, text)

    def append(self, result: Result) -> None:
        """Add an episode and see it onto the disk."""
        if self._stream is None:
            self._stream = self.episodes_file.open("a", encoding="ascii", newline="\n")
        self._stream.write(result.to_json() + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file. Calling it again has no effect."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by this text, whole or not at all, and see it onto the disk."""
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
