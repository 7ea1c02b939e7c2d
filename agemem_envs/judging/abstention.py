"""Answers that say that the facts do not tell."""

from __future__ import annotations

import re

from agemem_envs.judging.hotpot_metrics import normalize_answer

_ABSTENTION = re.compile(
    r"(?:it is |its |that is |thats |i am |im |answer is |answer )?"
    r"(?:unknown|not known|unclear|uncertain|not sure|unsure|undetermined|not determined|"
    r"not stated|not specified|not mentioned|not given|not available|no answer|noanswer|none|na|"
    r"i (?:do not|dont) know|(?:do not|dont) know|no one knows|nobody knows|"
    r"(?:it )?(?:cannot|can not|cant) be (?:known|determined|answered|said)|"
    r"insufficient information|not enough information)"
)


def is_abstention(text: str) -> bool:
    """Whether an answer says that the answer is not known, and nothing else."""
    return _ABSTENTION.fullmatch(normalize_answer(text)) is not None
