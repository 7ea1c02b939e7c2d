"""AgeMem-StructMemEval: questions about a state that changes over a conversation."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from agemem_envs.data import ENVIRONMENT_VARIABLE, content_hash, reading
from agemem_envs.episode import DataSource
from agemem_envs.errors import DataFormatError, DataNotFoundError
from agemem_envs.tasks.conversations.files import Stamp, json_of, stamped
from agemem_envs.tasks.conversations.record import Conversation, Query, Session, Turn
from agemem_envs.tasks.conversations.task import ConversationTask
from agemem_envs.util.records import from_plain

PATTERN = "**/*.json"
_TRANSITIONS = re.compile(r"(static|transition)(?:_(\d+)tr)?_\d+")


class StructMemEvalTask(ConversationTask):
    """StructMemEval, state tracking: what holds after 0 to 5 changes (Yandex Research).

    - Task, stages, actions, progress, success: as
      :class:`~agemem_envs.tasks.conversations.task.ConversationTask`. The data has no dates: a
      session is told below its number.
    - Types of questions: ``transitions-0`` to ``transitions-5``, by how often the state changes,
      and ``other``.
    - Splits: ``test``: 44 conversations with one question each in the data set. Task ids: the
      data's ``case_id``.
    - Data source: ``data`` argument, see :mod:`agemem_envs.data`. Its repository states no licence.
    - Departures: the reference is a sentence that says what an answer must and must not hold, which
      a judge can compare and the F1 cannot; use a language model as judge. The data names no
      evidence, so that memory quality is not measured. The topics of the sessions are not told.

    Args:
        split: ``test``.
        data: ``auto``, ``embedded``, or a path to a case's file or to a folder with cases.

    Raises:
        UnknownNameError: The split is unknown.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data does not follow StructMemEval's schema.
    """

    name = "structmemeval"
    title = "StructMemEval"
    splits = ("test",)
    remedy = (
        f"Set ${ENVIRONMENT_VARIABLE} to a folder whose subfolder structmemeval holds the "
        "state_tracking folder of yandex-research/StructMemEval, or pass data=<that folder>."
    )
    types: ClassVar[Mapping[str, str]] = {"single": "transitions-0", "update": "transitions-2"}
    hint = ""

    def __init__(self, split: str = "test", data: str | os.PathLike[str] = "auto") -> None:
        super().__init__(split, data)

    def read(self, path: Path, split: str) -> tuple[Mapping[str, Conversation], DataSource]:
        """Read one case, or all cases of a folder."""
        files = sorted(path.glob(PATTERN)) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise DataNotFoundError(f"there is no case in {path}. {self.remedy}")
        return _read(tuple(map(stamped, files)), path.name, split)


@functools.lru_cache(maxsize=4)
def _read(
    stamps: tuple[Stamp, ...], location: str, split: str
) -> tuple[Mapping[str, Conversation], DataSource]:
    """Read the files once per process."""
    files = [Path(name) for name, _ in stamps]
    cases: dict[str, Conversation] = {}
    for file in files:
        case = read_case(file)
        if case.id in cases:
            raise DataFormatError(f"{file}: the case {case.id[:40]!r} is in another file, too")
        cases[case.id] = case
    name = StructMemEvalTask.name
    return cases, DataSource(name, "file", split, content_hash(*files), location)


@dataclass(frozen=True, slots=True)
class _Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class _Session:
    messages: tuple[_Message, ...]


@dataclass(frozen=True, slots=True)
class _Reference:
    text: str


@dataclass(frozen=True, slots=True)
class _Query:
    question: str
    reference_answer: _Reference


@dataclass(frozen=True, slots=True)
class _Case:
    case_id: str
    sessions: tuple[_Session, ...]
    queries: tuple[_Query, ...]


def read_case(file: Path) -> Conversation:
    """Read the file of one case.

    Raises:
        DataNotFoundError: It cannot be read.
        DataFormatError: It does not follow StructMemEval's schema.
    """
    row: Any = json_of(file)
    with reading(f"{file} is not in StructMemEval's schema"):
        return _conversation(from_plain(_Case, row))


def _conversation(case: _Case) -> Conversation:
    sessions = tuple(
        Session(f"Session {number}", _turns(number, session))
        for number, session in enumerate(case.sessions, 1)
        if session.messages
    )
    if not sessions or not case.queries:
        raise ValueError("it has no messages or no questions")
    type_ = transitions(case.case_id)
    queries = tuple(
        Query(f"{case.case_id}-q{number}", one.question, one.reference_answer.text, type_)
        for number, one in enumerate(case.queries)
    )
    return Conversation(case.case_id, "a conversation with an assistant", sessions, queries, type_)


def _turns(number: int, session: _Session) -> tuple[Turn, ...]:
    return tuple(
        Turn(f"{number}:{position}", message.role.capitalize(), message.content)
        for position, message in enumerate(session.messages, 1)
    )


def transitions(case_id: str) -> str:
    """The type of a case: ``transitions-N`` for N changes of the state, else ``other``."""
    match = _TRANSITIONS.fullmatch(case_id)
    if match is None:
        return "other"
    return f"transitions-{0 if match[1] == 'static' else int(match[2] or 1)}"
