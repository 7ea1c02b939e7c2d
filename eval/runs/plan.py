"""The plan of a run: all its episodes, listed before anything slow is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from agemem.eval.paper.task_lists import tasks_of_endless
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.result import Key, Result
from agemem_envs import ENVS
from agemem_envs.errors import ConfigurationError
from agemem_envs.protocols import resolve
from agemem_envs.seeding import episode_seed
from agemem_envs.tasks.base import make_task


@dataclass(frozen=True, slots=True)
class Planned:
    """One episode to play."""

    env_id: str
    index: int
    task_id: str
    seed: int

    @property
    def key(self) -> Key:
        """The key of the episode within its run, the same as :attr:`Result.key`."""
        return self.env_id, self.index


@dataclass(frozen=True, slots=True)
class Plan:
    """All episodes of a run, and the data sources of their tasks.

    Attributes:
        episodes: The episodes, in the order of the configured environments.
        sources: The data source of each environment.
    """

    episodes: tuple[Planned, ...]
    sources: dict[str, str]

    def missing(self, done: Iterable[Result]) -> list[Planned]:
        """The episodes that are not done yet, in order."""
        played = {result.key for result in done}
        return [planned for planned in self.episodes if planned.key not in played]

    def check(self, where: str, sources: dict[str, str], results: Sequence[Result]) -> None:
        """Check that recorded episodes belong to this plan.

        Args:
            where: The folder of the record, for the error message.
            sources: The recorded data sources.
            results: The recorded episodes.

        Raises:
            ConfigurationError: The data has changed since the run was begun, or the plan has
                fewer episodes than are recorded.
        """
        if sources != self.sources:
            raise ConfigurationError(
                f"{where} was run on the data {sources}, but now the data is {self.sources}. "
                "Set AGEMEM_DATA as it was, or start a new run with another --out."
            )
        tasks = {planned.key: planned.task_id for planned in self.episodes}
        for result in results:
            if tasks.get(result.key) != result.episode.task_id:
                raise ConfigurationError(
                    f"{where} holds episode {result.key} of task {result.episode.task_id!r}, which "
                    "is not part of this run: request at least as many --episodes as before"
                )


def make_plan(config: RunConfig) -> Plan:
    """Choose the tasks of a run. All tasks of endless data are those of its published list.

    Raises:
        AgeMemError: An environment's data is not available.
    """
    sources: dict[str, str] = {}
    episodes: list[Planned] = []
    for env_id in config.envs:
        task_class = ENVS[env_id]["task"]
        options = resolve(config.protocol, task_class, config.task_options).task
        with closing(make_task(task_class, options)) as task:
            count = tasks_of_endless(task.source) if config.episodes is None else config.episodes
            ids = task.task_ids(count, config.seed)
            sources[env_id] = str(task.source)
        episodes += [
            Planned(env_id, index, task_id, episode_seed(config.seed, index))
            for index, task_id in enumerate(ids)
        ]
    return Plan(tuple(episodes), sources)
