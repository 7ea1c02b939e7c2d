"""The training of a model that a run plays: found next to its weights, and compared with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from agemem.agents.backbones.registry import BACKBONES, training_folder
from agemem.agents.lora import WEIGHTS as ADAPTER
from agemem.eval.runs.config import RunConfig
from agemem_envs.errors import ConfigurationError
from agemem_envs.run_record import FILE, RunKind, training_record
from agemem_envs.training_record import MODEL, Training, weights_sha256


def model_folder(model: str | None) -> str | None:
    """The folder of a training's model in place of that of the training; other names as given."""
    folder = Path(model or "") / MODEL
    return str(folder) if model and folder.is_dir() and training_record(folder) else model


def find_training(config: RunConfig) -> Training | None:
    """The training of a run's model, its weights compared with the record; None if it has none.

    Raises:
        ConfigurationError: The weights are not those of the record, or the record is of no
            finished training.
    """
    training = stated_training(config)
    folder = Path(str(config.backbone))
    if training is None or not folder.is_dir() or (folder / ADAPTER).is_file():
        return training  # an exported adapter has other bytes than the model of its record
    try:
        return Training(training.record, weights_sha256(folder))
    except ValueError as error:
        raise ConfigurationError(
            f"{config.backbone}: {error}. Name the folder of the model as its training wrote it"
        ) from error


def stated_training(config: RunConfig) -> Training | None:
    """The training that the record beside a run's model states, whatever the weights.

    Raises:
        ConfigurationError: The record of ``--training-record`` is of no finished training, or the
            model is one that is known to be untrained.
    """
    if config.training_record is not None:
        if config.backbone in BACKBONES:
            raise ConfigurationError(
                f"--training-record: what {config.backbone} has learned is known. Serve another "
                "model under a name of its own, as MODEL@URL"
            )
        folder = Path(config.training_record)
        record = training_record(folder)
        if record is None:
            raise ConfigurationError(
                f"--training-record {folder} holds no record of a training: name the folder that "
                f"`agemem grpo` wrote, with its {FILE}"
            )
        return _training(folder, record)
    place = training_folder(config.backbone or "")
    record = training_record(place) if place is not None else None
    if place is None or record is None or record["kind"] != RunKind.TRAINING:
        return None  # a warm start has learned nothing by reward
    if record.get("model") is None:
        warnings.warn(
            f"the training of {place} has no hash of its model, because it has not ended or is of "
            "an older version: its episodes count as untrained. End it with agemem grpo --resume",
            stacklevel=3,
        )
        return None
    return _training(place, record)


def _training(folder: Path, record: dict[str, Any]) -> Training:
    try:
        return Training(record)
    except ValueError as error:
        raise ConfigurationError(f"{folder}: {error}") from error
