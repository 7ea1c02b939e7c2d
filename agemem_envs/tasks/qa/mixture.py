"""Stages 1 and 2 of the memory style: the sentences of several questions, one of which is asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from agemem_envs.episode import UNKNOWN
from agemem_envs.errors import ConfigurationError
from agemem_envs.tasks.base import Fact, Talk
from agemem_envs.tasks.qa.cases import (
    Case,
    Place,
    Variant,
    anchored,
    full_text,
    holds,
    stated,
)
from agemem_envs.tasks.qa.record import Paragraph
from agemem_envs.tasks.telling import Kind, Statement

MESSAGE_CHARS = 800
"""Characters of a message of stage 1, on average at most."""
LONGEST_SMALL_WORD = 3
"""Letters of the longest words that may stand in other sentences."""
SENTENCES_PER_QUESTION = 12
"""Stage 1 is about one question for so many sentences; near misses fill it up."""
MAX_PARAGRAPH = 500
"""Most characters of a paragraph; supporting sentences stay whatever their length."""
MIN_SENTENCE = 3
"""Fewest words of a sentence that is told, unless it supports the answer."""
TURNED_SHARE = 0.5
"""Probability that the answer in the text is the wrong one, where that can be done. What a model
knows of Wikipedia then does not answer the question."""
MOVED = (
    'Where I said "{wrong}", it should have been "{right}".',
    'I said "{wrong}" somewhere. Take it as "{right}".',
    'Replace "{wrong}" by "{right}" in what I told you.',
)
"""Corrections that do not name the subject."""


@dataclass(frozen=True, slots=True)
class MessageSizes:
    """How long the messages are.

    Attributes:
        statements: Most statements of a message of stage 1, however short they are.
        distractor: Least characters of a distractor, which is filled with whole paragraphs.
    """

    statements: int = 10
    distractor: int = 500


@dataclass(frozen=True, slots=True)
class Mixture:
    """What stage 1 tells, before it is known what changes.

    Attributes:
        groups: The statements, by paragraph.
        titles: The titles of these paragraphs.
        variants: The wrong versions of needed statements, by the statement that holds.
        answer: The answer by the statements that hold.
        gold: The text of the supporting sentences that hold.
    """

    groups: tuple[tuple[Statement, ...], ...]
    titles: frozenset[str]
    variants: dict[str, Variant]
    answer: str
    gold: str

    @property
    def size(self) -> int:
        """The number of statements."""
        return sum(map(len, self.groups))

    def message_size(self, sizes: MessageSizes) -> int:
        """The number of statements in a message of stage 1."""
        characters = sum(len(s.said or s.text) for group in self.groups for s in group)
        return min(sizes.statements, max(1, MESSAGE_CHARS * self.size // characters))


@dataclass(slots=True)
class _Chosen:
    """The paragraphs that are told of one question."""

    case: Case
    variants: list[Variant]
    paragraphs: list[Paragraph] = field(default_factory=list)


def questions_for(facts: int) -> int:
    """The number of questions that stage 1 is about."""
    return max(2, -(-facts // SENTENCES_PER_QUESTION))


def mix(
    target: Case,
    others: Sequence[Case],
    facts: int,
    generator: np.random.Generator,
) -> Mixture:
    """Choose the sentences of stage 1, and how each could change.

    Args:
        target: The question that stage 3 asks.
        others: Further questions.
        facts: Fewest sentences.
        generator: The only source of chance.

    Raises:
        ConfigurationError: The questions have fewer sentences.
    """
    cases = [target, *others]
    gold = [[s for _, ss in case.gold for s in ss] for case in cases]
    chosen = []
    for number, case in enumerate(cases):
        pool = [s for index, texts in enumerate(gold) if index != number for s in texts]
        chosen.append(_Chosen(case, case.variants(pool, generator)))
    titles = _choose_paragraphs(chosen, facts, generator)
    told = [stated(t, s) for c in chosen for t, ss in c.paragraphs for s in _kept(c, (t, ss))]
    said = [*told, *(v.wrong for c in chosen for v in c.variants)]
    sole = [v for v in chosen[0].variants if v.unknown and _is_sole(v, told)]
    withdrawn = {v.place for v in sole if generator.random() < target.withdrawn_share}
    turned = {v.place for v in sole if target.turns and generator.random() < TURNED_SHARE}
    asked = chosen[0]
    asked.variants = [_turned(v) if v.place in turned else v for v in asked.variants]
    holding = [v.value for v in asked.variants if v.place in turned]
    needed = _support(target)
    by_place = {v.place: v for v in asked.variants}
    groups: list[tuple[Statement, ...]] = []
    variants: dict[str, Variant] = {}
    for part in chosen:
        for paragraph in part.paragraphs:
            group: list[Statement] = []
            for place, statement in _statements(part, paragraph, said, generator):
                if part is asked:
                    statement = _asked(statement, place in needed, place in withdrawn)
                    if place in by_place:
                        variants[statement.text] = by_place[place]
                group.append(statement)
            groups.append(tuple(group))
    return Mixture(
        groups=tuple(groups),
        titles=frozenset(titles),
        variants=variants,
        answer=[target.record.answer, *holding][-1],
        gold="\n".join(s.text for s in itertools.chain(*groups) if s.needed),
    )


def _asked(statement: Statement, needed: bool, withdrawn: bool) -> Statement:
    """A statement about the question that is asked: only the answer is ever withdrawn."""
    return replace(
        statement,
        needed=needed,
        unknown=statement.unknown if withdrawn else "",
        must=Kind.WITHDRAWN if withdrawn else None,
    )


def stale_answers(
    target: Case, mixture: Mixture, changed: Sequence[tuple[Statement, Kind]]
) -> tuple[str, ...]:
    """Answers of a reader who believes statements that do not hold."""
    wrong = [mixture.variants[s.text] for s, kind in changed if kind is not Kind.WITHDRAWN]
    withdrawn = [mixture.answer for _, kind in changed if kind is Kind.WITHDRAWN]
    return tuple(dict.fromkeys([*withdrawn, *target.stale_answers(wrong)]))


def reference(mixture: Mixture, changed: Sequence[tuple[Statement, Kind]]) -> str:
    """The answer at the query."""
    withdrawn = any(kind is Kind.WITHDRAWN for _, kind in changed)
    return UNKNOWN if withdrawn else mixture.answer


def distract(
    target: Case,
    others: Sequence[Case],
    told: Set[str],
    key_items: Sequence[str],
    answers: Sequence[str],
    count: int,
    sizes: MessageSizes,
    where: str,
) -> tuple[Talk, ...]:
    """The messages of stage 2: whole paragraphs that resemble the question and do not answer it.

    Args:
        target: The question that stage 3 asks.
        others: Questions whose paragraphs may be used.
        told: Titles of stage 1.
        key_items: K_q, of which the messages leave out the longest.
        answers: Right and wrong answers, which the messages leave out.
        count: How many messages.
        sizes: How long they are.
        where: The data source, for the message.

    Raises:
        ConfigurationError: There are not enough paragraphs.
    """
    hidden = [*answers, *sorted(key_items, key=len)[-1:]]
    seen = set(told)
    found: list[tuple[float, Paragraph]] = []
    words = _words(target.record.question)
    for case in (target, *others):
        for title, sentences in case.record.context:
            paragraph = title, _shortened(sentences)
            text = full_text(paragraph)
            if title in seen or not paragraph[1] or any(holds(text, item) for item in hidden):
                continue
            seen.add(title)
            own = case is target
            found.append((float(own) + len(words & _words(text)) / (1 + len(words)), paragraph))
    found.sort(key=lambda item: -item[0])
    talks: list[Talk] = []
    facts: list[Fact] = []
    said: list[str] = []
    for _, (title, sentences) in found:
        if len(talks) == count:
            break
        facts += [Fact(stated(title, sentence)) for sentence in sentences]
        said += [stated(title, sentences[0]), *sentences[1:]]
        if len(" ".join(said)) >= sizes.distractor:
            talks.append(Talk(" ".join(said), tuple(facts)))
            facts, said = [], []
    if len(talks) < count:
        raise ConfigurationError(
            f"{where} has too few paragraphs for distractors={count} with facts: lower it"
        )
    return tuple(talks)


def _choose_paragraphs(
    chosen: Sequence[_Chosen], facts: int, generator: np.random.Generator
) -> set[str]:
    """Choose the gold paragraphs, those that wrong versions need, and near misses in turn."""
    titles: set[str] = set()
    size = 0

    def take(part: _Chosen, paragraph: Paragraph) -> None:
        nonlocal size
        if paragraph[0] not in titles:
            titles.add(paragraph[0])
            part.paragraphs.append(paragraph)
            size += len(_indices(part, paragraph))

    spare: list[list[Paragraph]] = []
    for part in chosen:
        case = part.case
        companions = [t for v in part.variants for t in v.companions]
        for paragraph in [*case.gold, *map(case.paragraph, dict.fromkeys(companions))]:
            take(part, paragraph)
        near = [p for p in case.near_misses if _shortened(p[1])]
        near = [p for p in near if not chosen[0].case.tells(p)]
        spare.append([near[index] for index in generator.permutation(len(near))])
    order = generator.permutation(len(chosen))
    for turn in range(max(map(len, spare))):
        for number in order:
            if turn < len(spare[number]) and (size < facts or turn == 0):
                take(chosen[number], spare[number][turn])
    if size < facts:
        raise ConfigurationError(f"{len(chosen)} questions have {size} sentences: lower facts")
    return titles


def _statements(
    part: _Chosen, paragraph: Paragraph, said: Sequence[str], generator: np.random.Generator
) -> Iterator[tuple[Place, Statement]]:
    """The told sentences of a paragraph as statements; only the first is said with the title."""
    title, sentences = paragraph
    variants = {variant.place: variant for variant in part.variants}
    for number, index in enumerate(_indices(part, paragraph)):
        variant = variants.get((title, index))
        sentence = variant.right if variant else _clean(sentences[index])
        statement = Statement(stated(title, sentence), said=sentence if number else "")
        if variant:
            statement = replace(
                statement,
                topic=variant.topic,
                wrong=stated(title, variant.wrong),
                moved=_moved(variant, said, generator),
                unknown=variant.unknown,
                said_wrong=variant.wrong if number else "",
            )
        yield (title, index), statement


def _moved(variant: Variant, said: Sequence[str], generator: np.random.Generator) -> str:
    """The correction by the old value; empty if the value's phrase is said more than once."""
    form = MOVED[int(generator.integers(len(MOVED)))]
    wrong = anchored(variant.wrong, variant.wrong_value)
    right = wrong.removesuffix(variant.wrong_value) + variant.value
    return form.format(wrong=wrong, right=right) if _is_unique(wrong, said) else ""


def _is_unique(phrase: str, texts: Sequence[str]) -> bool:
    return sum(text.count(phrase) for text in texts) == 1


def _is_sole(variant: Variant, told: Sequence[str]) -> bool:
    """Whether no other sentence holds the value, or its words together with the same title."""
    title, _ = variant.place
    others = [text for text in told if text != stated(title, variant.right)]
    words = [word for word in variant.value.split() if len(word) > LONGEST_SMALL_WORD]
    return not any(
        holds(text, variant.value) or (title in text and any(holds(text, w) for w in words))
        for text in others
    )


def _turned(variant: Variant) -> Variant:
    """The same sentence with the wrong version as the right one."""
    return replace(
        variant,
        right=variant.wrong,
        wrong=variant.right,
        value=variant.wrong_value,
        wrong_value=variant.value,
        stale=variant.value,
        unknown=variant.unknown.replace(variant.value, variant.wrong_value),
    )


def _support(case: Case) -> frozenset[Place]:
    """The supporting sentences; all of a gold paragraph whose annotations are beyond its end."""
    places: set[Place] = set()
    for title, sentences in case.gold:
        own = {(t, i) for t, i in case.record.supporting_facts if t == title}
        valid = {(t, i) for t, i in own if 0 <= i < len(sentences)}
        places |= valid or {(title, index) for index in range(len(sentences))}
    return frozenset(places)


def _indices(part: _Chosen, paragraph: Paragraph) -> list[int]:
    """The sentences of a paragraph that are told: supporting ones, and the first others."""
    title, sentences = paragraph
    support = _support(part.case)
    kept = {index for index in range(len(sentences)) if (title, index) in support}
    room = MAX_PARAGRAPH - sum(len(sentences[index]) for index in kept)
    for index, sentence in enumerate(sentences):
        if index not in kept and len(sentence) <= room and _is_sentence(sentence):
            kept.add(index)
            room -= len(sentence)
    return sorted(index for index in kept if sentences[index].strip())


def _kept(part: _Chosen, paragraph: Paragraph) -> tuple[str, ...]:
    return tuple(_clean(paragraph[1][index]) for index in _indices(part, paragraph))


def _shortened(sentences: Sequence[str]) -> tuple[str, ...]:
    """The first sentences of a paragraph."""
    kept: list[str] = []
    for sentence in filter(_is_sentence, map(_clean, sentences)):
        if sum(map(len, kept)) + len(sentence) > MAX_PARAGRAPH:
            break
        kept.append(sentence)
    return tuple(kept)


def _is_sentence(text: str) -> bool:
    return len(text.split()) >= MIN_SENTENCE


def _clean(sentence: str) -> str:
    return " ".join(sentence.split())


def _words(text: str) -> frozenset[str]:
    return frozenset(word for word in text.lower().split() if len(word) > 3)
