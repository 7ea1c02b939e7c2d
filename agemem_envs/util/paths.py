"""Folders: of this code, of what it ships, of results and of the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

_BESIDE = Path(__file__).resolve().parents[2]
CHECKOUT: Path | None = _BESIDE if (_BESIDE / "setup.cfg").is_file() else None
"""The repository that this code is part of; None if it is installed as a wheel."""
CODE = CHECKOUT or _BESIDE / "agemem"
"""The folder that holds ``agents``, ``baselines``, ``eval`` and ``train``."""
SHIPPED = CODE / "results"
"""Result files that come with the code: the paper's numbers, and training curves."""


def results_folder() -> Path:
    """Where results are written by default: in the checkout, or else in the current folder."""
    return (CHECKOUT or Path.cwd()) / "results"


def cache_folder() -> Path:
    """``$AGEMEM_CACHE``, else ``agemem`` in the user's cache folder (``$XDG_CACHE_HOME``)."""
    chosen = os.environ.get("AGEMEM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "agemem"
