"""Question answering over sessions: the base of three benchmarks."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from agemem_envs.data import data_folder, warn_embedded
from agemem_envs.episode import MAX_GOLD_FACTS, UNKNOWN, DataSource, Question
from agemem_envs.errors import DataFormatError, UnknownNameError
from agemem_envs.judging.answers import answer_score
from agemem_envs.tasks.base import Outcome, TaskSpec
from agemem_envs.tasks.catalogue import CataloguedTask, GeneratedIds, ListedIds
from agemem_envs.tasks.conversations.generator import LOCATION, VERSION, make_conversation
from agemem_envs.tasks.conversations.messages import told
from agemem_envs.tasks.conversations.record import Conversation

HOW_TO_ABSTAIN = f" If what you were told does not say, answer: {UNKNOWN}"


class ConversationTask(CataloguedTask):
    """Questions about a conversation of many sessions; the base of three benchmarks.

    - Task: a task is a conversation with all its questions. Its sessions are told in their order,
      each below its date: the last of several in stage 2, all others in stage 1. A message is a
      run of turns of one session, of at most about 300 tokens.
    - Stage 3 asks the questions one after the other. The memory is built once and can then be read
      only. Each question has its own rounds and the context that stage 3 began with, so that
      nothing of one question is seen by the next.
    - Actions: ``<answer>`` answers the question. Each question says how to abstain.
    - Progress: the mean score of the questions. The score is LoCoMo's F1, as
      :mod:`agemem_envs.judging.answers` defines it, and needs no judge. Success: every question
      has the score 1. The reward's task score is the mean of the judge's scores.
    - Metrics: ``f1`` and ``contains`` (whether an answer holds the reference) over all questions,
      and ``f1_<type>`` over those of each type.

    Args:
        split: The split of the data, or the split of the embedded data.
        data: ``auto``, ``embedded``, or a path to a file or folder in the original schema.

    Raises:
        UnknownNameError: The split is unknown.
        DataNotFoundError: The requested data does not exist.
        DataFormatError: The data does not follow the benchmark's schema.
    """

    interactive = False
    title: ClassVar[str]
    """The benchmark's name as its authors write it."""
    splits: ClassVar[tuple[str, ...]]
    """The splits of the benchmark's own data."""
    remedy: ClassVar[str]
    """How to get the benchmark's own data, for the warning that it is missing."""
    types: ClassVar[Mapping[str, str]]
    """The benchmark's types of questions, by the kinds of the embedded data."""
    hint: ClassVar[str] = HOW_TO_ABSTAIN
    """What follows every question; empty if no question is one to abstain from."""

    def __init__(self, split: str, data: str | os.PathLike[str] = "auto") -> None:
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits)
        self._split = split
        self._conversations: Mapping[str, Conversation] | None = None
        choice = str(data)
        if choice == "auto":
            choice = self._find()
        if choice == "embedded":
            self.source = DataSource(self.name, "embedded", split, VERSION, LOCATION)
            prefix = f"{self.name}-{split}-"
            self._generated = GeneratedIds(prefix, ("conversation",), str(self.source))
            self.catalogue = self._generated
        else:
            self._conversations, self.source = self.read(Path(choice), split)
            self._listed = ListedIds(sorted(self._conversations), str(self.source))
            self.catalogue = self._listed
        self._questions: tuple[Question, ...] = ()

    @abstractmethod
    def read(self, path: Path, split: str) -> tuple[Mapping[str, Conversation], DataSource]:
        """Read the benchmark's own data.

        Args:
            path: A file or a folder.
            split: One of :attr:`splits`.

        Raises:
            DataNotFoundError: There is no such file.
            DataFormatError: A file does not follow the schema.
        """

    def _find(self) -> str:
        """Resolve ``data="auto"``."""
        folder = data_folder(self.name)
        if folder is not None:
            return str(folder)
        warn_embedded(self.title, self.remedy)
        return "embedded"

    def conversation(self, task_id: str) -> Conversation:
        """The conversation with this id.

        Raises:
            UnknownNameError: There is none.
        """
        if self._conversations is None:
            _, number = self._generated.parse(task_id)
            return make_conversation(task_id, f"{self.name}/{self._split}/{number}", self.types)
        self._listed.check(task_id)
        return self._conversations[task_id]

    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Tell the sessions in their order, and ask all questions."""
        conversation = self.conversation(task_id)
        needed = frozenset(id_ for query in conversation.queries for id_ in query.evidence)
        if len(needed) > MAX_GOLD_FACTS:
            raise DataFormatError(
                f"{self.source}: the questions of {task_id!r} name {len(needed)} turns as "
                f"evidence, more than {MAX_GOLD_FACTS}"
            )
        knowledge, distractors = told(conversation, needed)
        questions = self._questions = self._all_of(conversation)
        first, *others = questions
        return TaskSpec(
            id=conversation.id,
            query=f"{len(questions)} questions about {conversation.about}"
            if others
            else first.query,
            knowledge=knowledge,
            distractors=distractors,
            reference="" if others else first.reference,
            source=self.source,
            category=conversation.type or ("" if others else first.category),
            questions=questions,
        )

    def step(self, action: str) -> Outcome:
        """Score an answer to the last question; the environment scores all answers by itself."""
        score = answer_score(self._questions[-1], action) if self._questions else 0.0
        return Outcome("", progress=score, success=score == 1.0, done=True, score=None)

    def _all_of(self, conversation: Conversation) -> tuple[Question, ...]:
        """The questions, each with its evidence as statements."""
        statements = {
            turn.id: session.statement(turn)
            for session in conversation.sessions
            for turn in session.turns
        }
        return tuple(
            Question(
                id=query.id,
                query=query.text + self.hint,
                reference=query.answer,
                category=query.type,
                gold_facts=tuple(
                    dict.fromkeys(statements[id_] for id_ in query.evidence if id_ in statements)
                ),
                accepted=query.accepted,
                scoring=query.scoring,
            )
            for query in conversation.queries
        )
