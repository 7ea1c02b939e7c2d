"""What LLM judges have said, on disk: the same question is asked, and paid for, once.

One SQLite file for all processes of a user. A connection lives for one look-up, so that
threads, forks and other processes may use the same cache.
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
"""Part of every key. To be raised when the same reply is to mean another score."""
_WAIT_SECONDS = 60.0
"""For another process that is writing."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, judge TEXT NOT NULL, "
    "text TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER)"
)


def default_file() -> Path:
    """``judgements.sqlite3`` in :func:`~agemem_envs.util.paths.cache_folder`."""
    return cache_folder() / "judgements.sqlite3"


def cache_key(judge: str, messages: Sequence[ChatMessage], parameters: Mapping[str, Any]) -> str:
    """What a reply depends on: the model and its server, every word of the prompt, the sampling."""
    asked = [VERSION, judge, [dict(message) for message in messages], dict(parameters)]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class JudgeCache:
    """The cache.

    Args:
        file: By default :func:`default_file`. It is created, with its folder.

    Raises:
        ConfigurationError: The file cannot be had, or is something else.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or default_file()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as database, database:
                database.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"{self.file} cannot be the cache of judgements: {error}. Set AGEMEM_CACHE to "
                "another folder, or pass --no-judge-cache."
            ) from error

    def get(self, key: str) -> ChatReply | None:
        """The reply that was kept under a key, if there is one."""
        with closing(self._connect()) as database:
            return _find(database, key)

    def put(self, key: str, judge: str, reply: ChatReply) -> ChatReply:
        """Keep a reply, and return the one that counts: the first, if two came at once."""
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
