"""The configuration of a run: what it needs to be repeated, as one flat record."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from agemem_envs.episode import parse_json
from agemem_envs.errors import ConfigurationError, UnknownNameError

RANGES: dict[str, tuple[float, float]] = {
    "episodes": (1, 1_000_000),
    "seed": (0, 999_999),
    "temperature": (0.0, 10.0),
    "top_p": (0.0, 1.0),
    "max_tokens": (1, 1_000_000),
    "max_context_tokens": (1, 10_000_000),
    "rounds_per_message": (1, 1_000),
    "noise": (0, 1_000),
    "distractors": (0, 1_000),
    "max_actions": (1, 100_000),
    "max_task_rounds": (1, 100_000),
    "batch_size": (1, 10_000),
    "request_timeout": (0.001, 86_400.0),
    "attempts": (1, 100),
    "workers": (1, 1_000),
}
"""Smallest and largest value of each number; the whole numbers take no fractions."""
UNLIMITED = ("episodes", "noise", "distractors", "max_actions", "max_task_rounds")
"""Numbers that may be None: the whole split, or the benchmark's own."""


@dataclass(frozen=True, slots=True)
class RunConfig:
    """All settings of a run; see ``eval/run.py --help`` for what each means."""

    agent: str
    suite: str | None
    backbone: str | None
    checkpoint: str | None
    checkpoint_answer_only: str | None
    envs: tuple[str, ...]
    episodes: int | None
    split: str | None
    seed: int
    stages: str
    tools: str
    judge: str
    summarizer: str
    encoder: str | None
    token_counter: str | None
    base_url: str | None
    constrained: bool
    few_shot: bool
    temperature: float
    top_p: float
    max_tokens: int
    max_context_tokens: int
    rounds_per_message: int
    noise: int | None
    distractors: int | None
    max_actions: int | None
    list_actions: bool
    batch_size: int
    request_timeout: float
    attempts: int
    workers: int = 1
    engine: str | None = None
    address: str | None = None
    judge_cache: bool = True
    max_task_rounds: int | None = None

    def __post_init__(self) -> None:
        """Check types and ranges: a configuration may come from a file.

        Raises:
            ConfigurationError: A field has an impossible value.
        """
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            kinds = (int, float) if isinstance(low, float) else (int,)
            if value is None and name in UNLIMITED:
                continue
            if type(value) not in kinds or not low <= value <= high:
                raise ConfigurationError(f"{name} must be in [{low}, {high}], got {value!r}")
        if not self.envs:
            raise ConfigurationError("no environment is named: pass --envs")
        for field in fields(self):
            value = getattr(self, field.name)
            optional = value is None and "None" in str(field.type)
            if "str" in str(field.type) and field.name != "envs" and not optional:
                if not isinstance(value, str):
                    raise ConfigurationError(f"{field.name} must be a text, got {value!r}")
            elif field.type == "bool" and not isinstance(value, bool):
                raise ConfigurationError(f"{field.name} must be true or false, got {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for ``config.json``."""
        return asdict(self) | {"envs": list(self.envs)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            ConfigurationError: A field is missing or unknown.
        """
        known = [field.name for field in fields(cls)]
        for name in data:
            if name not in known:
                raise UnknownNameError("configuration field", name, known)
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        missing = [name for name in needed if name not in data]
        if missing:
            raise ConfigurationError(f"the configuration lacks {', '.join(missing)}")
        envs = data["envs"]
        if not isinstance(envs, list) or not all(isinstance(env, str) for env in envs):
            raise ConfigurationError(f"envs must be a list of ids, got {envs!r}")
        return cls(**(data | {"envs": tuple(envs)}))

    @classmethod
    def load(cls, path: Path) -> RunConfig:
        """The configuration in a run's ``config.json``.

        Raises:
            ConfigurationError: The file is not there or not a configuration.
        """
        try:
            data = parse_json(path.read_text(encoding="utf-8"))
            return cls.from_dict(data["config"])
        except FileNotFoundError as error:
            raise ConfigurationError(f"there is no run to read: {path} does not exist") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a run's configuration: {error}") from error

    def differences(self, other: RunConfig) -> list[str]:
        """What differs from another configuration, as ``name: this -> other``."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{k}: {mine[k]!r} -> {theirs[k]!r}" for k in mine if mine[k] != theirs[k]]
