"""The score of an answer to one of several questions, as LoCoMo's scorer defines it.

Source: ``task_eval/evaluation.py`` of LoCoMo (Maharana et al. 2024). Departures:

- An answer with the reference's own words has the score 1. LoCoMo's is lower where a list ends with
  a comma.
- All ways to say that the answer is not known are abstentions, and nothing else is. LoCoMo looks
  for two phrases anywhere, so that "a guess, not mentioned" is right whatever the truth is.
- A list is compared in both directions. LoCoMo's has no precision: who lists everything is right.
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
_ABSTENTION = re.compile(
    r"((that|this|it|answer|information)\b ?)?((is|was)\b ?)?"
    r"(no information (is )?available|not mentioned)"
    r"( (in|from|by|anywhere|at all|my|our|this|that|is|conversations?|dialogue|talks?|chats?|text"
    r"|context|memor(y|ies)))*"
)
"""LoCoMo's two phrases as a whole answer, of :func:`words`."""


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

    Recall is the mean over the parts of the reference of the F1 with the part of the prediction
    that is nearest, which is LoCoMo's score; precision is the same the other way round. A part
    without words does not count.
    """
    expected, found = (
        [part for part in text.split(",") if words(part)] for text in (reference, prediction)
    )
    recall, precision = _nearest(expected, found), _nearest(found, expected)
    return 2 * recall * precision / (recall + precision) if recall and precision else 0.0


def _nearest(parts: list[str], others: list[str]) -> float:
    """The mean F1 of each part with the nearest of the others; 0 without any."""
    best = [max((stem_f1(part, one) for one in others), default=0.0) for part in parts]
    return sum(best) / len(best) if best else 0.0


SCORINGS: dict[str, Callable[[str, str], float]] = {"whole": stem_f1, "list": list_f1}
"""How an answer is compared with a reference, by the names of
:attr:`~agemem_envs.episode.Question.scoring`."""


def abstains(prediction: str) -> bool:
    """Whether an answer says that the answer is not known, and nothing else."""
    said = " ".join(words(prediction))
    return canonical(prediction) == UNKNOWN or _ABSTENTION.fullmatch(said) is not None


def answer_score(question: Question, prediction: str | None) -> float:
    """The score of an answer, in [0, 1]; 0 without an answer.

    Where the right answer is that it is not known, an abstention has 1 and any other answer 0,
    unless it has the words of one that the question accepts.
    """
    if prediction is None:
        return 0.0
    scoring = _no_part if question.reference == UNKNOWN else SCORINGS[question.scoring]
    return max(_compared(scoring, prediction, one) for one in question.right_answers)


def _no_part(prediction: str, reference: str) -> float:
    """Nothing for an answer in part."""
    return 0.0


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
