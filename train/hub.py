"""Trained models on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agemem.agents.models import MODELS
from agemem_envs.errors import AgeMemError, ConfigurationError, require
from agemem_envs.run_record import FILE

CARD = """\
---
{base}library_name: transformers
tags: [agemem, long-term-memory]
---
# {name}

A policy that manages its long-term memory and its context with the six tools of AgeMem
(arXiv 2601.01885), in {envs}. It was made from {model} by the training that `training.json`
records, and is a backbone of `agemem run`: `--backbone {name}`.
"""


def prepare_hub(name: str) -> None:
    """Make the repository of a model, so that a training does not find out at its end.

    Args:
        name: The repository, ``USER/NAME``.

    Raises:
        ConfigurationError: The name is not one, or the hub does not accept the repository.
    """
    hub = require("huggingface_hub", extra="train")
    try:
        require("huggingface_hub.utils", extra="train").validate_repo_id(name)
        if "/" not in name:
            raise ValueError("it must be of the form USER/NAME")
        hub.HfApi().create_repo(name, exist_ok=True)
    except ValueError as error:
        raise ConfigurationError(f"--push-to-hub {name}: {_line(error)}") from error
    except (OSError, _http_error()) as error:
        raise ConfigurationError(
            f"--push-to-hub {name}: the hub does not accept it ({_line(error)}). Log in with "
            "`hf auth login`, or set HF_TOKEN to a token that may write"
        ) from error


def push(name: str, run: Path, base: str, envs: Sequence[str]) -> str:
    """Send the model of a training, its record and a card to the hub.

    Args:
        name: The repository.
        run: The folder of the training.
        base: The untrained model.
        envs: The environments that it was trained in.

    Returns:
        The URL of the commit.

    Raises:
        AgeMemError: The hub could not be reached, or refused the files. They stay on this machine.
    """
    hub = require("huggingface_hub", extra="train")
    folder = run / "model"
    known = MODELS.get(base)
    hub_id = known.hub_id if known else base if "/" in base else None
    card = CARD.format(
        name=name, model=base, envs=" ".join(envs), base=f"base_model: {hub_id}\n" if hub_id else ""
    )
    files: list[Any] = [
        hub.CommitOperationAdd(path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "README.md"
    ]
    files.append(hub.CommitOperationAdd("training.json", run / FILE))
    files.append(hub.CommitOperationAdd("README.md", card.encode()))
    try:
        commit = hub.HfApi().create_commit(name, files, commit_message="A trained policy")
    except (OSError, ValueError, _http_error()) as error:
        raise AgeMemError(
            f"the model is in {folder}, but could not be sent to the hub ({_line(error)}). Send "
            f"it with: hf upload {name} {folder}"
        ) from error
    return str(commit.commit_url)


def _http_error() -> type[Exception]:
    """The base of all errors of the HTTP library that the hub's library uses."""
    errors = require("huggingface_hub.errors", extra="train")
    error: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    return error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
