"""What a run trains on: the environment's part of the command line, shared by both programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agemem.train.tasks import task_rows
from agemem_envs.encoders import ENCODERS
from agemem_envs.errors import ConfigurationError, UnknownNameError
from agemem_envs.judging.rewards import REWARDS
from agemem_envs.registration import ENVS
from agemem_envs.util.cli import name_value

TASK_OPTIONS = ("data", "noise", "distractors")
"""Options of ``--env-option`` that choose tasks, and so concern the list of tasks too."""


@dataclass(frozen=True, slots=True)
class EnvSettings:
    """An environment as it is trained on.

    Attributes:
        env: A registered id.
        split: Of the data.
        difficulty: Only tasks of this level, or None.
        tasks: Only the first so many tasks, again and again; None for all.
        max_context_tokens: T_max (the paper: 8,192).
        tools: ``all``, or ``ltm`` for the ablation without short-term tools.
        reward: ``all-returns`` or ``answer-only``.
        judge: ``lexical`` or ``MODEL@URL``.
        encoder: None for the environment's own.
        extra: Further arguments of :class:`~agemem_envs.env.MemoryEnv` and of its task.
    """

    env: str = "AgeMem-HotpotQA-v0"
    split: str = "train"
    difficulty: str | None = None
    tasks: int | None = None
    max_context_tokens: int = 8192
    tools: str = "all"
    reward: str = "all-returns"
    judge: str = "lexical"
    encoder: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check names that would otherwise be looked at after a model was loaded.

        Raises:
            UnknownNameError: The environment, encoder or reward is not known.
        """
        if self.tasks is not None and self.tasks < 1:
            raise ConfigurationError(f"tasks must be positive, got {self.tasks}")
        for kind, name, known in (
            ("environment", self.env, ENVS),
            ("encoder", self.encoder or "hashing", ENCODERS),
            ("reward", self.reward, REWARDS),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)

    def rows(self, count: int, seed: int) -> list[dict[str, Any]]:
        """The tasks of a run in training order: see :func:`~agemem.train.tasks.task_rows`."""
        return task_rows(self.env, count, seed, self.difficulty, self.tasks, **self.task_options)

    @property
    def task_options(self) -> dict[str, Any]:
        """The arguments of the task."""
        chosen = {name: self.extra[name] for name in TASK_OPTIONS if name in self.extra}
        return {"split": self.split, **chosen}

    def env_options(self, tokenizer: str) -> dict[str, Any]:
        """The arguments of ``gym.make``, plain data, with tokens counted as the policy does.

        Args:
            tokenizer: The policy's, a folder or hub id.
        """
        options = {
            "split": self.split,
            "max_context_tokens": self.max_context_tokens,
            "tools": self.tools,
            "reward": self.reward,
            "judge": self.judge,
            "token_counter": f"tokenizer:{tokenizer}",
            **self.extra,
        }
        return options if self.encoder is None else {**options, "encoder": self.encoder}


def add_env_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of :class:`EnvSettings`."""
    default = EnvSettings()
    group = parser.add_argument_group("on what")
    group.add_argument("--env", default=default.env, metavar="ID", help=f"({default.env})")
    group.add_argument("--split", default=default.split, help=f"data split ({default.split})")
    group.add_argument("--difficulty", metavar="LEVEL", help="only tasks of this level (all)")
    group.add_argument(
        "--tasks", type=int, metavar="N", help="only the first N tasks, again and again (all)"
    )
    group.add_argument(
        "--max-context-tokens",
        type=int,
        default=default.max_context_tokens,
        metavar="N",
        help=f"T_max ({default.max_context_tokens})",
    )
    group.add_argument("--judge", default=default.judge, help="lexical or MODEL@URL (lexical)")
    group.add_argument("--encoder", help="hashing or minilm (the environment's own)")
    group.add_argument(
        "--env-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any further argument of the environment or its task, as JSON; may be repeated",
    )
    group.add_argument("--seed", type=int, default=0, help="chooses tasks and chance (0)")


def env_settings(options: argparse.Namespace, **chosen: Any) -> EnvSettings:
    """The settings of a parsed command line.

    Args:
        options: Parsed by a parser with :func:`add_env_arguments`.
        chosen: Fields that the program decides.
    """
    return EnvSettings(
        env=options.env,
        split=options.split,
        difficulty=options.difficulty,
        tasks=options.tasks,
        max_context_tokens=options.max_context_tokens,
        judge=options.judge,
        encoder=options.encoder,
        extra=_pairs(options.env_option),
        **chosen,
    )


def _pairs(items: Sequence[str]) -> dict[str, Any]:
    pairs = {}
    for item in items:
        name, value = name_value(item, "--env-option")
        try:
            pairs[name] = json.loads(value)
        except json.JSONDecodeError:
            pairs[name] = value  # a bare word is a text
    return pairs
