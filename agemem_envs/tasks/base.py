"""The interface between a benchmark and the environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agemem_envs.episode import Change, DataSource, Episode, Question
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.loading import load


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement of a message.

    Attributes:
        text: The statement, complete in itself.
        gold: The part of the text that the task needs, as far as one can tell when it is told;
            None if the task needs none of it.
    """

    text: str
    gold: str | None = None

    @property
    def needed(self) -> bool:
        """Whether the task needs the fact."""
        return self.gold is not None


@dataclass(frozen=True, slots=True)
class Talk:
    """One message of stage 1 or 2.

    Attributes:
        text: The message.
        facts: The statements that it makes.
        changes: The changes that it announces.
    """

    text: str
    facts: tuple[Fact, ...] = ()
    changes: tuple[Change, ...] = ()

    @classmethod
    def of(cls, fact: Fact) -> Talk:
        """A message that states one fact and nothing else."""
        return cls(fact.text, (fact,))


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task, frozen: everything that the environment and the scorers know about it.

    Attributes:
        id: The benchmark's own id.
        query: The question or goal of stage 3.
        knowledge: The messages of stage 1, in order.
        distractors: The messages of stage 2, in order.
        reference: The expected answer; :data:`~agemem_envs.episode.UNKNOWN` if the facts do not
            say; empty in interactive worlds.
        source: Where the task comes from.
        key_items: K_q: the names, numbers and times of the goal. The needed facts hold them, and
            the distractors alone do not.
        stale_answers: Answers that would follow from statements that do not hold.
        category: The benchmark's task type.
        difficulty: The benchmark's level, or empty.
        opening: The first observation of an interactive world, shown after the query; or empty.
        preamble: The text before the query in the first message of stage 3, or empty.
        briefing: The rules that the benchmark itself gives to a player. They are shown with the
            query if stage 1 is not run; otherwise they are part of the knowledge.
        expert_actions: The number of actions that an expert takes; None if it is not known.
        questions: The questions of a task that asks several about one memory, in order. The
            environment asks and scores them; :meth:`Task.step` is then not called. ``query`` says
            what they are about.
    """

    id: str
    query: str
    knowledge: tuple[Talk, ...]
    distractors: tuple[Talk, ...]
    reference: str
    source: DataSource
    key_items: tuple[str, ...] = ()
    stale_answers: tuple[str, ...] = ()
    category: str = ""
    difficulty: str = ""
    opening: str = ""
    preamble: str = ""
    briefing: str = ""
    expert_actions: int | None = None
    questions: tuple[Question, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes that the messages announce, in order."""
        return tuple(c for talk in (*self.knowledge, *self.distractors) for c in talk.changes)

    @property
    def gold_facts(self) -> tuple[str, ...]:
        """The statements that the task needs, as they hold at the query, in the order told."""
        talks = (*self.knowledge, *self.distractors)
        told = (fact.gold for talk in talks for fact in talk.facts if fact.gold is not None)
        valid = {change.stale: change.valid for change in self.changes if change.needed}
        texts = [*(valid.get(text, text) for text in told), *valid.values()]
        return tuple(dict.fromkeys(texts))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The effect of an action in stage 3.

    Attributes:
        observation: The world's reply; empty if there is none.
        progress: The best progress so far, in [0, 1].
        success: Success as the benchmark defines it, which is more than termination.
        done: Whether the world has ended.
        score: The task's own score in [0, 1]; None if a judge must score the answer.
        refused: Whether the world did not accept the action.
    """

    observation: str
    progress: float
    success: bool
    done: bool
    score: float | None
    refused: bool = False


class Task(ABC):
    """A benchmark, one task of it at a time.

    The docstring of a subclass is its data sheet: task, actions, observation, progress and
    success, splits and counts, data source, licence, known departures. A registered class
    takes ``split`` and its other options as keyword arguments, all with defaults.
    """

    name: str
    """The benchmark's name, in lower case."""
    interactive: bool
    """Whether ``<answer>`` in stage 3 is an action in a world, or the final answer."""
    default_task_rounds: int = 12
    """Rounds of stage 3, unless the environment is made with others."""
    default_task_actions: int = 1
    """World actions of stage 3, unless the environment is made with others."""
    variant: str = ""
    """The task's own options that differ from the defaults, as text. It is recorded in an
    episode's settings, so that results of different variants are never averaged."""

    source: DataSource
    """Where this split's tasks come from."""

    @abstractmethod
    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """Choose ``count`` distinct task ids, in an order that depends on ``seed`` alone.

        Args:
            count: How many; None for the whole split.
            seed: Chooses and orders the ids; a larger count begins with the same ids.

        Raises:
            ConfigurationError: The split has fewer tasks, or no end and ``count`` is None.
        """

    @abstractmethod
    def sample_id(self, generator: np.random.Generator) -> str:
        """Draw a task id uniformly from the split."""

    @abstractmethod
    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin a task.

        Args:
            task_id: One of the split's ids.
            generator: The episode's generator, the only source of chance.
            with_stage_messages: Whether stages 1 and 2 are run. If not, knowledge and
                distractors may be left empty, where making them takes long.

        Raises:
            UnknownNameError: The split has no such task.
            SimulatorError: The simulator cannot be started, or fails.
        """

    @abstractmethod
    def step(self, action: str) -> Outcome:
        """Carry out an answer of stage 3: any text, without raising."""

    def admissible_actions(self) -> Sequence[str]:
        """The actions that the world accepts now; empty if it accepts any text."""
        return ()

    def expert_action(self) -> str | None:
        """The next action of an expert that knows the whole world; None if it has none."""
        return None

    def explorer_action(self) -> str | None:
        """The next action of a competent player that knows only the observations so far.

        None if the benchmark has no such player. Call it before every step of an episode, from
        the first on: it learns from the observations that it has seen.
        """
        return None

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """Further scores of a finished episode, as the benchmark defines them."""
        return {}

    def close(self) -> None:
        """Release simulators. Calling it again has no effect."""


def choose_ids(ids: Sequence[str], count: int | None, seed: int, where: str) -> list[str]:
    """Return the first ``count`` of a seeded permutation of ``ids``.

    Args:
        ids: In a fixed order.
        count: How many; None for all.
        seed: Of the permutation.
        where: The data source, for the message.

    Raises:
        ConfigurationError: There are fewer than ``count`` ids.
    """
    if count is not None and count > len(ids):
        raise ConfigurationError(f"{where} has {len(ids)} tasks, not {count}: ask for fewer")
    order = np.random.default_rng(seed).permutation(len(ids))
    return [ids[index] for index in order[:count]]


def make_task(spec: str | Task, options: Mapping[str, Any]) -> Task:
    """Make a task from ``"module:Class"`` and its options, or return the given task.

    Raises:
        ConfigurationError: The class does not take an option, or a task was given together
            with options.
    """
    if isinstance(spec, Task):
        if options:
            raise ConfigurationError(f"unknown arguments: {', '.join(options)}")
        return spec
    task_class = load(spec)
    try:
        task: Task = task_class(**options)
    except TypeError as error:
        raise ConfigurationError(f"{task_class.__name__}: {error}") from error
    return task
