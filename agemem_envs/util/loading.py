"""Loads objects by name, ``"module:name"``, so that a registry imports nothing early."""

from __future__ import annotations

import importlib
from typing import Any


def load(path: str) -> Any:
    """The object that ``"module:name"`` names; its module is imported.

    Raises:
        ImportError: There is no such module, or it needs one that is not installed.
        AttributeError: The module has no such name.
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
