"""Similarity of messages to the criterion of ``Filter_context``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import numpy as np

from agemem_envs.context import Similarity
from agemem_envs.encoders import Encoder
from agemem_envs.errors import UnknownNameError
from agemem_envs.util.sentences import split_sentences

_WORD = re.compile(r"[^\W_]+")
_EMPTY_WORDS = frozenset(
    (
        "a about all an and any are at be by for from has have in is it its message messages of on "
        "or other that the their them these they this those to was were what which with"
    ).split()
)
"""Words of a criterion that name nothing."""


def message_similarity(encoder: Encoder) -> Similarity:
    """The cosine of the criterion and the whole message, as in the paper."""

    def similarity(criteria: str, texts: Sequence[str], enough: float) -> list[float]:
        vectors = encoder.encode([criteria, *texts])
        return [float(value) for value in vectors[1:] @ vectors[0]]

    return similarity


def topic_similarity(encoder: Encoder) -> Similarity:
    """The greatest of three: a criterion in plain words then matches what it names.

    - The cosine of the criterion and the whole message.
    - The cosine of the criterion and any sentence of the message: a message of many sentences
      resembles none of them.
    - The share of the criterion's words that the message holds, if it names two or more.
    """

    def similarity(criteria: str, texts: Sequence[str], enough: float) -> list[float]:
        wanted = topic_words(criteria)
        values = {text: _share(wanted, text) for text in texts}
        # Encoding is slow, and not needed where the words are enough.
        parts = [[text, *split_sentences(text)] for text, value in values.items() if value < enough]
        if parts:
            vectors = encoder.encode([criteria, *(piece for pieces in parts for piece in pieces)])
            cosines = vectors[1:] @ vectors[0]
            bounds = np.cumsum([0, *map(len, parts)])
            for (text, *_), (i, j) in zip(parts, itertools.pairwise(bounds), strict=True):
                values[text] = max(values[text], float(cosines[i:j].max()))
        return [values[text] for text in texts]

    return similarity


def topic_words(text: str) -> frozenset[str]:
    """The distinct words of a text, in lower case, without those that name nothing."""
    return frozenset(_WORD.findall(text.lower())) - _EMPTY_WORDS


def _share(wanted: frozenset[str], text: str) -> float:
    if len(wanted) < 2:
        return 0.0
    return len(wanted & topic_words(text)) / len(wanted)


MATCHINGS: dict[str, Callable[[Encoder], Similarity]] = {
    "message": message_similarity,
    "topic": topic_similarity,
}
"""The values of the setting ``filter_matching``."""


def make_similarity(name: str, encoder: Encoder) -> Similarity:
    """Make the similarity with this name.

    Raises:
        UnknownNameError: No similarity has this name.
    """
    if name not in MATCHINGS:
        raise UnknownNameError("filter matching", name, MATCHINGS)
    return MATCHINGS[name](encoder)
