"""Several questions about one memory: each is asked of the context as stage 3 found it."""

from __future__ import annotations

from dataclasses import dataclass, field

from agemem_envs.context import Context
from agemem_envs.episode import Asked, Message, Question, StopReason
from agemem_envs.judging.answers import answer_score


@dataclass(slots=True)
class Asking:
    """The questions of stage 3, one after the other.

    No answer, tool result or summary of a question is in the context of another.

    Attributes:
        questions: The questions, in order; at least one.
        asked: Those that have ended.
    """

    questions: tuple[Question, ...]
    asked: list[Asked] = field(default_factory=list)
    _before: tuple[Message, ...] | None = None

    @property
    def current(self) -> Question:
        """The question in progress; the last one if all have ended."""
        return self.questions[min(len(self.asked), len(self.questions) - 1)]

    @property
    def ended(self) -> bool:
        """Whether all questions have ended."""
        return len(self.asked) == len(self.questions)

    def prepare(self, context: Context) -> None:
        """Put the context into the state that it had before the first question."""
        if self._before is None:
            self._before = tuple(context.messages)
        else:
            context.restore(self._before)

    def end(self, why: StopReason, prediction: str | None) -> None:
        """End the question in progress, with its answer or without one."""
        self.asked.append(_asked(self.current, why, prediction))

    def complete(self, why: StopReason) -> tuple[Asked, ...]:
        """All questions; those that were never asked ended as the episode did."""
        left = self.questions[len(self.asked) :]
        return (*self.asked, *(_asked(question, why, None) for question in left))

    @property
    def progress(self) -> float:
        """The mean score of all questions, in [0, 1]; those not asked yet count 0."""
        return sum(one.score for one in self.asked) / len(self.questions)


def _asked(question: Question, why: StopReason, prediction: str | None) -> Asked:
    return Asked(question, prediction, answer_score(question, prediction), why)
