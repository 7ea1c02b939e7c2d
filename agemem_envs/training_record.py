"""The training of a model: what its record states, and the weights that prove it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agemem_envs.errors import ConfigurationError
from agemem_envs.judging.rewards import REWARDS, make_reward
from agemem_envs.util.records import from_plain

MODEL = "model"
"""The folder of the trained model inside the folder of its training."""
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""The files that hold a model's weights."""
APART = {"seed", "backbone", "workers", "vllm_url", "save_every"}
"""Settings in which trainings of one recipe may differ: the seed, the execution, and the folder of
the model that was trained, in whose place stands the untrained model at its root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """The model that a training made, as the training's record states it.

    Attributes:
        base: The untrained model that it was made of, before any warm start.
        reward: Weights and penalties of the reward, by the fields of
            :class:`~agemem_envs.judging.rewards.RewardConfig`.
        weights_sha256: SHA-256 of its weights, by :func:`weights_sha256`.
    """

    base: str
    reward: dict[str, float | bool]
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Training:
    """The training of the model that an evaluation plays.

    Attributes:
        record: The content of the training's ``config.json``.
        weights_sha256: SHA-256 of the weights that were played; None if a server ran them, so
            that the training is only claimed.

    Raises:
        ValueError: The record is not that of a finished training, or other weights were played.
    """

    record: dict[str, Any]
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        """Check that the record is that of a training, and of these weights."""
        config = self.record.get("config")
        if self.record.get("kind") != "training" or not isinstance(config, Mapping):
            raise ValueError("the record is not that of a training")
        if type(config.get("seed")) is not int:
            raise ValueError("the record of the training states no seed")
        if self.record.get("model") is None:
            raise ValueError("the record of the training states no trained model")
        recorded = self.model.weights_sha256
        if self.weights_sha256 not in (None, recorded):
            raise ValueError(
                f"the weights {str(self.weights_sha256)[:12]} are not those of the training, "
                f"{recorded[:12]}"
            )

    @property
    def model(self) -> TrainedModel:
        """The model that the training made."""
        return from_plain(TrainedModel, self.record["model"])

    @property
    def verified(self) -> bool:
        """Whether the weights that were played are known to be those of the training."""
        return self.weights_sha256 is not None

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return int(self.record["config"]["seed"])

    @property
    def learned(self) -> bool:
        """Whether the training could change the model: its learning rate is not 0."""
        return bool(self.record["config"].get("learning_rate") != 0)

    @property
    def answer_only(self) -> bool:
        """Whether the reward was the task's return alone."""
        reward = make_reward(self.model.reward)
        return reward.context_weight == reward.memory_weight == 0

    @property
    def reward(self) -> str:
        """The name of the reward, or ``custom``."""
        reward = make_reward(self.model.reward)
        return next((name for name, known in REWARDS.items() if known == reward), "custom")

    @property
    def sources(self) -> dict[str, str]:
        """The data source of each environment of the training, as text."""
        return dict(self.record.get("sources") or {})

    @property
    def sha256(self) -> str:
        """SHA-256 of the record, which identifies the training."""
        return _digest(self.record)

    @property
    def recipe(self) -> str:
        """SHA-256 of what trainings have in common that differ only in the seed."""
        config = {k: v for k, v in self.record["config"].items() if k not in APART}
        reward = asdict(make_reward(self.model.reward))
        return _digest([self.model.base, reward, config, self.sources])


def weights_sha256(folder: Path) -> str:
    """SHA-256 of the digests and names of the weight files in a folder, as sha256sum lists them.

    Raises:
        ConfigurationError: The folder holds no weights, or they cannot be read.
    """
    whole = hashlib.sha256()
    try:
        files = sorted({file for pattern in WEIGHTS for file in folder.glob(pattern)})
        if not files:
            raise ConfigurationError(f"{folder} holds no weights: {' or '.join(WEIGHTS)}")
        for file in files:
            with file.open("rb") as data:
                digest = hashlib.file_digest(data, "sha256").hexdigest()
            whole.update(f"{digest}  {file.name}\n".encode())
    except OSError as error:
        raise ConfigurationError(f"the weights in {folder} cannot be read: {error}") from error
    return whole.hexdigest()


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
