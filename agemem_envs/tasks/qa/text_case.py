"""Questions over given text: a wrong version of a sentence has another value of the same kind."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from agemem_envs.tasks.qa.cases import Case, Variant, anchored, holds, replaced

LAST_YEAR = 2020
"""No wrong year is later."""
MAX_WORDS = 6
"""Most words of an answer that is replaced."""
MAX_SHIFT = 15
"""Most years by which a wrong year differs."""
_NAME = r"[A-Z][\w'’.-]*(?:\s+(?:(?:of|the|de|von|van)\s+)?[A-Z][\w'’.-]*)*"
_NAMES = re.compile(rf"{_NAME}(?:(?:,| and| or| &| in) {_NAME})*")
_PLACED_NAME = re.compile(rf"\b([a-z]+) ({_NAME})")
_YEAR = re.compile(r"\b1\d{3}\b|\b20[012]\d\b")
_NUMBER = re.compile(r"\d[\d,]*\d|\d")
_POSSESSIVE = re.compile(r"['’]s?$")
_MONTHS = frozenset(
    (
        "January February March April May June July August September October November December"
    ).split()
)
_NUMBER_WORDS = tuple("two three four five six seven eight nine ten eleven twelve".split())
_IN_TIME = re.compile(
    r"\b(first|earlier|older|oldest|later|younger|youngest|newer|recently|last|before|after)\b"
)


class TextCase(Case):
    """A question of HotpotQA."""

    withdrawn_share = 0.3
    turns = True

    def variants(self, pool: Sequence[str], generator: np.random.Generator) -> list[Variant]:
        """Replace the answer, the years that decide a comparison, or the other paragraph's title.

        A name is replaced by one of the pool, a number by another number.
        """
        dates = self._turned_dates(generator)
        found = []
        for title, sentence, place in self._support():
            replacement = (
                self._other_answer(title, sentence, pool, generator)
                or dates.get(place)
                or self._other_title(title, sentence, pool, generator)
            )
            if replacement is None:
                continue
            value, wrong_value, stale = replacement
            states_answer = value == self.record.answer.strip(" .,;")
            subject = f"{title}: it is not known what is true instead of "
            found.append(
                Variant(
                    place,
                    sentence,
                    replaced(sentence, value, wrong_value),
                    value,
                    wrong_value,
                    topic=f"one detail of {title}",
                    stale=stale,
                    unknown=f'{subject}"{anchored(sentence, value)}".' if states_answer else "",
                )
            )
        return found

    def _support(self) -> list[tuple[str, str, tuple[str, int]]]:
        """Title, sentence and place of each supporting sentence, in the order of the text."""
        places = sorted(set(self.record.supporting_facts))
        texts = {(t, i): s for t, sentences in self.record.context for i, s in enumerate(sentences)}
        return [(p[0], " ".join(texts[p].split()), p) for p in places if p in texts]

    def _other_answer(
        self, title: str, sentence: str, pool: Sequence[str], generator: np.random.Generator
    ) -> tuple[str, str, str] | None:
        answer = self.record.answer.strip(" .,;")
        if anchored(sentence, answer) == answer and not _stands_in(sentence, answer):
            return None
        if holds(title, answer) or holds(self.record.question, answer):
            return None
        if len(answer.split()) > MAX_WORDS:
            return None
        wrong = _other_number(answer, generator) or self._other_name(
            answer, sentence, pool, generator
        )
        return (answer, wrong, wrong) if wrong else None

    def _other_title(
        self, title: str, sentence: str, pool: Sequence[str], generator: np.random.Generator
    ) -> tuple[str, str, str] | None:
        for other, _ in self.gold:
            name = _bare(other)
            known = holds(self.record.question, name) or holds(title, name)
            if other == title or known or not _stands_in(sentence, name):
                continue
            wrong = self._other_name(name, sentence, pool, generator)
            if wrong:
                return name, wrong, wrong
        return None

    def _other_name(
        self, name: str, sentence: str, pool: Sequence[str], generator: np.random.Generator
    ) -> str | None:
        """A name of the pool: if possible, of as many words and after the same word."""
        if not _NAMES.fullmatch(name):
            return None
        before = anchored(sentence, name).removesuffix(name).split()[-1:]
        own = " ".join([self.record.question, *(s for _, ss in self.gold for s in ss)])
        found: dict[str, int] = {}
        for word, other in (pair for text in pool for pair in _PLACED_NAME.findall(text)):
            other = _POSSESSIVE.sub("", other.rstrip(".-"))
            if len(other) < 3 or other in _MONTHS or holds(own, other) or holds(other, name):
                continue
            fit = 2 * (len(other.split()) == len(name.split())) + ([word] == before)
            found[other] = max(fit, found.get(other, 0))
        best = [other for other, fit in sorted(found.items()) if fit == max(found.values())]
        return best[int(generator.integers(len(best)))] if best else None

    def _turned_dates(
        self, generator: np.random.Generator
    ) -> dict[tuple[str, int], tuple[str, str, str]]:
        """For a comparison by dates: by the sentence, its year, one that turns the comparison."""
        names = [_bare(title) for title, _ in self.gold]
        support = self._support()
        answer = self.record.answer
        if (
            len(support) != len(names)
            or len(names) != 2
            or not _IN_TIME.search(self.record.question)
            or not any(holds(name, answer) or holds(answer, name) for name in names)
        ):
            return {}
        years = [_YEAR.search(sentence) for _, sentence, _ in support]
        first, second = (int(year[0]) if year else 0 for year in years)
        if not first or not second or first == second:
            return {}
        loser = next((n for n in names if not (holds(n, answer) or holds(answer, n))), "")
        shift = int(generator.integers(1, MAX_SHIFT)) * (1 if second > first else -1)
        wrong = second + shift, first - shift
        return {
            place: (str(year), str(other), loser)
            for (_, _, place), year, other in zip(support, (first, second), wrong, strict=True)
            if other <= LAST_YEAR
        }


def _stands_in(sentence: str, value: str) -> bool:
    return replaced(sentence, value, "") != sentence


def _bare(title: str) -> str:
    """A title without what Wikipedia adds in brackets."""
    return re.sub(r" \(.*\)$", "", title)


def _other_number(value: str, generator: np.random.Generator) -> str | None:
    """A value with another year, or else with another first number of as many digits."""
    year = _YEAR.search(value)
    if year:
        shift = int(generator.integers(1, MAX_SHIFT)) * (1 if generator.random() < 0.5 else -1)
        other = int(year[0]) + shift
        other = other if other <= LAST_YEAR else int(year[0]) - abs(shift)
        return value[: year.start()] + str(other) + value[year.end() :]
    words = value.split()
    if words[0] in _NUMBER_WORDS:
        others = [word for word in _NUMBER_WORDS if word != words[0]]
        return " ".join([others[int(generator.integers(len(others)))], *words[1:]])
    number = _NUMBER.search(value)
    if not number or not _is_counted(value):
        return None
    right = int(number[0].replace(",", ""))
    digits = len(str(right))
    lowest = 10 ** (digits - 1) if digits > 1 else 1
    wrong = int(generator.integers(lowest, 10**digits - 1))
    wrong += wrong >= right
    text = f"{wrong:,}" if "," in number[0] else str(wrong)
    return value[: number.start()] + text + value[number.end() :]


def _is_counted(value: str) -> bool:
    """Whether a value begins with its number, or is short: a number, and not a name with one."""
    return value[0].isdigit() or len(value.split()) <= 2
