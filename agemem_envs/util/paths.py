"""Paths of the code, the files shipped with it, the results and the user's cache."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2]
CHECKOUT: Path | None = _BESIDE if (_BESIDE / "setup.cfg").is_file() else None
"""The repository that contains this code; None if it is installed as a wheel."""
CODE = CHECKOUT or _BESIDE / "agemem"
"""The folder that contains ``agents``, ``baselines``, ``eval`` and ``train``."""
SHIPPED = CODE / "results"
"""Result files that come with the code: the paper's numbers, and training curves."""


def new_run_folder(subject: str) -> Path:
    """The default folder of a run that begins now; what a path may not have becomes dashes."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", subject)
    return results_folder() / "runs" / f"{time}-{name}"


def results_folder() -> Path:
    """The default folder of results: in the checkout, or else in the current folder."""
    return (CHECKOUT or Path.cwd()) / "results"


def cache_folder() -> Path:
    """``$AGEMEM_CACHE``, or else ``agemem`` in ``$XDG_CACHE_HOME`` (by default ``~/.cache``)."""
    override = os.environ.get("AGEMEM_CACHE")
    if override:
        return Path(override).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "agemem"
