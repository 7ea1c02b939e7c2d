"""Which sentences of a memory state a fact: the matching of the lexical judge."""

from __future__ import annotations

from collections.abc import Sequence

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
        self._stale = [self._words(piece) for text in stale for piece in sentences(text)]
        self._others = [*self._stale, *others]

    def matched(self, sentence: str) -> frozenset[int]:
        """The indices of the gold sentences that a sentence states; empty if it states none."""
        words = self._words(sentence)
        scores = [f1(words, gold) for gold in self._gold]
        best = max(scores, default=0.0)
        if best < self._threshold or any(f1(words, other) > best for other in self._others):
            return frozenset()
        return frozenset(index for index, score in enumerate(scores) if score == best)

    def superseded(self, sentence: str) -> bool:
        """Whether a sentence states a superseded statement, or is nearer to one than to gold."""
        words = self._words(sentence)
        nearest = max((f1(words, stale) for stale in self._stale), default=0.0)
        gold = max((f1(words, other) for other in self._gold), default=0.0)
        return nearest >= self._threshold and nearest > gold

    def _words(self, sentence: str) -> Words:
        words = frozenset(content_words(sentence))
        return (words - self._template) or words

    def _tells_gold(self, words: Words) -> bool:
        """Whether a told sentence is a gold one with other words around it, or shortened."""
        return any(
            words >= gold or (words <= gold and f1(words, gold) >= self._threshold)
            for gold in self._gold
        )


def f1(one: Words, other: Words) -> float:
    """The harmonic mean of the shares of words that each has in common with the other."""
    total = len(one) + len(other)
    return 2 * len(one & other) / total if total else 0.0
