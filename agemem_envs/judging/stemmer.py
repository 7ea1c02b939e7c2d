"""Porter's stemmer (1980), with the extensions of NLTK, by which LoCoMo's scorer compares words.

The steps and their order are those of the paper. NLTK, the library of LoCoMo's scorer, adds a list
of irregular words and a few rules; they are marked here, and are part of the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

IRREGULAR = {
    "sky": "sky",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "innings": "inning",
    "inning": "inning",
    "outings": "outing",
    "outing": "outing",
    "cannings": "canning",
    "canning": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}
"""Words that NLTK does not cut by rules."""
Rules = Sequence[tuple[str, str]]
_PLURALS: Rules = (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", ""))
_LONG: Rules = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"),
    ("bli", "ble"), ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"),
    ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"), ("iveness", "ive"),
    ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"),
    ("biliti", "ble"), ("fulli", "ful"),
)  # fmt: skip
"""Step 2; the last is NLTK's."""
_MIDDLE: Rules = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""),
    ("ness", ""),
)  # fmt: skip
_SHORT = (
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
)  # fmt: skip


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """The stem of a lower-case word. One of at most two letters is its own stem."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in (_plural, _participle, _final_y, _long, _middle, _short, _final_e, _double_l):
        word = step(word)
    return word


def _vowels(word: str) -> list[bool]:
    """Which letters are vowels: y is one after a consonant."""
    found: list[bool] = []
    for index, letter in enumerate(word):
        after_consonant = index > 0 and not found[-1]
        found.append(letter in "aeiou" or (letter == "y" and after_consonant))
    return found


def _measure(word: str) -> int:
    """The number of times that a vowel precedes a consonant: m in the paper."""
    vowels = _vowels(word)
    return sum(one and not other for one, other in pairwise(vowels))


def _ends_double(word: str) -> bool:
    return len(word) >= 2 and word[-1] == word[-2] and not _vowels(word)[-1]


def _ends_cvc(word: str) -> bool:
    """Whether a word ends consonant, vowel, consonant, the last not w, x, y.

    NLTK: also a word of a vowel and a consonant.
    """
    vowels = _vowels(word)
    if len(word) == 2:
        return vowels == [True, False]
    return vowels[-3:] == [False, True, False] and word[-1] not in "wxy"


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:  # NLTK
        return word[:-1]
    return _first(word, _PLURALS, least=-1)


def _participle(word: str) -> str:
    if word.endswith("ied"):  # NLTK
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        root = word.removesuffix(ending)
        if root != word and any(_vowels(root)):
            return _mended(root)
    return word


def _mended(root: str) -> str:
    """What is left of a participle, as the present writes it."""
    if root.endswith(("at", "bl", "iz")):
        return root + "e"
    if _ends_double(root):
        return root if root[-1] in "lsz" else root[:-1]
    return root + "e" if _measure(root) == 1 and _ends_cvc(root) else root


def _final_y(word: str) -> str:
    """NLTK: after a consonant, but for the first letter."""
    if word[-1] == "y" and len(word) > 2 and not _vowels(word[:-1])[-1]:
        return word[:-1] + "i"
    return word


def _long(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:  # NLTK
        return _long(word[:-2])
    if word.endswith("logi"):  # NLTK
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _first(word, _LONG, least=0)


def _middle(word: str) -> str:
    return _first(word, _MIDDLE, least=0)


def _short(word: str) -> str:
    for ending in _SHORT:
        if word.endswith(ending):
            root = word.removesuffix(ending)
            fits = _measure(root) > 1 and (ending != "ion" or root.endswith(("s", "t")))
            return root if fits else word
    return word


def _final_e(word: str) -> str:
    if not word.endswith("e"):
        return word
    root = word[:-1]
    measure = _measure(root)
    return root if measure > 1 or (measure == 1 and not _ends_cvc(root)) else word


def _double_l(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


def _first(word: str, rules: Rules, least: int) -> str:
    """Replace the first ending that a word has, if the measure of the rest is above ``least``."""
    for ending, replacement in rules:
        if word.endswith(ending):
            root = word.removesuffix(ending)
            return root + replacement if _measure(root) > least else word
    return word
