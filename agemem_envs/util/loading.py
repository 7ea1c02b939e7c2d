"""Loading of objects by name, ``"module:name"``, so that registries need no early imports."""

from __future__ import annotations

import importlib
from typing import Any


def load(path: str) -> Any:
    """Import a module and return the object that ``"module:name"`` names.

    Raises:
        ImportError: The module does not exist, or imports one that is not installed.
        AttributeError: The module has no such name.
    """
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
