"""What a run has to play: every episode by name, before anything slow is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.result import Key, Result
from agemem_envs import ENVS
from agemem_envs.errors import ConfigurationError
from agemem_envs.seeding import episode_seed
from agemem_envs.tasks.base import make_task


@dataclass(frozen=True, slots=True)
class Planned:
    """One episode that is to be played."""

    env_id: str
    index: int
    task_id: str
    seed: int

    @property
    def key(self) -> Key:
        """Identifies the episode within a run, as :attr:`Result.key` does."""
        return self.env_id, self.index


Batch = tuple[Planned, ...]
"""Episodes of one environment that are played in lockstep."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All episodes of a run, and the data that they were chosen from.

    Attributes:
        episodes: In the order of the configuration's environments.
        sources: The data source of each environment.
    """

    episodes: tuple[Planned, ...]
    sources: dict[str, str]

    def batches(self, done: Iterable[Result], size: int) -> list[Batch]:
        """What is not done yet, in batches of at most ``size`` episodes."""
        played = {result.key for result in done}
        groups: dict[str, list[Planned]] = {}
        for planned in self.episodes:
            if planned.key not in played:
                groups.setdefault(planned.env_id, []).append(planned)
        return [
            tuple(group[start : start + size])
            for group in groups.values()
            for start in range(0, len(group), size)
        ]

    def check(self, where: str, sources: dict[str, str], results: Sequence[Result]) -> None:
        """Make sure that recorded episodes are ones of this plan.

        Args:
            where: The folder of the record, for the message.
            sources: Its data sources.
            results: Its episodes.

        Raises:
            ConfigurationError: The data is another than when the run was begun, or fewer
                episodes are asked for than are there.
        """
        if sources != self.sources:
            raise ConfigurationError(
                f"{where} was run on {sources}, but the data found now is {self.sources}. "
                "Set AGEMEM_DATA as it was, or start a new run with another --out."
            )
        tasks = {planned.key: planned.task_id for planned in self.episodes}
        for result in results:
            if tasks.get(result.key) != result.episode.task_id:
                raise ConfigurationError(
                    f"{where} holds episode {result.key}, task "
                    f"{result.episode.task_id!r}, which is not part of this run: ask for at "
                    "least as many --episodes as before"
                )


def make_plan(config: RunConfig) -> Plan:
    """Choose the tasks of a run.

    Raises:
        AgeMemError: An environment's data is not available.
    """
    sources: dict[str, str] = {}
    episodes: list[Planned] = []
    for env_id in config.envs:
        with closing(make_task(ENVS[env_id]["task"], config.task_options)) as task:
            ids = task.task_ids(config.episodes, config.seed)
            sources[env_id] = str(task.source)
        episodes += [
            Planned(env_id, index, task_id, episode_seed(config.seed, index))
            for index, task_id in enumerate(ids)
        ]
    return Plan(tuple(episodes), sources)
