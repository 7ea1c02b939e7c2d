"""The score of an answer to one of several questions, as LoCoMo's scorer defines it.

Source: ``task_eval/evaluation.py`` of LoCoMo (Maharana et al. 2024). Departures:

- An answer with the reference's own words has the score 1. LoCoMo's is lower where a list ends with
  a comma.
- All ways to say that the answer is not known are abstentions; LoCoMo knows two of them.
- A question may have several right answers; the best comparison counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable

from agemem_envs.episode import UNKNOWN, Question
from agemem_envs.judging.abstention import canonical
from agemem_envs.judging.stemmer import stem

_ARTICLES = re.compile(r"\b(a|an|the|and)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LOCOMO_ABSTENTIONS = ("no information available", "not mentioned")


def words(text: str) -> list[str]:
    """The words of an answer: lower case, without punctuation, without a, an, the, and."""
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def stem_f1(prediction: str, reference: str) -> float:
    """F1 of the stems of two answers, as multisets; in [0, 1], 0 for an answer without words."""
    predicted, expected = ([stem(word) for word in words(text)] for text in (prediction, reference))
    common = (Counter(predicted) & Counter(expected)).total()
    return 2 * common / (len(predicted) + len(expected)) if common else 0.0


def list_f1(prediction: str, reference: str) -> float:
    """F1 of answers that are lists, separated by commas; in [0, 1].

    The mean over the parts of the reference of the F1 with the part of the prediction that is
    nearest. A part without words does not count.
    """
    expected = [part for part in reference.split(",") if words(part)]
    parts = prediction.split(",")
    best = [max(stem_f1(part, one) for part in parts) for one in expected]
    return sum(best) / len(best) if best else 0.0


SCORINGS: dict[str, Callable[[str, str], float]] = {"whole": stem_f1, "list": list_f1}
"""How an answer is compared with a reference, by the names of
:attr:`~agemem_envs.episode.Question.scoring`."""


def abstains(prediction: str) -> bool:
    """Whether an answer says that the answer is not known."""
    said = prediction.lower()
    return canonical(prediction) == UNKNOWN or any(text in said for text in _LOCOMO_ABSTENTIONS)


def answer_score(question: Question, prediction: str | None) -> float:
    """The score of an answer, in [0, 1]; 0 without an answer.

    Where the right answer is that it is not known, an abstention has 1 and any other answer 0,
    unless the question accepts it.
    """
    if prediction is None:
        return 0.0
    scoring = SCORINGS[question.scoring]
    return max(_compared(scoring, prediction, one) for one in question.right_answers)


def _compared(scoring: Callable[[str, str], float], prediction: str, reference: str) -> float:
    if reference == UNKNOWN:
        return float(abstains(prediction))
    same = words(prediction) == words(reference) or prediction.split() == reference.split()
    return 1.0 if same else scoring(prediction, reference)


def contains_answer(question: Question, prediction: str | None) -> bool:
    """Whether an answer holds a right answer as consecutive words, or abstains where it must."""
    if prediction is None:
        return False
    said = f" {' '.join(words(prediction))} "
    return any(
        abstains(prediction)
        if one == UNKNOWN
        else bool(words(one)) and f" {' '.join(words(one))} " in said
        for one in question.right_answers
    )
