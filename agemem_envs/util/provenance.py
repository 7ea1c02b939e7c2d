"""Provenance: the code, the libraries and the machine behind a result."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from dataclasses import dataclass, field

from agemem_envs.util.paths import CHECKOUT
from agemem_envs.version import __version__

_LIBRARIES = (
    "gymnasium numpy datasets torch transformers sentence-transformers xllamacpp openai "
    "qdrant-client qdrant-edge-py alfworld textworld scienceworld minigrid pddlgym trl peft "
    "accelerate vllm msgspec"
).split()


@dataclass(frozen=True, slots=True)
class Provenance:
    """The software that made a result; an attribute is None if it was not recorded.

    Attributes:
        agemem_envs: The version of this project.
        git_revision: The revision of the checkout, with ``-dirty`` if files were modified; None
            outside a checkout.
        python: The version of Python.
        platform: The operating system.
        libraries: The versions of the installed libraries that results depend on.
    """

    agemem_envs: str | None = None
    git_revision: str | None = None
    python: str | None = None
    platform: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)


def provenance() -> Provenance:
    """The provenance of results that this process makes."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Provenance(
        agemem_envs=__version__,
        git_revision=_git_revision(),
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        libraries=versions,
    )


def _git_revision() -> str | None:
    if CHECKOUT is None:
        return None
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
