"""HotpotQA's metrics, as its scorer hotpot_evaluate_v1 defines them (Yang et al. 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_VERDICTS = frozenset({"yes", "no", "noanswer"})


def normalize_answer(text: str) -> str:
    """Lower-case, drop ASCII punctuation, drop a/an/the and collapse white space, in this order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, reference: str) -> float:
    """Return 1.0 if the normalised answers are equal, else 0.0."""
    return float(normalize_answer(prediction) == normalize_answer(reference))


def token_f1(prediction: str, reference: str) -> tuple[float, float, float]:
    """Compare the normalised answers as multisets of tokens.

    If one answer is yes, no or noanswer and the other differs, all three values are 0.

    Returns:
        (F1, precision, recall), each in [0, 1].
    """
    predicted, expected = normalize_answer(prediction), normalize_answer(reference)
    if predicted != expected and (predicted in _VERDICTS or expected in _VERDICTS):
        return 0.0, 0.0, 0.0
    predicted_tokens, expected_tokens = predicted.split(), expected.split()
    common = (Counter(predicted_tokens) & Counter(expected_tokens)).total()
    if common == 0:
        return 0.0, 0.0, 0.0
    precision = common / len(predicted_tokens)
    recall = common / len(expected_tokens)
    return 2 * precision * recall / (precision + recall), precision, recall


def supporting_fact_scores(
    predicted: Iterable[tuple[str, int]], gold: Iterable[tuple[str, int]]
) -> tuple[float, float, float, float]:
    """Compare two sets of (title, sentence index) pairs.

    Returns:
        (EM, F1, precision, recall): EM is 0 or 1, the others are in [0, 1].
    """
    predicted_pairs = {(title, int(index)) for title, index in predicted}
    gold_pairs = {(title, int(index)) for title, index in gold}
    hits = len(predicted_pairs & gold_pairs)
    precision = hits / len(predicted_pairs) if predicted_pairs else 0.0
    recall = hits / len(gold_pairs) if gold_pairs else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return float(predicted_pairs == gold_pairs), f1, precision, recall


def joint_scores(
    answer: tuple[float, float, float, float], facts: tuple[float, float, float, float]
) -> tuple[float, float]:
    """Combine the scores of an answer and of its supporting facts.

    Args:
        answer: EM, F1, precision and recall of the answer.
        facts: EM, F1, precision and recall of the supporting facts.

    Returns:
        (EM, F1), each in [0, 1]: the product of both EM, and the F1 of the products of both
        precisions and both recalls.
    """
    precision, recall = answer[2] * facts[2], answer[3] * facts[3]
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return answer[0] * facts[0], f1
