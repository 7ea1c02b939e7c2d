"""HotpotQA's own metrics, as its scorer defines them (Yang et al. 2018, hotpot_evaluate_v1)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_VERDICTS = frozenset({"yes", "no", "noanswer"})


def normalize_answer(text: str) -> str:
    """Lower-case, drop ASCII punctuation, drop a/an/the, collapse white space, in that order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, reference: str) -> float:
    """1.0 if the normalised answers are equal, else 0.0."""
    return float(normalize_answer(prediction) == normalize_answer(reference))


def token_f1(prediction: str, reference: str) -> tuple[float, float, float]:
    """Overlap of the normalised answers as multisets of tokens.

    If either side is yes, no or noanswer and the sides differ, all three are 0.

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
    """Agreement of two sets of (title, sentence index) pairs.

    Returns:
        (EM, F1, precision, recall), each 0 or 1 for EM and in [0, 1] otherwise.
    """
    found = {(title, int(index)) for title, index in predicted}
    wanted = {(title, int(index)) for title, index in gold}
    hits = len(found & wanted)
    precision = hits / len(found) if found else 0.0
    recall = hits / len(wanted) if wanted else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return float(found == wanted), f1, precision, recall
