"""SQLite files that processes and threads share."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agemem_envs.errors import ConfigurationError

WAIT_SECONDS = 60.0
"""Longest wait for another process that is writing."""


class SharedDatabase:
    """A file with one connection for each process and thread, which stay open.

    It has a write-ahead log: readers do not wait for a writer, and a process that is killed while
    it writes leaves the file as it was before.

    Args:
        file: The file. It is created with its folder.
        tables: The statements that create its tables, if they do not exist.
        remedy: What to do if it cannot be used, as the end of the error's message.

    Raises:
        ConfigurationError: The file cannot be opened or created, or is not a database.
    """

    def __init__(self, file: Path, tables: str, remedy: str) -> None:
        self.file = file
        self._remedy = remedy
        self._local = threading.local()
        with self._explained():
            file.parent.mkdir(parents=True, exist_ok=True)
            _set_up(self._connection(), tables)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process and thread.

        Raises:
            ConfigurationError: The file cannot be read.
        """
        with self._explained():
            yield self._connection()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The same in a transaction, which no other process writes beside.

        Raises:
            ConfigurationError: The file cannot be written.
        """
        with self._explained():
            database = self._connection()
            database.execute("BEGIN IMMEDIATE")
            with database:
                yield database

    def _connection(self) -> sqlite3.Connection:
        local = self._local
        if getattr(local, "process", None) != os.getpid():
            # A connection must not be used, nor closed, by the child of a fork.
            local.inherited = getattr(local, "connection", None)
            local.connection = _Connection(_open(self.file))
            local.process = os.getpid()
            # Safe against kill -9. After a power failure the last transactions may be missing.
            local.connection.database.execute("PRAGMA synchronous = NORMAL")
        connection: _Connection = local.connection
        return connection.database

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(f"cannot use {self.file}: {error}. {self._remedy}") from error


def _set_up(database: sqlite3.Connection, tables: str) -> None:
    """Make the log and the tables. SQLite does not itself wait for another that makes a log."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(tables)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        file, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
    )


class _Connection:
    """A connection that is closed with the thread that it belongs to."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self._process = os.getpid()

    def __del__(self) -> None:
        if self._process == os.getpid():
            self.database.close()
