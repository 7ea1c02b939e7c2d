"""AgeMem-LongMemEval: a question about many chats with an assistant, from the real data set."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from agemem_envs.data import ENVIRONMENT_VARIABLE, content_hash, reading
from agemem_envs.episode import UNKNOWN, DataSource
from agemem_envs.errors import DataFormatError, DataNotFoundError
from agemem_envs.judging.answers import words
from agemem_envs.tasks.conversations.files import Stamp, rows_of, stamped
from agemem_envs.tasks.conversations.record import Conversation, Query, Session, Turn
from agemem_envs.tasks.conversations.task import ConversationTask
from agemem_envs.util.records import from_plain

FILES = {"s": "longmemeval_s*.json", "oracle": "longmemeval_oracle*.json"}
"""The files of each split, as they are published."""
ABSTENTION = "_abs"
"""The end of the id of a question that cannot be answered."""


class LongMemEvalTask(ConversationTask):
    """LongMemEval: a question about a user's chats with an assistant (Wu et al. 2025).

    - Task, stages, actions, progress, success: as
      :class:`~agemem_envs.tasks.conversations.task.ConversationTask`. A task has one question, and
      its own chats. The question states its date.
    - Types of questions: single-session-user, single-session-assistant, single-session-preference,
      multi-session, temporal-reasoning and knowledge-update. The right answer to one whose id ends
      with ``_abs`` is to abstain.
    - Splits: ``s``, about 40 sessions or 115,000 tokens a question, and ``oracle``, the sessions of
      the evidence alone; 500 questions each. Task ids: the data's ``question_id``.
    - Data source: ``data`` argument, see :mod:`agemem_envs.data`. MIT.
    - Departures: the paper's score is that of GPT-4o as judge. Here it is LoCoMo's F1, and
      the judge of the run. Sessions are told in the order of their dates, also those of ``oracle``.

    Args:
        split: ``s`` or ``oracle``.
        data: ``auto``, ``embedded``, or a path to a published file or to its folder.

    Raises:
        UnknownNameError: The split is unknown.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data does not follow LongMemEval's schema.
    """

    name = "longmemeval"
    title = "LongMemEval"
    splits = tuple(FILES)
    remedy = (
        f"Set ${ENVIRONMENT_VARIABLE} to a folder with longmemeval/longmemeval_s.json and "
        "longmemeval/longmemeval_oracle.json (xiaowu0162/longmemeval on the Hugging Face hub), or "
        "pass data=<file or folder>."
    )
    types: ClassVar[Mapping[str, str]] = {
        "single": "single-session-user",
        "update": "knowledge-update",
        "time": "temporal-reasoning",
        "list": "multi-session",
        "unknown": "single-session-user",
    }

    def __init__(self, split: str = "s", data: str | os.PathLike[str] = "auto") -> None:
        super().__init__(split, data)

    def read(self, path: Path, split: str) -> tuple[Mapping[str, Conversation], DataSource]:
        """Read the file of the split."""
        files = sorted(path.glob(FILES[split])) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            wanted = path / FILES[split] if path.is_dir() else path
            raise DataNotFoundError(f"there is no {wanted}. {self.remedy}")
        if len(files) > 1:
            names = " and ".join(file.name for file in files)
            raise DataFormatError(f"{path} has {names}: pass data=<file>")
        (other,) = (name for name in FILES if name != split)
        if files[0].match(FILES[other]):
            raise DataFormatError(f"{files[0]} is the split {other}: pass split={other!r}")
        return _read(stamped(files[0]), split)


@functools.lru_cache(maxsize=2)
def _read(stamp: Stamp, split: str) -> tuple[Mapping[str, Conversation], DataSource]:
    """Read the file once per process."""
    file = Path(stamp[0])
    rows: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for where, row in rows_of(file, "question"):
        with reading(f"{where} has no question_id"):
            id_ = from_plain(str, row["question_id"])
        if id_ in rows:
            raise DataFormatError(f"{where}: the id {id_[:40]!r} is that of another question, too")
        rows[id_] = where, row
    instances = Instances(rows)
    instances[next(iter(rows))]  # fail now and not in the middle of a run
    name = LongMemEvalTask.name
    return instances, DataSource(name, "file", split, content_hash(file), file.name)


class Instances(Mapping[str, Conversation]):
    """The questions of a file, each made into a conversation when it is asked for.

    Args:
        rows: By id, the place of each row in its file, and the row.
    """

    def __init__(self, rows: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        self._rows = rows

    def __getitem__(self, task_id: str) -> Conversation:
        where, row = self._rows[task_id]
        with reading(f"{where} is not in LongMemEval's schema"):
            return _conversation(from_plain(_Row, row))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    content: str
    has_answer: bool | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    question_id: str
    question_type: str
    question: str
    answer: str | int | float
    question_date: str
    haystack_dates: tuple[str, ...]
    haystack_sessions: tuple[tuple[_Message, ...], ...]


def _conversation(row: _Row) -> Conversation:
    dated = zip(row.haystack_dates, row.haystack_sessions, strict=True)
    chats = sorted((chat for chat in dated if chat[1]), key=lambda chat: chat[0])
    if not chats:
        raise ValueError("it has no messages")
    sessions = tuple(
        Session(day, _turns(number, messages)) for number, (day, messages) in enumerate(chats, 1)
    )
    return Conversation(
        id=row.question_id,
        about="chats with an assistant",
        sessions=sessions,
        queries=(_query(row, chats),),
        type=row.question_type,
    )


def _turns(number: int, messages: tuple[_Message, ...]) -> tuple[Turn, ...]:
    return tuple(
        Turn(f"{number}:{position}", message.role.capitalize(), message.content)
        for position, message in enumerate(messages, 1)
    )


def _query(row: _Row, chats: list[tuple[str, tuple[_Message, ...]]]) -> Query:
    abstains = row.question_id.endswith(ABSTENTION)
    answer = str(row.answer)
    if not words(answer):
        raise ValueError("the question has no answer")
    return Query(
        id=row.question_id,
        text=f"{row.question} (The question is of {row.question_date}.)",
        answer=UNKNOWN if abstains else answer,
        type=row.question_type,
        evidence=tuple(
            f"{number}:{position}"
            for number, (_, messages) in enumerate(chats, 1)
            for position, message in enumerate(messages, 1)
            if message.has_answer
        ),
        accepted=(answer,) if abstains else (),
    )
