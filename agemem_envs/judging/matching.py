"""Which sentences of a memory state a fact: the matching of the lexical judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agemem_envs.judging.wording import content_words, sentences, template_words

Words = frozenset[str]


class SentenceMatcher:
    """Matches sentences with gold statements, word by word and in both directions.

    A sentence matches the gold statement of the greatest token F1 if that is at least the
    threshold, and if no other sentence that was told, and no superseded statement, is nearer.

    Args:
        gold: The statements that the task needs; each of their sentences counts.
        stale: Superseded statements.
        told: The messages of stages 1 and 2.
        threshold: Least token F1 of a match.
    """

    def __init__(
        self, gold: Sequence[str], stale: Sequence[str], told: Sequence[str], threshold: float
    ) -> None:
        self._template = template_words(told)
        self._threshold = threshold
        self.gold = [piece for text in gold for piece in sentences(text)]
        """The sentences of the gold statements."""
        self._gold = [self._words(piece) for piece in self.gold]
        said = (self._words(piece) for text in told for piece in sentences(text))
        others = dict.fromkeys(words for words in said if words and not self._tells_gold(words))
        outdated = [self._words(piece) for text in stale for piece in sentences(text)]
        self._near_gold = Nearest(self._gold, threshold)
        self._near_stale = Nearest(outdated, threshold)
        self._near_others = Nearest([*outdated, *others], threshold)

    def matched(self, sentence: str) -> frozenset[int]:
        """The indices of the gold sentences that a sentence states; empty if it states none."""
        words = self._words(sentence)
        best, indices = self._near_gold.find(words)
        return frozenset() if self._near_others.find(words)[0] > best else indices

    def superseded(self, sentence: str) -> bool:
        """Whether a sentence states a superseded statement, or is nearer to one than to gold."""
        words = self._words(sentence)
        return self._near_stale.find(words)[0] > self._near_gold.find(words)[0]

    def _words(self, sentence: str) -> Words:
        words = frozenset(content_words(sentence))
        return (words - self._template) or words

    def _tells_gold(self, words: Words) -> bool:
        """Whether a told sentence is a gold one with other words around it, or shortened."""
        return any(
            words >= gold or (words <= gold and f1(words, gold) >= self._threshold)
            for gold in self._gold
        )


class Nearest:
    """The sets of words that are nearest to a given one.

    Args:
        sets: The sets.
        threshold: Least token F1 of a set that is found, above 0.
    """

    def __init__(self, sets: Sequence[Words], threshold: float) -> None:
        self._threshold = threshold
        self._sizes = np.array([len(words) for words in sets], dtype=np.int64)
        holders: dict[str, list[int]] = {}
        for index, words in enumerate(sets):
            for word in words:
                holders.setdefault(word, []).append(index)
        self._holders = {word: np.array(indices) for word, indices in holders.items()}

    def find(self, words: Words) -> tuple[float, frozenset[int]]:
        """The greatest token F1, and the indices of the sets that have it; 0 if none is near."""
        holders = [self._holders[word] for word in words if word in self._holders]
        if not holders:
            return 0.0, frozenset()
        common = np.bincount(np.concatenate(holders), minlength=len(self._sizes))
        scores = 2 * common / (self._sizes + len(words))
        best = float(scores.max())
        if best < self._threshold:
            return 0.0, frozenset()
        return best, frozenset(np.flatnonzero(scores == best).tolist())


def f1(one: Words, other: Words) -> float:
    """The harmonic mean of the shares of words that each has in common with the other."""
    total = len(one) + len(other)
    return 2 * len(one & other) / total if total else 0.0
