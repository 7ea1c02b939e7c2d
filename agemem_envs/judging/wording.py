"""The words and sentences of texts, as the scores compare them.

- Content words: lower-case words and numbers without function words. A number of at most two
  digits or a single letter names something together with the word before it, so "mug 1" adds the
  word "mug 1".
- Template words: content words that more than half of the told sentences share. They say nothing
  about a single fact.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache

from agemem_envs import prompts

FEWEST_FOR_TEMPLATES = 6
"""Fewest told sentences that show which words are template words."""
_BREAK = re.compile(r"(?<!\b[A-Z]\.[A-Z]\.)(?<!\b[DMS]r\.)(?<!\bSt\.)(?<=[.!?])\s+|\n+")
_TITLE = re.compile(r"([^.!?:\n]{1,80}): (?=\S)")
_WORD = re.compile(r"[^\W_]+")
_FUNCTION_WORDS = frozenset(
    (
        "a about also am an and any are as at be been but by did do does for from had has have he "
        "her here him his i if in into is it its just me my of on or our she so that the their "
        "them then there these they this those to us was we were what where which who whom whose "
        "will with would you your s t"
    ).split()
)
_OPENINGS = tuple(form.partition("{text}")[0] for form in prompts.INCOMING)


def without_opening(message: str) -> str:
    """A message of stage 1 or 2 without the casual words before it."""
    opening = next((o for o in _OPENINGS if o and message.startswith(o)), "")
    return message[len(opening) :]


@lru_cache(maxsize=8_192)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text. One that begins as "Title: ..." has the title in every sentence."""
    pieces = [piece.strip() for piece in _BREAK.split(text)]
    pieces = [piece for piece in pieces if _WORD.search(piece)]
    title = _TITLE.match(pieces[0]) if pieces else None
    if title is None:
        return tuple(pieces)
    return (pieces[0], *(f"{title[1]}: {piece}" for piece in pieces[1:]))


@lru_cache(maxsize=16_384)
def content_words(sentence: str) -> tuple[str, ...]:
    """The content words of a text, in order and with repetitions."""
    words: list[str] = []
    before = ""
    for index, word in enumerate(_WORD.findall(sentence)):
        lower = word.lower()
        letter = len(word) == 1 and word.isalpha()
        named = letter and (word.isupper() or lower not in _FUNCTION_WORDS) and index > 0
        if lower in _FUNCTION_WORDS and not named:
            before = ""
            continue
        words.append(lower)
        if before and (named or (word.isdigit() and len(word) <= 2)):
            words.append(f"{before} {lower}")
        before = lower
    return tuple(words)


def names(sentence: str) -> frozenset[str]:
    """The words by which a statement differs from another of its form: names and numbers.

    These are the capitalised words but the first, and the numbers and letters with the word
    that they belong to.
    """
    first, *others = _WORD.findall(sentence) or [""]
    capitalised = {word.lower() for word in others if word[0].isupper() or word[0].isdigit()}
    capitalised |= {first.lower()} if first.isdigit() else set()
    words = content_words(sentence)
    return frozenset(w for w in words if w in capitalised or " " in w)


def template_words(told: Sequence[str]) -> frozenset[str]:
    """The template words of some messages."""
    pieces = [piece for text in told for piece in sentences(text)]
    if len(pieces) < FEWEST_FOR_TEMPLATES:
        return frozenset()
    counts = Counter(word for piece in pieces for word in set(content_words(piece)))
    return frozenset(word for word, count in counts.items() if 2 * count > len(pieces))


def all_words(texts: Iterable[str], without: frozenset[str]) -> Counter[str]:
    """How often each content word occurs in some texts."""
    words = (word for text in texts for word in content_words(text))
    return Counter(word for word in words if word not in without)
