"""An independent audit of LoCoMo's key: which entries it marks as wrong, and what is right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agemem_envs.data import reading
from agemem_envs.episode import UNKNOWN
from agemem_envs.tasks.conversations.files import rows_of
from agemem_envs.util.records import from_plain

CITATION = "WRONG_CITATION"
"""The type of an entry whose answer is right."""
_REMARK = re.compile(r"\s*\([^()]*\)")
_NOT_KNOWN = re.compile(r"(?:cannot be|unknown|unclear|uncertain)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the audit.

    Attributes:
        question_id: ``locomo_<conversation>_qa<index>``, both counted from 0.
        question: The question.
        error_type: What is wrong; :data:`CITATION` leaves the answer as it is.
        correct_answer: The answer as the auditor gives it, sometimes with a remark.
        correct_evidence: The ids of the turns that support it.
    """

    question_id: str
    question: str
    error_type: str
    correct_answer: str
    correct_evidence: tuple[str, ...]

    @property
    def changes_answer(self) -> bool:
        """Whether the audit marks the answer as wrong or doubtful."""
        return self.error_type != CITATION


def read_audit(file: Path) -> Mapping[str, AuditEntry]:
    """Read the audit; its entries by the id of their question.

    Raises:
        DataNotFoundError: The file cannot be read.
        DataFormatError: It does not follow the audit's schema.
    """
    entries: dict[str, AuditEntry] = {}
    for where, row in rows_of(file, "entry"):
        with reading(f"{where} is not in the audit's schema"):
            entry = from_plain(AuditEntry, row)
            if entry.question_id in entries:
                raise ValueError(f"{entry.question_id[:40]!r} has two entries")
            entries[entry.question_id] = entry
    return entries


def audited(entry: AuditEntry) -> tuple[str, tuple[str, ...]]:
    """The audit's answer, and other answers that are right by it.

    The answer is what the auditor wrote. Without its remarks in brackets it is right too. So is an
    abstention where the auditor says that nothing can be known.
    """
    answer = entry.correct_answer
    others = [_REMARK.sub("", answer).strip()]
    if _NOT_KNOWN.match(answer):
        others.append(UNKNOWN)
    return answer, tuple(one for one in dict.fromkeys(others) if one and one != answer)
