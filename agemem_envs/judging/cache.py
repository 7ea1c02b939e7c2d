"""A cache of LLM judges' replies on disk, so that each question is asked and paid for once.

All processes of a user share one SQLite file. Each look-up opens its own connection, so that
threads, forks and other processes can use the same cache.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from agemem_envs.errors import ConfigurationError
from agemem_envs.util.endpoint import ChatMessage, ChatReply
from agemem_envs.util.paths import cache_folder

VERSION = 1
"""Part of every key. Raise it when the same reply comes to mean another score."""
_WAIT_SECONDS = 60.0
"""Longest wait for another process that is writing."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, judge TEXT NOT NULL, "
    "text TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER)"
)


def default_file() -> Path:
    """``judgements.sqlite3`` in :func:`~agemem_envs.util.paths.cache_folder`."""
    return cache_folder() / "judgements.sqlite3"


def cache_key(judge: str, messages: Sequence[ChatMessage], parameters: Mapping[str, Any]) -> str:
    """A hash of all that a reply depends on: model and server, prompt, sampling."""
    parts = [VERSION, judge, [dict(message) for message in messages], dict(parameters)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class JudgeCache:
    """A cache of judges' replies.

    Args:
        file: The cache's file, by default :func:`default_file`. It is created with its folder.

    Raises:
        ConfigurationError: The file cannot be opened or created, or is not a cache.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or default_file()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as database, database:
                database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot use {self.file} as the cache of judges: {error}. Set AGEMEM_CACHE to "
                "another folder, or pass --no-judge-cache."
            ) from error

    def get(self, key: str) -> ChatReply | None:
        """Return the reply that is stored under a key, or None."""
        with closing(self._connect()) as database:
            return _find(database, key)

    def put(self, key: str, judge: str, reply: ChatReply) -> ChatReply:
        """Store a reply, and return the stored one: the first, if two processes store at once."""
        row = (key, judge, reply.text, reply.prompt_tokens, reply.completion_tokens)
        with closing(self._connect()) as database:
            with database:
                database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", row)
            return _find(database, key) or reply

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.file, timeout=_WAIT_SECONDS)


def _find(database: sqlite3.Connection, key: str) -> ChatReply | None:
    query = "SELECT text, prompt_tokens, completion_tokens FROM replies WHERE key = ?"
    row = database.execute(query, (key,)).fetchone()
    if row is None:
        return None
    text, prompt_tokens, completion_tokens = row
    return ChatReply(text, prompt_tokens, completion_tokens, finish_reason=None)
