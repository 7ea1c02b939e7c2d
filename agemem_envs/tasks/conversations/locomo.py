"""AgeMem-LoCoMo: questions about ten very long conversations, from the real data set."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from agemem_envs.data import ENVIRONMENT_VARIABLE, content_hash, reading
from agemem_envs.episode import UNKNOWN, DataSource
from agemem_envs.errors import DataFormatError, DataNotFoundError, UnknownNameError
from agemem_envs.judging.answers import words
from agemem_envs.tasks.conversations.files import Stamp, rows_of, stamped
from agemem_envs.tasks.conversations.locomo_audit import AuditEntry, audited, read_audit
from agemem_envs.tasks.conversations.record import Conversation, Query, Session, Turn
from agemem_envs.tasks.conversations.task import ConversationTask
from agemem_envs.util.records import from_plain

FILE, AUDIT = "locomo10.json", "audit_errors.json"
CATEGORIES = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    4: "single-hop",
    5: "adversarial",
}
"""LoCoMo's categories of questions, by their numbers in the data."""
KEYS = ("audited", "raw")
_EVIDENCE = re.compile(r"D:?(\d{1,6}):(\d{1,6})")
_SESSION = re.compile(r"session_(\d+)")


class LoCoMoTask(ConversationTask):
    """LoCoMo: questions about conversations of 19 to 32 sessions (Maharana et al. 2024).

    - Task, stages, actions, progress, success: as
      :class:`~agemem_envs.tasks.conversations.task.ConversationTask`.
    - Types of questions: multi-hop (282), temporal (321), open-domain (96), single-hop (841) and
      adversarial (446), in that order of the data's category numbers. An adversarial question
      asks for what nobody said: the right answer is to abstain.
    - Splits: ``test``, all ten conversations with 1,986 questions. Task ids: ``conv-26`` and so on.
    - Data source: ``data`` argument, see :mod:`agemem_envs.data`. CC BY-NC 4.0.
    - Keys: an independent audit (dial481/locomo-audit) marks 99 answers of the key as wrong or
      doubtful, and 57 citations. The key ``audited`` has the audit's answers and citations of
      these entries, and ``raw`` has LoCoMo's own. Nothing else differs.
    - Score: LoCoMo's F1: of an answer to a multi-hop question part by part, of any other as a
      whole. Of an open-domain reference, what follows a semicolon explains and does not count.
    - Departures: in the score, a list has precision too, and an answer abstains only as a whole, so
      that neither a list of everything nor "a guess, not mentioned" is right. LoCoMo asks an
      adversarial question as a choice between the wrong answer and "not mentioned"; here it is
      open, and every question says how to abstain. A photo is told by its caption. Citations are
      read where they are written in another form, and those of turns that do not exist are left
      out. Where the audit's answer has a remark in brackets, the answer without it is right too;
      where it says that nothing can be known, so is an abstention.

    Args:
        split: ``test``.
        data: ``auto``, ``embedded``, or a path to ``locomo10.json`` or to its folder.
        key: ``audited`` or ``raw``. The former needs ``audit_errors.json`` beside the data.

    Raises:
        UnknownNameError: The split or the key is unknown.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data does not follow LoCoMo's schema, or the audit is of other data.
    """

    name = "locomo"
    title = "LoCoMo"
    splits = ("test",)
    remedy = (
        f"Set ${ENVIRONMENT_VARIABLE} to a folder with locomo/{FILE} (snap-research/locomo) and "
        f"locomo/{AUDIT} (dial481/locomo-audit), or pass data=<file or folder>."
    )
    types: ClassVar[Mapping[str, str]] = {
        "single": "single-hop",
        "update": "single-hop",
        "time": "temporal",
        "list": "multi-hop",
        "unknown": "adversarial",
    }

    def __init__(
        self, split: str = "test", data: str | os.PathLike[str] = "auto", key: str = KEYS[0]
    ) -> None:
        if key not in KEYS:
            raise UnknownNameError("key", key, KEYS)
        self._key = key
        self.variant = "" if key == KEYS[0] else f"key={key}"
        super().__init__(split, data)

    def read(self, path: Path, split: str) -> tuple[Mapping[str, Conversation], DataSource]:
        """Read ``locomo10.json``, and the audit beside it for the audited key."""
        file = path / FILE if path.is_dir() else path
        audit = file.parent / AUDIT if self._key == "audited" else None
        for one in filter(None, (file, audit)):
            if not one.is_file():
                hint = ' Pass key="raw" for LoCoMo\'s own key.' if one == audit else ""
                raise DataNotFoundError(f"there is no {one}.{hint} {self.remedy}")
        return _read(stamped(file), stamped(audit) if audit else None, split)


@functools.lru_cache(maxsize=4)
def _read(
    data: Stamp, audit: Stamp | None, split: str
) -> tuple[Mapping[str, Conversation], DataSource]:
    """Read the files once per process."""
    file = Path(data[0])
    conversations = read_locomo(file)
    files = [file]
    if audit is not None:
        files.append(Path(audit[0]))
        conversations = _corrected(conversations, read_audit(files[1]), files[1])
    by_id = {conversation.id: conversation for conversation in conversations}
    location = "+".join(one.name for one in files)
    return by_id, DataSource(LoCoMoTask.name, "file", split, content_hash(*files), location)


def read_locomo(file: Path) -> list[Conversation]:
    """Read LoCoMo's file, with its own key.

    Raises:
        DataNotFoundError: It cannot be read.
        DataFormatError: It does not follow LoCoMo's schema.
    """
    conversations = []
    for number, (where, row) in enumerate(rows_of(file, "conversation")):
        with reading(f"{where} is not in LoCoMo's schema"):
            conversations.append(_conversation(row, number, where))
    ids = [conversation.id for conversation in conversations]
    if len(set(ids)) < len(ids):
        raise DataFormatError(f"{file} has two conversations with one sample_id")
    return conversations


def _conversation(row: Mapping[str, Any], number: int, where: str) -> Conversation:
    talk = row["conversation"]
    numbers = sorted(int(m[1]) for key in talk if (m := _SESSION.fullmatch(key)) and talk[key])
    sessions = tuple(_session(talk, session) for session in numbers)
    if not sessions or not row["qa"]:
        raise DataFormatError(f"{where} has no sessions or no questions")
    turns = {turn.id for session in sessions for turn in session.turns}
    queries = tuple(
        _query(one, f"locomo_{number}_qa{index}", turns) for index, one in enumerate(row["qa"])
    )
    about = f"the conversation of {talk['speaker_a']} and {talk['speaker_b']}"
    return Conversation(from_plain(str, row["sample_id"]), about, sessions, queries)


def _session(talk: Mapping[str, Any], number: int) -> Session:
    heading = from_plain(str, talk[f"session_{number}_date_time"])
    return Session(heading, tuple(map(_turn, talk[f"session_{number}"])))


def _turn(row: Mapping[str, Any]) -> Turn:
    text = from_plain(str, row["text"])
    if caption := row.get("blip_caption"):
        text = f"{text} [shares a photo: {from_plain(str, caption)}]".strip()
    return Turn(from_plain(str, row["dia_id"]), from_plain(str, row["speaker"]), text)


def _query(row: Mapping[str, Any], id_: str, turns: set[str]) -> Query:
    category = CATEGORIES[from_plain(int, row["category"])]
    answer = row.get("answer")
    answer = None if answer is None else str(from_plain(str | int, answer))  # type: ignore[arg-type]
    accepted: tuple[str, ...] = ()
    if category == "adversarial":
        # Two of them have an answer, "No", which denies what they presuppose.
        answer, accepted = UNKNOWN, () if answer is None else (answer,)
    elif answer is None or not words(_without_explanation(answer, category)):
        raise ValueError(f"the question {id_} has no answer")
    return Query(
        id=id_,
        text=from_plain(str, row["question"]),
        answer=_without_explanation(answer, category),
        type=category,
        evidence=cited(from_plain(tuple[str, ...], row["evidence"]), turns),
        accepted=accepted,
        scoring="list" if category == "multi-hop" else "whole",
    )


def _without_explanation(answer: str, category: str) -> str:
    return answer.split(";")[0].strip() if category == "open-domain" else answer


def cited(evidence: Sequence[str], turns: set[str]) -> tuple[str, ...]:
    """The ids of turns that a citation names, in order: "D8:6; D9:17" names two, "D" none."""
    found = (f"D{int(s)}:{int(t)}" for text in evidence for s, t in _EVIDENCE.findall(text))
    return tuple(dict.fromkeys(id_ for id_ in found if id_ in turns))


def _corrected(
    conversations: Sequence[Conversation], entries: Mapping[str, AuditEntry], file: Path
) -> list[Conversation]:
    """The conversations with the audited key.

    Raises:
        DataFormatError: The audit has an entry of a question that is not there, or is other.
    """
    left = dict(entries)
    corrected = []
    for conversation in conversations:
        turns = {turn.id for session in conversation.sessions for turn in session.turns}
        queries = []
        for query in conversation.queries:
            entry = left.pop(query.id, None)
            queries.append(query if entry is None else _by_audit(query, entry, turns, file))
        corrected.append(replace(conversation, queries=tuple(queries)))
    if left:
        raise DataFormatError(f"{file}: there is no question {next(iter(left))!r} in the data")
    return corrected


def _by_audit(query: Query, entry: AuditEntry, turns: set[str], file: Path) -> Query:
    if entry.question != query.text:
        raise DataFormatError(f"{file}: the question {query.id!r} is another in the data")
    evidence = cited(entry.correct_evidence, turns) or query.evidence
    query = replace(query, evidence=evidence)
    if not entry.changes_answer:
        return query
    answer, accepted = audited(entry)
    answer = _without_explanation(answer, query.type)
    if not words(answer):
        raise DataFormatError(f"{file}: the answer to {query.id!r} has no words")
    return replace(query, answer=answer, accepted=accepted)
