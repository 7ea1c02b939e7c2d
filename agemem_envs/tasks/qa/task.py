"""Question answering in HotpotQA's schema: the base of two benchmarks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from agemem_envs.episode import UNKNOWN, Episode
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.judging.abstention import canonical
from agemem_envs.judging.hotpot_metrics import (
    exact_match,
    joint_scores,
    normalize_answer,
    supporting_fact_scores,
    token_f1,
)
from agemem_envs.tasks.amounts import check_counts
from agemem_envs.tasks.base import Fact, Outcome, Talk, TaskSpec
from agemem_envs.tasks.catalogue import CataloguedTask
from agemem_envs.tasks.qa.cases import VERDICTS, Case, full_text
from agemem_envs.tasks.qa.key_items import supported_key_items
from agemem_envs.tasks.qa.mixture import (
    MessageSizes,
    distract,
    mix,
    questions_for,
    reference,
    stale_answers,
)
from agemem_envs.tasks.qa.record import Paragraph, QARecord
from agemem_envs.tasks.telling import both_stages, tell

NOISE, DISTRACTORS = 3, 5
"""Unneeded paragraphs of stage 1, and most paragraphs of stage 2, by default."""

LATE_SHARE = 0.15
"""Probability that a correction comes in stage 2, where it may hold the question's names."""
MAX_DRAWS = 2_000
"""Most questions that are looked at to find further ones."""
PARAGRAPHS, SENTENCES = 10, 10
"""Most paragraphs, and sentences of each, that are told together."""
HOW_TO_ABSTAIN = f" If what you were told does not say, answer: {UNKNOWN}"


class QATask(CataloguedTask):
    """Multi-hop question answering over ten paragraphs; the base of two benchmarks.

    - Without ``facts``: stage 1 tells the gold paragraphs and ``noise`` others, stage 2 the
      remaining ones (at most ``distractors``), stage 3 asks the question.
    - With ``together``: stage 1 tells all paragraphs of the question in one message, at most ten,
      in the order of the data, with at most ten sentences each. Stage 2 tells paragraphs of other
      questions. Gold are the supporting sentences that were told; there may be none.
    - With ``facts`` (the memory style): stage 1 tells sentences of about one question for every
      twelve facts, with near misses, and changes some. Stage 2 tells other paragraphs that
      resemble the question. Stage 3 asks one of the questions. Its answer may have been
      withdrawn: the right answer is then :data:`~agemem_envs.episode.UNKNOWN`.
    - Success: exact match. Progress: token F1. Both as HotpotQA's scorer defines them; all ways
      to say that the answer is not known are one answer. The reward's task score is the judge's.

    Args:
        noise: Paragraphs of stage 1 that are not needed; with ``facts``, near misses fill up.
        distractors: Messages of stage 2; without ``facts``, at most so many.
        facts: Fewest sentences of stage 1; 0 for a few paragraphs of one question.
        updates: Statements that change; without ``facts``, none does.
        together: Tell the question's paragraphs in one message.

    Attributes:
        message_sizes: How long the messages of the memory style are.

    Raises:
        ConfigurationError: A number is negative, or both ``facts`` and ``together`` are given.
    """

    interactive = False
    message_sizes = MessageSizes()

    def __init__(
        self,
        noise: int = NOISE,
        distractors: int = DISTRACTORS,
        facts: int = 0,
        updates: int = 0,
        together: bool = False,
    ) -> None:
        if together and facts:
            raise ConfigurationError(
                "together tells one question: it cannot be combined with facts"
            )
        check_counts(noise=noise, distractors=distractors, facts=facts, updates=updates)
        self._noise = noise
        self._distractors = distractors
        self._facts = facts
        self._updates = updates
        self._together = together
        if together:
            self.variant = f"distractors={distractors}, together=True"
        elif facts:
            self.variant = f"distractors={distractors}, facts={facts}, updates={updates}"
        elif (noise, distractors) != (NOISE, DISTRACTORS):
            self.variant = f"noise={noise}, distractors={distractors}"
        self._record: QARecord | None = None
        self._reference = ""

    @abstractmethod
    def record(self, task_id: str) -> QARecord:
        """Return the record with this id.

        Raises:
            UnknownNameError: No record has this id.
        """

    @abstractmethod
    def case(self, task_id: str) -> Case:
        """Return the question with this id, and what the memory style needs of it.

        Raises:
            UnknownNameError: No record has this id.
        """

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Choose and order what both stages tell."""
        case = self.case(task_id)
        record = self._record = case.record
        if self._together:
            spec = self._told_together(case, generator)
        elif not self._facts:
            spec = self._plain(record, generator)
        elif any(fact.needed for fact in record.facts()):
            spec = self._mixed(case, generator)
        else:
            raise DataFormatError(
                f"question {record.id!r}: none of its supporting paragraphs is in its context "
                "(HotpotQA's fullwiki setting?). Use the distractor setting, facts=0 or "
                'protocol="release".'
            )
        self._reference = spec.reference
        return spec

    def _told_together(self, case: Case, generator: np.random.Generator) -> TaskSpec:
        """One question: all its paragraphs in one message, then paragraphs of other questions."""
        record = case.record.shortened(PARAGRAPHS, SENTENCES)
        if not record.context:
            raise DataFormatError(f"question {record.id!r} has no paragraphs")
        facts = record.facts()
        supporting = "\n".join(fact.gold for fact in facts if fact.gold is not None)
        told = Talk("\n".join(fact.text for fact in facts), facts)
        return TaskSpec(
            id=record.id,
            query=record.question,
            knowledge=(told,),
            distractors=self._unrelated(case, generator),
            key_items=supported_key_items(record.question, supporting, _gold_titles(record)),
            reference=record.answer,
            source=self.source,
            category=record.type,
            difficulty=record.level,
        )

    def _unrelated(self, case: Case, generator: np.random.Generator) -> tuple[Talk, ...]:
        """Paragraphs of other questions, one of each; fewer if the data has too few questions."""
        others = self._look_for(self._distractors, {case.record.id}, generator, case.tells)
        told = {title for title, _ in case.record.context}
        talks = []
        for other in others:
            context = other.record.shortened(PARAGRAPHS, SENTENCES).context
            usable = [p for p in context if p[0] not in told and not case.tells(p)]
            if usable:
                paragraph = usable[int(generator.integers(len(usable)))]
                talks.append(Talk.of(Fact(full_text(paragraph))))
        return tuple(talks)

    def _plain(self, record: QARecord, generator: np.random.Generator) -> TaskSpec:
        """One question: its gold paragraphs and some others, then the rest."""
        facts = record.facts()
        gold = [fact for fact in facts if fact.needed]
        others = [fact for fact in facts if not fact.needed]
        order = generator.permutation(len(others))
        others = [others[index] for index in order]
        first_stage = gold + others[: self._noise]
        left = others[self._noise : self._noise + self._distractors]
        supporting = "\n".join(fact.gold or "" for fact in gold)
        return TaskSpec(
            id=record.id,
            query=record.question,
            knowledge=tuple(
                Talk.of(first_stage[index]) for index in generator.permutation(len(first_stage))
            ),
            distractors=tuple(map(Talk.of, left)),
            key_items=supported_key_items(record.question, supporting, _gold_titles(record)),
            reference=record.answer,
            source=self.source,
            category=record.type,
            difficulty=record.level,
        )

    def _mixed(self, case: Case, generator: np.random.Generator) -> TaskSpec:
        """One of several questions: sentences of all, some of which change."""
        record = case.record
        seen = {record.id}
        asked = self._draw(questions_for(self._facts) - 1, seen, generator, unless=case.tells)
        mixture = mix(case, asked, self._facts, generator)
        told = tell(
            mixture.groups,
            self._updates,
            generator,
            size=mixture.message_size(self.message_sizes),
            late_share=LATE_SHARE,
        )
        stale = stale_answers(case, mixture, told.changed)
        key_items = supported_key_items(record.question, mixture.gold, _gold_titles(record))
        answers = [a for a in (record.answer, mixture.answer, *stale) if a.lower() not in VERDICTS]
        sources = self._draw(self._distractors, seen, generator)
        distractors = distract(
            case,
            sources,
            mixture.titles,
            key_items,
            answers,
            self._distractors,
            self.message_sizes,
            str(self.source),
        )
        knowledge, distractors = both_stages(told.knowledge, distractors, told.late, generator)
        return TaskSpec(
            id=record.id,
            query=record.question + HOW_TO_ABSTAIN,
            knowledge=knowledge,
            distractors=distractors,
            key_items=key_items,
            reference=reference(mixture, told.changed),
            stale_answers=stale,
            source=self.source,
            category=record.type,
            difficulty=record.level,
        )

    def _draw(
        self,
        count: int,
        seen: set[str],
        generator: np.random.Generator,
        unless: Callable[[Paragraph], bool] = lambda _: False,
    ) -> list[Case]:
        """Draw further questions of the split.

        Args:
            count: How many.
            seen: Ids that are not drawn again; those that are drawn are added.
            generator: The only source of chance.
            unless: A question with such a gold paragraph is not drawn.

        Raises:
            ConfigurationError: The split has too few questions.
        """
        found = self._look_for(count, seen, generator, unless)
        if len(found) == count:
            return found
        raise ConfigurationError(
            f"{self.source} has too few questions for facts={self._facts} and "
            f"distractors={self._distractors}: use fewer, or facts=0"
        )

    def _look_for(
        self,
        count: int,
        seen: set[str],
        generator: np.random.Generator,
        unless: Callable[[Paragraph], bool],
    ) -> list[Case]:
        """As :meth:`_draw`, but fewer questions if the split has too few."""
        found: list[Case] = []
        for _ in range(MAX_DRAWS):
            if len(found) == count:
                return found
            task_id = self.sample_id(generator)
            if task_id in seen:
                continue
            case = self.case(task_id)
            if case.gold and not any(map(unless, case.gold)):
                seen.add(task_id)
                found.append(case)
        return found

    def step(self, action: str) -> Outcome:
        """Take the final answer."""
        self._current()
        answer = canonical(action)
        success = bool(exact_match(answer, self._reference))
        f1 = 1.0 if success else token_f1(answer, self._reference)[0]
        return Outcome("", progress=f1, success=success, done=True, score=None)

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """EM and F1 of the answer, of the supporting facts in memory, and of both together."""
        record = self._current()
        memories = [set(normalize_answer(item.content).split()) for item in episode.memories]
        remembered = [
            (title, index)
            for title, sentences in record.context
            for index, sentence in enumerate(sentences)
            if _is_remembered(set(normalize_answer(sentence).split()), memories)
        ]
        facts = supporting_fact_scores(remembered, record.supporting_facts)
        answer = (0.0, 0.0, 0.0, 0.0)
        if episode.prediction is not None:
            prediction = canonical(episode.prediction)
            answer = (
                exact_match(prediction, self._reference),
                *token_f1(prediction, self._reference),
            )
        joint_em, joint_f1 = joint_scores(answer, facts)
        of_memory: dict[str, float | None] = {
            "sp_em": facts[0], "sp_f1": facts[1], "joint_em": joint_em, "joint_f1": joint_f1,
        }  # fmt: skip
        if not episode.memories_listed:
            of_memory = dict.fromkeys(of_memory)
        return {"em": answer[0], "f1": answer[1], **of_memory}

    def _current(self) -> QARecord:
        if self._record is None:
            raise ConfigurationError("no task has begun: call reset() first")
        return self._record


def _gold_titles(record: QARecord) -> list[str]:
    return list(dict.fromkeys(title for title, _ in record.supporting_facts))


REMEMBERED_SHARE = 0.8
"""A sentence counts as remembered if one memory holds this share of its distinct words."""


def _is_remembered(words: set[str], memories: list[set[str]]) -> bool:
    needed = REMEMBERED_SHARE * len(words)
    return bool(words) and any(len(words & memory) >= needed for memory in memories)
