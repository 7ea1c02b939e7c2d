"""The task ids of a split: listed in its data, or generated without limit."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.tasks.base import Task, choose_ids
from agemem_envs.util.sanitize import natural_number

IDS_PER_SEED = 1_000_000
"""Most generated tasks that a run may ask for; each seed has as many of its own."""
MAX_NUMBER = IDS_PER_SEED**2
"""Upper bound of the numbers of generated tasks, exclusive."""
MAX_SUGGESTIONS = 5
"""Task ids that the message about an unknown one names."""


class Catalogue(Protocol):
    """The task ids of a split."""

    def choose(self, count: int | None, seed: int) -> list[str]:
        """Choose ``count`` distinct ids, as :meth:`Task.task_ids` documents."""

    def sample(self, generator: np.random.Generator) -> str:
        """Draw an id uniformly."""


class CataloguedTask(Task):
    """A task whose ids come from :attr:`catalogue`, which its ``__init__`` sets."""

    catalogue: Catalogue

    def task_ids(self, count: int | None, seed: int) -> list[str]:
        """Choose ``count`` ids from the catalogue."""
        return self.catalogue.choose(count, seed)

    def sample_id(self, generator: np.random.Generator) -> str:
        """Draw an id from the catalogue."""
        return self.catalogue.sample(generator)


class ListedIds:
    """Ids that are listed in a split's data.

    Args:
        ids: In a fixed order.
        where: The data source, for messages.
    """

    def __init__(self, ids: Sequence[str], where: str) -> None:
        self._ids = tuple(ids)
        self._set = frozenset(ids)
        self._where = where

    def choose(self, count: int | None, seed: int) -> list[str]:
        """Return the first ``count`` ids of a seeded permutation.

        Raises:
            ConfigurationError: The list is shorter.
        """
        return choose_ids(self._ids, count, seed, self._where)

    def sample(self, generator: np.random.Generator) -> str:
        """Draw an id uniformly."""
        return self._ids[int(generator.integers(len(self._ids)))]

    def check(self, task_id: str) -> None:
        """Make sure that an id is listed.

        Raises:
            UnknownNameError: It is not; the message names similar ones.
        """
        if task_id not in self._set:
            similar = difflib.get_close_matches(task_id, self._ids, MAX_SUGGESTIONS)
            names = similar or self._ids[:MAX_SUGGESTIONS]
            raise UnknownNameError(f"task id of {self._where}", task_id, names)


class GeneratedIds:
    """Ids of tasks that a generator makes from a kind and a number.

    Args:
        prefix: What precedes the number, with ``{kind}`` for the kind.
        kinds: The kinds of tasks; they take turns, and each is drawn as often.
        where: The data source, for messages.
    """

    def __init__(self, prefix: str, kinds: Sequence[str], where: str) -> None:
        self._prefixes = {kind: prefix.format(kind=kind) for kind in kinds}
        self._kinds = tuple(kinds)
        self._where = where

    def choose(self, count: int | None, seed: int) -> list[str]:
        """Return ``count`` ids whose numbers no other seed has.

        Raises:
            ConfigurationError: ``count`` or ``seed`` is out of range.
        """
        numbers, kinds = generated_numbers(count, seed, self._where), self._kinds
        return [
            f"{self._prefixes[kinds[index % len(kinds)]]}{numbers[index // len(kinds)]}"
            for index in range(len(numbers))
        ]

    def sample(self, generator: np.random.Generator) -> str:
        """Draw a kind, then a number."""
        kind = self._kinds[int(generator.integers(len(self._kinds)))]
        return f"{self._prefixes[kind]}{generator.integers(MAX_NUMBER)}"

    def parse(self, task_id: str) -> tuple[str, int]:
        """Split an id into its kind and number.

        Raises:
            UnknownNameError: The id is not of this form.
        """
        for kind, prefix in self._prefixes.items():
            number = natural_number(task_id.removeprefix(prefix))
            if task_id.startswith(prefix) and number is not None:
                return kind, number
        forms = [f"{prefix}<number>" for prefix in self._prefixes.values()]
        raise UnknownNameError(f"task id of {self._where}", task_id, forms)


def generated_numbers(count: int | None, seed: int, where: str) -> range:
    """The numbers of ``count`` generated tasks; seeds have no number in common.

    Args:
        count: How many; a larger count begins with the same numbers.
        seed: Chooses the numbers.
        where: The data source, for messages.

    Raises:
        ConfigurationError: ``count`` or ``seed`` is out of range.
    """
    size = finite_count(count, where)
    if not 0 <= seed < IDS_PER_SEED:
        raise ConfigurationError(f"seed must be in [0, {IDS_PER_SEED}), got {seed}")
    start = seed * IDS_PER_SEED
    return range(start, start + size)


def finite_count(count: int | None, where: str) -> int:
    """Check the number of tasks that are asked of a generator, which cannot list all.

    Raises:
        ConfigurationError: ``count`` is None or above :data:`IDS_PER_SEED`.
    """
    if count is None or count > IDS_PER_SEED:
        asked = "all" if count is None else count
        raise ConfigurationError(
            f"the tasks of {where} are unlimited: request at most {IDS_PER_SEED}, not {asked}"
        )
    return count
