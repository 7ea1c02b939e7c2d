"""The runs that the page shows, and their episodes on the same tasks side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem.eval.runs.folder import Result, ResultsFolder
from agemem_envs.episode import parse_json
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.util.sanitize import sendable

Row = tuple[Result | None, ...]
"""One task: its episode in each run, None where a run lacks it."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as read from its folder.

    Attributes:
        name: The folder's name.
        config: What ``config.json`` holds; None if the folder has none.
        results: Its episodes, at least one.
    """

    name: str
    config: dict[str, Any] | None
    results: tuple[Result, ...]


def read_run(path: Path) -> Run:
    """The run in a results folder.

    Raises:
        ConfigurationError: There is no run, or no finished episode yet.
        DataFormatError: A file is damaged; the message names it and the line.
    """
    folder = ResultsFolder(path)
    if not folder.exists:
        raise ConfigurationError(
            f"{path} holds no run: there is neither episodes.jsonl nor config.json. "
            "Name a results folder that eval/run.py wrote."
        )
    try:
        results = folder.read_some()
        config = _config(folder.config_file)
    except OSError as error:
        raise ConfigurationError(f"the run in {path} cannot be read: {error}") from error
    return Run(sendable(path.resolve().name), config, tuple(results))


def _config(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        config = parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataFormatError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise DataFormatError(f"{file} does not hold a run's configuration")
    return config


def pair(runs: Sequence[Run]) -> list[Row]:
    """The episodes of all runs by task: same environment id, same task id.

    The second episode on a task is paired with the other run's second one, and so on. The
    order is that of the first run; tasks that it lacks follow.
    """
    keyed = [_by_task(run.results) for run in runs]
    keys = dict.fromkeys(key for results in keyed for key in results)
    return [tuple(results.get(key) for results in keyed) for key in keys]


def _by_task(results: Sequence[Result]) -> dict[tuple[str, str, int], Result]:
    seen: Counter[tuple[str, str]] = Counter()
    keyed = {}
    for result in results:
        task = (result.episode.env_id, result.episode.task_id)
        keyed[*task, seen[task]] = result
        seen[task] += 1
    return keyed
