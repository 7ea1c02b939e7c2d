"""Recorded episodes as demonstrations, with the prompts that their model read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from agemem.train.demonstrator import DemonstratedStep
from agemem_envs.context import chat
from agemem_envs.env_settings import EpisodeSettings
from agemem_envs.episode import FORMAT, Episode
from agemem_envs.errors import ConfigurationError, DataFormatError
from agemem_envs.util.records import from_line

RUN_FILE = "episodes.jsonl"
"""The file of a run with its episodes, one a line."""


SHAPING = (
    "protocol",
    "task",
    "stages",
    "tools",
    "max_context_tokens",
    "rounds_per_message",
    "recalled",
    "list_actions",
)
"""The settings that shape what a policy reads."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What is read of a line of a run."""

    episode: Episode


def is_recording(path: Path) -> bool:
    """Whether a path is the folder of a run, or a file of `agemem play`."""
    return path.is_file() or (path / RUN_FILE).is_file()


def recorded(
    path: Path, sources: Mapping[str, str], settings: Mapping[str, EpisodeSettings]
) -> Iterator[Episode]:
    """Yield the episodes of a recording, in its order.

    Args:
        path: The folder of a run of `agemem run`, or a file that `agemem play` wrote.
        sources: The data source of each environment of the training. It includes the split, so
            that held-out tasks stay unseen.
        settings: The settings of each environment of the training.

    Raises:
        ConfigurationError: An episode is of another environment, data source or setting: the
            policy would learn from prompts that it will never read.
        DataFormatError: A line is not an episode, or there is none.
    """
    file = path / RUN_FILE if path.is_dir() else path
    number = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                episode = _decoded(line, in_run=path.is_dir())
            except ValueError as error:
                raise DataFormatError(f"{file}:{number}: {error}") from error
            source = sources.get(episode.env_id)
            if source != str(episode.source):
                wanted = " or ".join(f"{env} from {name}" for env, name in sources.items())
                raise ConfigurationError(
                    f"{file}:{number} is an episode of {episode.env_id} from {episode.source}, "
                    f"and the training is on {wanted}"
                )
            _check_settings(f"{file}:{number}", episode.settings, settings[episode.env_id])
            yield episode
    if number == 0:
        raise DataFormatError(f"{file} holds no episode")


def _check_settings(where: str, recorded: EpisodeSettings, wanted: EpisodeSettings) -> None:
    for name in SHAPING:
        was, is_ = getattr(recorded, name), getattr(wanted, name)
        if was != is_:
            raise ConfigurationError(
                f"{where} was played with {name} {was!r}, and the training has {is_!r}"
            )


def _decoded(line: bytes, in_run: bool) -> Episode:
    if not in_run:
        return Episode.from_json(line.decode("utf-8"))
    result, version = from_line(_Result, line, FORMAT)
    return result.episode.upgraded(version)


def steps_of(episode: Episode) -> list[DemonstratedStep]:
    """The steps that a model wrote by the protocol, with the context that was visible at each.

    Raises:
        DataFormatError: A step shows a message that the record lacks.
    """
    messages = {message.id: message for message in episode.messages}
    try:
        return [
            DemonstratedStep(chat(messages[id] for id in step.visible), step.action, step.stage)
            for step in episode.steps
            if step.malformed is None and step.completion_tokens is not None
        ]
    except KeyError as error:
        raise DataFormatError(
            f"{episode.env_id}, task {episode.task_id!r}: a step shows message {error}, which the "
            "record lacks"
        ) from error
