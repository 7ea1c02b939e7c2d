"""Answers that say that the answer is not known."""

from __future__ import annotations

from agemem_envs.episode import UNKNOWN
from agemem_envs.judging.hotpot_metrics import normalize_answer

ABSTENTIONS = frozenset(
    (
        "unknown",
        "answer unknown",
        "answer is unknown",
        "it is unknown",
        "this is unknown",
        "not known",
        "it is not known",
        "its not known",
        "this is not known",
        "nobody knows",
        "no one knows",
        "i do not know",
        "i dont know",
        "do not know",
        "dont know",
        "not stated",
        "not mentioned",
        "cannot be known",
    )
)
"""Normalised answers that mean :data:`~agemem_envs.episode.UNKNOWN`."""


def canonical(answer: str) -> str:
    """The answer; all ways to say that it is not known are :data:`~agemem_envs.episode.UNKNOWN`."""
    return UNKNOWN if normalize_answer(answer) in ABSTENTIONS else answer
