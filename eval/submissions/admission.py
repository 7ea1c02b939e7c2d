"""What keeps a consistent run off the leaderboard: its tasks, its seed, or its model's training."""

from __future__ import annotations

from collections.abc import Iterator

from agemem.eval.paper.benchmarks import Benchmark, benchmark_of
from agemem.eval.paper.task_lists import SEED, TaskList, find_list, lists_of
from agemem.eval.reporting.summary import counted
from agemem.eval.runs.config import RunConfig
from agemem.eval.runs.reading import PlayedRun
from agemem.eval.runs.result import Result
from agemem_envs.seeding import episode_seed


def refusals(run: PlayedRun) -> list[str]:
    """The reasons why a run makes no row of the leaderboard, one message each; empty if none."""
    played: dict[Benchmark, list[Result]] = {}
    for result in run.results:
        played.setdefault(benchmark_of(result.episode), []).append(result)
    tasks = (message for b, results in played.items() for message in _tasks(run, b, results))
    return [*tasks, *_training(run)]


def _tasks(run: PlayedRun, benchmark: Benchmark, results: list[Result]) -> Iterator[str]:
    """Check that the tasks are those of a published list, with its seed."""
    episodes = [result.episode for result in results]
    seeded = all(r.episode.seed == episode_seed(SEED, r.index) for r in results)
    lists = lists_of(benchmark.key)
    if not lists or (seeded and find_list(benchmark.key, episodes)):
        return
    split = ", ".join(sorted({episode.source.split for episode in episodes}))
    count = len({episode.task_id for episode in episodes})
    yield (
        f"{benchmark.title}: {counted(count, 'task')} of split {split} with seed "
        f"{run.config.seed}, which is no published list. A row is a whole list with seed {SEED}: "
        f"{_named(lists)}. Play one with: {_command(run.config, results[0].episode.env_id)}"
    )


def _named(lists: list[TaskList]) -> str:
    return " or ".join(f"{tasks.split}, {tasks.name}" for tasks in lists)


def _command(config: RunConfig, env: str) -> str:
    """The command that plays a list by the agent of a run, on the benchmark's own split."""
    given = {
        "--agent": config.agent,
        "--backbone": config.backbone,
        "--base-url": config.base_url,
        "--protocol": config.protocol,
        "--envs": env,
        "--episodes": "all",
    }
    options = " ".join(f"{flag} {value}" for flag, value in given.items() if value is not None)
    return " ".join(("agemem run", options))


def _training(run: PlayedRun) -> Iterator[str]:
    """Check that the model was not trained on the split that it plays."""
    training = run.record.training
    if training is None:
        return
    learned = {_split(source) for source in training.sources.values()}
    for split in sorted(learned & {_split(source) for source in run.record.sources.values()}):
        yield f"the model was trained on {split}, which is what it plays"


def _split(source: str) -> str:
    """``hotpotqa/train`` of the text of a data source."""
    return source.partition(" (")[0]
