"""Collect episodes with any model on an OpenAI-compatible server: ``agemem play``."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from agemem.agents.model_settings import ModelSettings
from agemem.agents.play import play_async
from agemem_envs.episode import Episode
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.protocols import resolve
from agemem_envs.registration import ENVS
from agemem_envs.seeding import episode_seed
from agemem_envs.settings import Group, Scope, setting
from agemem_envs.tasks.base import make_task
from agemem_envs.util import background
from agemem_envs.util.cli import EXIT_OK, exit_status, name_value
from agemem_envs.util.flags import add_flags, from_flags

EXIT_UNSCORED = 3
EPILOG = """\
output:
  One episode a line, in JSON, as each ends (agemem_envs.Episode.from_json reads a line). Episodes
  of one command are those of `agemem run` with the same settings and seed.

examples:
  agemem play AgeMem-SyntheticQA-v0 --model Qwen/Qwen3-4B-Instruct-2507 \\
      --base-url http://localhost:8000/v1 --episodes 64 --batch-size 32 --out episodes.jsonl
  with the tokens of the engine and their log-probabilities, from a vLLM server:
  agemem play AgeMem-HotpotQA-v0 --model M --base-url URL --temperature 1 \\
      --field logprobs=true --field return_token_ids=true

environment variables:
  AGEMEM_DATA      folder of benchmark data
  OPENAI_API_KEY   API key sent to the servers

exit status:
  0  every episode was scored
  2  nothing could be played
  3  a server or simulator failed in some episodes, which are not scored
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayConfig(ModelSettings):
    """Which episodes to play."""

    model: str = setting(
        "", "the model's name on the server", Scope.METHOD, Group.SUBJECT, metavar="NAME"
    )
    task_id: str | None = setting(
        None,
        "the task to play",
        Scope.TASKS,
        Group.ENVIRONMENT,
        default_text="drawn by --seed, as in `agemem run`",
        metavar="ID",
    )
    episodes: int = setting(
        1, "episodes to play; of --task-id: one each", Scope.RUN, Group.ENVIRONMENT, 1, 1_000_000
    )

    def tasks(self, env_id: str) -> list[tuple[str, int]]:
        """The id and the seed of each episode."""
        if self.task_id is not None:
            return [(self.task_id, self.seed + index) for index in range(self.episodes)]
        task_class = ENVS[env_id]["task"]
        options = resolve(self.protocol, task_class, self.task_options).task
        with closing(make_task(task_class, options)) as task:
            ids = task.task_ids(self.episodes, self.seed)
        return [(task_id, episode_seed(self.seed, index)) for index, task_id in enumerate(ids)]


def build_parser() -> argparse.ArgumentParser:
    """The parser. Each destination except those of files and fields is a field of PlayConfig."""
    parser = argparse.ArgumentParser(
        prog="agemem play",
        description="Collect episodes of the AgeMem agent with a model on a server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("env", metavar="ENV", help="environment id")
    groups = add_flags(parser, PlayConfig)
    groups[Group.SUBJECT].add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="further field of each request, such as top_k=20; may be repeated",
    )
    groups[Group.EXECUTION].add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="append the episodes to it (standard output)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status."""
    return exit_status(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    if options.env not in ENVS:
        raise UnknownNameError("environment", options.env, ENVS)
    for flag in ("model", "base_url"):
        if not getattr(options, flag):
            raise ConfigurationError(f"--{flag.replace('_', '-')} is missing: which model plays?")
    config = from_flags(PlayConfig, options)
    fields = dict(_field(text) for text in options.field)
    work = collect(options.env, config, fields)
    if options.out is None:
        return background.run(_write(work, sys.stdout))
    with options.out.open("a", encoding="ascii") as file:
        return background.run(_write(work, file))


def _field(text: str) -> tuple[str, Any]:
    name, value = name_value(text, "--field", "NAME=JSON")
    try:
        return name, json.loads(value)
    except ValueError as error:
        raise ConfigurationError(f"--field {text}: {value!r} is not JSON ({error})") from error


async def _write(episodes: AsyncIterator[Episode], file: TextIO) -> int:
    status = EXIT_OK
    async for episode in episodes:
        file.write(episode.to_json() + "\n")
        file.flush()
        if episode.reward is None or episode.errors:
            status = EXIT_UNSCORED
            sys.stderr.write(f"{episode.task_id} is not scored: {'; '.join(episode.errors)}\n")
    return status


async def collect(
    env_id: str, config: PlayConfig, fields: dict[str, Any]
) -> AsyncIterator[Episode]:
    """Play the episodes of a configuration, and yield each as it ends.

    Args:
        env_id: The id of an environment.
        config: Which episodes to play, and how many at once.
        fields: Further fields of each request.
    """
    room = asyncio.Semaphore(config.batch_size)

    async def one(task_id: str, seed: int) -> Episode:
        async with room:
            return await play_async(
                env_id,
                task_id,
                seed,
                str(config.base_url),
                config.model,
                options=config.env_options,
                few_shot=config.few_shot,
                limits=config.request_limits,
                **asdict(config.sampling),
                **fields,
            )

    tasks = await asyncio.to_thread(config.tasks, env_id)
    playing = [asyncio.create_task(one(task_id, seed)) for task_id, seed in tasks]
    try:
        for ended in asyncio.as_completed(playing):
            yield await ended
    finally:
        for task in playing:
            task.cancel()


if __name__ == "__main__":
    sys.exit(main())
