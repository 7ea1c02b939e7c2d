"""What a benchmark supplies to the environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agemem_envs.episode import DataSource, Episode
from agemem_envs.errors import ConfigurationError
from agemem_envs.util.loading import load


@dataclass(frozen=True, slots=True)
class Fact:
    """One piece of knowledge that is told in stage 1.

    Attributes:
        text: What is told.
        gold: The part of it that the task needs, worth keeping; None if it needs nothing.
    """

    text: str
    gold: str | None = None

    @property
    def needed(self) -> bool:
        """Whether the task cannot be done well without it."""
        return self.gold is not None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task, frozen: everything the environment and the scorers know of it.

    Attributes:
        id: The benchmark's own id.
        query: The question or goal of stage 3.
        knowledge: What is told in stage 1, in order.
        distractors: What is told in stage 2, in order.
        reference: The expected answer; empty in interactive worlds.
        source: Where the task came from.
        category: The benchmark's task type.
        difficulty: The benchmark's level, or empty.
        opening: What an interactive world shows first, told after the query; or empty.
        briefing: The rules that the benchmark itself tells a player. They are told with
            the query when stage 1 is not run; else they are part of the knowledge.
    """

    id: str
    query: str
    knowledge: tuple[Fact, ...]
    distractors: tuple[str, ...]
    reference: str
    source: DataSource
    category: str = ""
    difficulty: str = ""
    opening: str = ""
    briefing: str = ""

    @property
    def gold_facts(self) -> tuple[str, ...]:
        """The needed parts of the knowledge, in the order in which they are told."""
        return tuple(fact.gold for fact in self.knowledge if fact.gold is not None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action in stage 3 did.

    Attributes:
        observation: The world's reply; empty if there is none.
        progress: The best progress so far, in [0, 1].
        success: The benchmark's own success, never mere termination.
        done: Whether the world accepts no further action.
        score: The task's own score in [0, 1]; None if a judge must score the answer.
    """

    observation: str
    progress: float
    success: bool
    done: bool
    score: float | None


class Task(ABC):
    """A benchmark, one task of it at a time.

    The docstring of a subclass is its data sheet: task, actions, observation, progress
    and success, splits and counts, data source, licence, known departures. A class that is
    registered takes a ``split`` and whatever other options it has as keyword arguments, all
    with defaults.
    """

    name: str
    """The benchmark's name, in lower case."""
    interactive: bool
    """Whether ``<answer>`` in stage 3 is an action in a world, or the final answer."""
    default_task_rounds: int = 12
    default_task_actions: int = 1
    variant: str = ""
    """The task's own options where they are not its defaults: it becomes part of an episode's
    settings, so that results of different variants are never averaged."""

    source: DataSource
    """Where this split's tasks come from."""

    @abstractmethod
    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """``count`` distinct task ids in an order that depends on ``seed`` alone.

        Args:
            count: None for the whole split.
            seed: Chooses and orders them; a larger count begins with the same ids.

        Raises:
            ConfigurationError: The split has fewer.
        """

    @abstractmethod
    def sample_id(self, generator: np.random.Generator) -> str:
        """A task id drawn uniformly from the split."""

    @abstractmethod
    def reset(
        self, task_id: str, generator: np.random.Generator, *, with_stage_messages: bool = True
    ) -> TaskSpec:
        """Begin a task.

        Args:
            task_id: One of the split's ids.
            generator: The episode's own; the only source of chance.
            with_stage_messages: Whether stages 1 and 2 are run. If not, knowledge and
                distractors may be left empty, where making them takes long.

        Raises:
            UnknownNameError: The split has no such task.
            SimulatorError: The simulator cannot be started, or fails.
        """

    @abstractmethod
    def step(self, action: str) -> Outcome:
        """Carry out an answer of stage 3. Takes any text without raising."""

    def admissible_actions(self) -> Sequence[str]:
        """The actions that the world would accept now; empty if any text is one."""
        return ()

    def expert_action(self) -> str | None:
        """The next action of an expert who knows the world; None if it knows none."""
        return None

    def explorer_action(self) -> str | None:
        """The next action of a competent player who knows only what was observed so far.

        None if the benchmark has no such player. Where it has, it is asked before every step
        of an episode, from the first on: a player that comes in late knows less than was
        shown.
        """
        return None

    def metrics(self, episode: Episode) -> dict[str, float | None]:
        """The benchmark's further scores of a finished episode."""
        return {}

    def close(self) -> None:
        """Release simulators. Calling it again has no effect."""


def choose_ids(known: Sequence[str], count: int | None, seed: int, where: str) -> list[str]:
    """The first ``count`` of a seeded permutation of ``known``.

    Raises:
        ConfigurationError: There are fewer than ``count``.
    """
    if count is not None and count > len(known):
        raise ConfigurationError(f"{count} tasks were asked for, {where} has {len(known)}")
    order = np.random.default_rng(seed).permutation(len(known))
    return [known[index] for index in order[:count]]


def make_task(spec: str | Task, options: Mapping[str, Any]) -> Task:
    """A task from ``"module:Class"`` and its options, or the given object itself.

    Raises:
        ConfigurationError: The class does not take an option, or an object was given
            together with options.
    """
    if isinstance(spec, Task):
        if options:
            raise ConfigurationError(f"unknown arguments: {', '.join(options)}")
        return spec
    made = load(spec)
    try:
        task: Task = made(**options)
    except TypeError as error:
        raise ConfigurationError(f"{made.__name__}: {error}") from error
    return task
