"""A cache of LLM judges' replies on disk, so that each question is asked and paid for once.

All processes of a user share one SQLite file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agemem_envs.util.endpoint import ChatMessage, ChatReply
from agemem_envs.util.paths import cache_folder
from agemem_envs.util.sqlite import SharedDatabase

VERSION = 1
"""Part of every key. Raise it when the same reply comes to mean another score."""
_TABLE = (
    "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, judge TEXT NOT NULL, "
    "text TEXT NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER)"
)
_REMEDY = "Set AGEMEM_CACHE to another folder, or pass --no-judge-cache."


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
        self._shared = SharedDatabase(file or default_file(), _TABLE, _REMEDY)
        self.file = self._shared.file

    def get(self, key: str) -> ChatReply | None:
        """Return the reply that is stored under a key, or None."""
        with self._shared.reading() as database:
            return _find(database, key)

    def put(self, key: str, judge: str, reply: ChatReply) -> ChatReply:
        """Store a reply, and return the stored one: the first, if two processes store at once."""
        row = (key, judge, reply.text, reply.prompt_tokens, reply.completion_tokens)
        with self._shared.writing() as database:
            database.execute("INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)", row)
            return _find(database, key) or reply


def _find(database: sqlite3.Connection, key: str) -> ChatReply | None:
    query = "SELECT text, prompt_tokens, completion_tokens FROM replies WHERE key = ?"
    row = database.execute(query, (key,)).fetchone()
    if row is None:
        return None
    text, prompt_tokens, completion_tokens = row
    return ChatReply(text, prompt_tokens, completion_tokens, finish_reason=None)
