"""What a result depends on beside its configuration: code, libraries, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from typing import Any

import agemem_envs
from agemem_envs.util.paths import CHECKOUT

_LIBRARIES = (
    "gymnasium numpy datasets torch transformers sentence-transformers xllamacpp openai "
    "qdrant-client alfworld textworld scienceworld minigrid pddlgym"
).split()


def provenance() -> dict[str, Any]:
    """Versions and the git revision (``None`` outside a checkout)."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "agemem_envs": agemem_envs.__version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "libraries": versions,
    }


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
